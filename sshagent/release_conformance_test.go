package sshagent

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// A release is one of OpenSSH's: 10.3 is {10, 3}.
type release [2]int

// opensshRelease is the one of the OpenSSH that is here.
func opensshRelease(t testing.TB) (r release) {
	t.Helper()
	out, err := exec.Command(need(t, "ssh"), "-V").CombinedOutput()
	if _, scanErr := fmt.Sscanf(string(out), "OpenSSH_%d.%d", &r[0], &r[1]); err != nil || scanErr != nil {
		t.Fatalf("ssh -V says %q, %v; want a release", out, err)
	}
	return r
}

// later is what OpenSSH's agent has done since a release, and ours does: of an
// older OpenSSH the test wants what it did before.
var later = []struct {
	name    string
	since   release
	answers func(t *testing.T, conn net.Conn) []byte // of the request that it is about
	before  []byte                                   // what it begins with
	then    []byte
}{
	{"a failed bind ends the use of keys for some destinations", release{9, 6}, signAfterFailedBind,
		[]byte{agentSignResponse}, []byte{agentFailure}},
	{"it says which extensions it has", release{10, 3}, func(t *testing.T, conn net.Conn) []byte {
		return exchange(t, conn, appendString([]byte{agentExtension}, "query"))
	}, []byte{agentFailure}, appendString([]byte{agentExtensionResponse}, "query")},
	{"an extension that fails has an answer of its own", release{10, 3}, func(t *testing.T, conn net.Conn) []byte {
		return exchange(t, conn, bindRequest(t, hostKey(t, testKeys()["ed25519"]), "id", "another id", 0))
	}, []byte{agentFailure}, []byte{agentExtensionFailure}},
	{"patterns of users have at most 256 bytes", release{10, 4}, func(t *testing.T, conn net.Conn) []byte {
		to := hop{strings.Repeat("a", maxPattern+1), "a", []hopKey{{public(t, testKeys()["ecdsa"]).Marshal(), false}}}
		return exchange(t, conn, addition{key: testKeys()["ed25519"], constraints: restrictTo(destination{to: to})}.request(t))
	}, []byte{agentSuccess}, []byte{agentFailure}},
	{"it takes binds while it is locked", release{10, 5}, func(t *testing.T, conn net.Conn) []byte {
		do(t, conn, "locking", lockRequest(agentLock, "p"), true)
		return exchange(t, conn, bindRequest(t, hostKey(t, testKeys()["ed25519"]), "id", "id", 0))
	}, []byte{agentFailure}, []byte{agentSuccess}},
}

// TestReleases holds ours to what the newest OpenSSH does, and the one that is
// here to what its release does: so the table is right where it can be tried.
func TestReleases(t *testing.T) {
	here := opensshRelease(t)
	for _, tt := range later {
		ours := tt.answers(t, connect(t, serve(t, &Server{})))
		if !bytes.HasPrefix(ours, tt.then) {
			t.Errorf("%s: ours answers %v; want %v, as OpenSSH since %v", tt.name, ours, tt.then, tt.since)
		}
		want := tt.before
		if slices.Compare(here[:], tt.since[:]) >= 0 {
			want = tt.then
		}
		theirs := tt.answers(t, connect(t, opensshAgent(t)))
		if !bytes.HasPrefix(theirs, want) {
			t.Errorf("%s: OpenSSH %v answers %v; want %v, as it does so since %v", tt.name, here, theirs, want, tt.since)
		}
		t.Logf("%s: OpenSSH since %d.%d; here is %d.%d: the same as ours: %v", tt.name, tt.since[0], tt.since[1], here[0], here[1], bytes.Equal(ours, theirs))
	}
}

// signAfterFailedBind logs in to a host that the key is for, over a link that is
// bound to it, after a further bind has failed.
func signAfterFailedBind(t *testing.T, conn net.Conn) []byte {
	key, host := testKeys()["ed25519"], hostKey(t, testKeys()["ecdsa"])
	blob, hostBlob := public(t, key).Marshal(), host.PublicKey().Marshal()
	restriction := restrictTo(destination{to: hop{"", "a", []hopKey{{hostBlob, false}}}})
	do(t, conn, "adding", addition{key: key, constraints: restriction}.request(t), true)
	do(t, conn, "binding", bindRequest(t, host, "1", "1", 0), true)
	request := signFrame(public(t, key), login(blob, ssh.KeyAlgoED25519, "1", "git", hostBlob), 0)
	if answer := exchange(t, conn, request); answer[0] != agentSignResponse {
		t.Errorf("before the bind that fails, a signature is answered with message %d", answer[0])
	}
	exchange(t, conn, bindRequest(t, host, "2", "another", 0))
	return exchange(t, conn, request)
}
