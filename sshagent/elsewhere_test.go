package sshagent

import (
	"net"
	"testing"

	"golang.org/x/crypto/ssh"
)

// From a machine that the agent was forwarded to it is used, and not changed: nor
// by a client that has lied about where it is.
func TestUsedAndNotChangedFromElsewhere(t *testing.T) {
	managed, own := testKeys()["ed25519"], newKey(t)
	path := serve(t, &Server{Source: newSource(t, managed)})
	here := connect(t, path)
	do(t, here, "adding", addition{key: own, comment: "own"}.request(t), true)
	host, blob := hostKey(t, newKey(t)), public(t, own).Marshal()
	bound := connect(t, path)
	do(t, bound, "a bind", bindRequest(t, host, "1", "1", 1), true)
	lying := connect(t, path)
	do(t, lying, "a forged bind", bindRequest(t, host, "1", "another", 0), false)
	for name, conn := range map[string]net.Conn{"forwarded": bound, "lying": lying} {
		for what, request := range map[string][]byte{
			"adding":       addition{key: newKey(t)}.request(t),
			"removing":     appendString([]byte{agentRemoveIdentity}, blob),
			"removing all": {agentRemoveAll},
			"locking":      lockRequest(agentLock, "password"),
			"a smartcard":  appendString(appendString([]byte{agentAddSmartcardKey}, "/lib/x.so"), "1234"),
		} {
			do(t, conn, name+", "+what, request, false)
		}
	}
	wantKeys(t, here, "afterwards", "key 0", "own")
	for _, key := range []ssh.PublicKey{public(t, managed), public(t, own)} {
		if answer := exchange(t, bound, signFrame(key, message("text"), 0)); answer[0] != agentSignResponse {
			t.Errorf("a signature with %s was answered with message %d; want it made", key.Type(), answer[0])
		}
	}
}
