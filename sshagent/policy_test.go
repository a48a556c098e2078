package sshagent

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/sshagent/signdata"
)

// Permit gets what is to be signed, read, and decides.
func TestPermit(t *testing.T) {
	var mu sync.Mutex
	var got []Request
	var refuse error
	var log logBuffer
	source := newSource(t, testKeys()["ed25519"])
	source.permit = func(r Request) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r)
		return refuse
	}
	s := &Server{Source: source, Log: log.logger()}
	conn := connect(t, serve(t, s))
	key, host := public(t, testKeys()["ed25519"]), hostKey(t, newKey(t))
	ask := func(data string) byte { return exchange(t, conn, signFrame(key, data, 0))[0] }
	loginData := login(key.Marshal(), ssh.KeyAlgoED25519, "2", "git", host.PublicKey().Marshal())
	if answer := ask(message("text")); answer != agentSignResponse {
		t.Errorf("an SSHSIG was answered with message %d", answer)
	}
	exchange(t, conn, bindRequest(t, host, "1", "1", 1))
	exchange(t, conn, bindRequest(t, host, "2", "2", 0))
	exchange(t, conn, bindRequest(t, host, "3", "4", 0))
	if answer := ask(loginData); answer != agentSignResponse {
		t.Errorf("a login was answered with message %d", answer)
	}
	refuse = errors.New("not on a Sunday")
	if answer := ask(loginData); answer != agentFailure {
		t.Errorf("what Permit refuses was answered with message %d", answer)
	}
	log.want(t, "not on a Sunday")
	if len(got) != 3 {
		t.Fatalf("Permit was asked %d times; want 3", len(got))
	}
	first, second := got[0], got[1]
	if first.SSHSIG == nil || first.SSHSIG.Namespace != "test" || first.UserAuth != nil || first.Forwarded || first.Key.Comment != "key 0" ||
		first.Peer.PID != os.Getpid() || first.Peer.UID != os.Getuid() || len(first.Binds) != 0 || first.BindFailed {
		t.Errorf("for an SSHSIG on a local connection Permit got %+v", first)
	}
	if a := second.UserAuth; second.SSHSIG != nil || a == nil || a.User != "git" || a.Method != signdata.HostBound || !second.Forwarded ||
		len(second.Binds) != 2 || string(second.Binds[1].SessionID) != "2" || second.Binds[1].Forwarding || !second.BindFailed {
		t.Errorf("for a login on a forwarded connection Permit got %+v", second)
	}
}

// With a key of the Source nothing is signed that is no login and no SSHSIG, and
// no login by another key.
func TestManagedSignsNothingElse(t *testing.T) {
	source := newSource(t, testKeys()["ed25519"])
	conn := connect(t, serve(t, &Server{Source: source}))
	key := public(t, testKeys()["ed25519"])
	good := login(key.Marshal(), ssh.KeyAlgoED25519, "1", "git", nil)
	for name, data := range map[string]string{
		"nothing":                         "",
		"a text":                          "a text",
		"random bytes":                    strings.Repeat("\x00", 1024),
		"a login and more":                good + "x",
		"a login that is cut":             good[:len(good)-1],
		"a login by another certificate":  login(certify(t, newKey(t), ssh.UserCert).Marshal(), ssh.CertAlgoED25519v01, "1", "git", nil),
		"a login by a host's certificate": login(certify(t, testKeys()["ed25519"], ssh.HostCert).Marshal(), ssh.CertAlgoED25519v01, "1", "git", nil),
		"a login by another key":          login(public(t, newKey(t)).Marshal(), ssh.KeyAlgoED25519, "1", "git", nil),
		"an SSHSIG and more":              message("text") + "x",
	} {
		if answer := exchange(t, conn, signFrame(key, data, 0)); answer[0] != agentFailure {
			t.Errorf("%s was answered with message %d; want a failure", name, answer[0])
		}
	}
	if fetched, _ := source.counts(); fetched != 0 {
		t.Errorf("%d private keys were fetched for that; want none", fetched)
	}
	// A certificate is signed for with its key, which is what ssh asks for then.
	certified := login(certify(t, testKeys()["ed25519"], ssh.UserCert, "git").Marshal(), ssh.CertAlgoED25519v01, "1", "git", nil)
	for name, data := range map[string]string{"a login": good, "a login by a certificate of the key": certified} {
		if answer := exchange(t, conn, signFrame(key, data, 0)); answer[0] != agentSignResponse {
			t.Errorf("%s was answered with message %d", name, answer[0])
		}
	}
}

// A key of the Source is listed to those whom Show shows it to, which it asks with
// all that the connection has said. It is not to be had from another agent then.
func TestShow(t *testing.T) {
	managed, other, host := public(t, testKeys()["ed25519"]), newKey(t), hostKey(t, newKey(t))
	var mu sync.Mutex
	var got []Session
	source := newSource(t, testKeys()["ed25519"])
	source.show = func(key Key, c Session) error {
		if key.Comment != "key 0" {
			t.Errorf("Show got the key %+v", key)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, c)
		if len(c.Binds) > 0 {
			return errors.New("not on the way there")
		}
		return nil
	}
	source.permit = func(Request) error { return errors.New("not there") }
	up := Upstream{Name: "up", Dial: dialSocket(serve(t, &Server{Source: newSource(t, testKeys()["ed25519"], other)}))}
	var log logBuffer
	conn := connect(t, serve(t, &Server{Source: source, Upstreams: []Upstream{up}, Log: log.logger()}))
	list := func() (keys []string) {
		ids, ok := parseIdentities(exchange(t, conn, []byte{agentRequestIdentities}))
		if !ok {
			t.Fatal("there was no list")
		}
		for _, id := range ids {
			keys = append(keys, fingerprint(id.blob))
		}
		return keys
	}
	both := []string{ssh.FingerprintSHA256(managed), ssh.FingerprintSHA256(public(t, other))}
	if keys := list(); !slices.Equal(keys, both) {
		t.Errorf("before a bind the list was %v; want %v", keys, both)
	}
	exchange(t, conn, bindRequest(t, host, "1", "1", 1))
	exchange(t, conn, bindRequest(t, host, "2", "2", 0))
	if keys := list(); !slices.Equal(keys, both[1:]) {
		t.Errorf("bound to a host the list was %v; want %v", keys, both[1:])
	}
	if answer := exchange(t, conn, signFrame(managed, message("text"), 0)); answer[0] != agentFailure {
		t.Errorf("another agent has signed with the key that is not shown: message %d", answer[0])
	}
	log.want(t, "key not shown", "not on the way there")
	mu.Lock()
	defer mu.Unlock()
	if len(got) != 2 {
		t.Fatalf("Show was asked %d times; want 2", len(got))
	}
	if c := got[1]; !c.Forwarded || c.BindFailed || len(c.Binds) != 2 || string(c.Binds[1].SessionID) != "2" || c.Peer.PID != os.Getpid() {
		t.Errorf("on a forwarded connection Show got %+v", c)
	}
}
