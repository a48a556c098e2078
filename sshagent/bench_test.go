package sshagent

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// BenchmarkSign compares signatures a second through the socket with those of
// OpenSSH's agent: the same client, the same data, in turns, so that whatever
// else the machine does meets both. The key here is not sealed in memory.
func BenchmarkSign(b *testing.B) {
	theirs := opensshAgent(b)
	addKeys(b, theirs)
	keys := testKeys()
	ours := serve(b, &Server{Source: newSource(b, keys["ed25519"], keys["ecdsa"], keys["rsa"]), Idle: time.Minute})
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		for _, links := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/links=%d", kind, links), func(b *testing.B) {
				us, them := newLoad(b, ours, kind, links), newLoad(b, theirs, kind, links)
				us.sign(b, 2*links) // the fetch, and whatever is made at first
				them.sign(b, 2*links)
				var ourTime, theirTime time.Duration
				const turns = 10
				b.ResetTimer()
				for range turns {
					n := max(b.N/turns, links)
					ourTime += us.sign(b, n)
					theirTime += them.sign(b, n)
				}
				n := float64(turns * max(b.N/turns, links))
				b.ReportMetric(0, "ns/op") // of both: it means nothing
				b.ReportMetric(n/ourTime.Seconds(), "sigs/s")
				b.ReportMetric(n/theirTime.Seconds(), "openssh-sigs/s")
				b.ReportMetric(theirTime.Seconds()/ourTime.Seconds(), "x-openssh")
			})
		}
	}
}

// A load is some clients of one agent.
type load struct {
	kind    string
	clients []agent.ExtendedAgent
}

func newLoad(b *testing.B, path, kind string, links int) *load {
	l := &load{kind: kind}
	for range links {
		l.clients = append(l.clients, client(b, path))
	}
	return l
}

// sign makes n signatures, shared among the clients, and returns how long it took.
func (l *load) sign(b *testing.B, n int) time.Duration {
	key := public(b, testKeys()[l.kind])
	algorithm := key.Type()
	if algorithm == ssh.KeyAlgoRSA {
		algorithm = ssh.KeyAlgoRSASHA512
	}
	data := []byte(login(key.Marshal(), algorithm, strings.Repeat("s", 32), "git", bytes.Repeat([]byte{0, 0, 0, 4, 't', 'y', 'p', 'e'}, 20)))
	var working sync.WaitGroup
	begin := time.Now()
	for i, c := range l.clients {
		share := n / len(l.clients)
		if i < n%len(l.clients) {
			share++
		}
		working.Go(func() {
			for range share {
				if _, err := c.SignWithFlags(key, data, agent.SignatureFlagRsaSha512); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	working.Wait()
	return time.Since(begin)
}

// BenchmarkList compares lists a second in the same way. Three of the keys were
// added, and one is the source's.
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
