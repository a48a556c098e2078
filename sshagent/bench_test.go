package sshagent

import (
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"
)

// BenchmarkList compares lists a second through the socket with those of OpenSSH's
// agent: the same client, in turns, so that whatever else the machine does meets
// both. Three of the keys were added, and one is the source's. Signatures of the
// programs themselves are compared by BenchmarkAgent in test.
func BenchmarkList(b *testing.B) {
	theirs := opensshAgent(b)
	addKeys(b, theirs)
	keys := testKeys()
	ours := serve(b, &Server{Source: newSource(b, keys["ed25519"])})
	for _, kind := range kinds[1:] {
		add(b, ours, keys[kind], kind)
	}
	us, them := client(b, ours), client(b, theirs)
	list := func(c agent.Agent, n int) time.Duration {
		begin := time.Now()
		for range n {
			if keys, err := c.List(); err != nil || len(keys) != len(kinds) {
				b.Fatalf("List = %d keys, %v; want %d", len(keys), err, len(kinds))
			}
		}
		return time.Since(begin)
	}
	var ourTime, theirTime time.Duration
	const turns = 10
	for range turns {
		n := max(b.N/turns, 1)
		ourTime += list(us, n)
		theirTime += list(them, n)
	}
	n := float64(turns * max(b.N/turns, 1))
	b.ReportMetric(0, "ns/op") // of both: it means nothing
	b.ReportMetric(n/ourTime.Seconds(), "lists/s")
	b.ReportMetric(n/theirTime.Seconds(), "openssh-lists/s")
	b.ReportMetric(theirTime.Seconds()/ourTime.Seconds(), "x-openssh")
}
