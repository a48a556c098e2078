package test

import (
	"net"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// A host that has listed the keys once, and keeps its link to the forwarded agent, is
// cut off when the policy changes, and need not ask for that.
func TestForwardedAgentIsCutOff(t *testing.T) {
	j := newJourney(t)
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(j.user.publicKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", j.bringAgent(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a := agent.NewClient(c)
	if keys, err := a.List(); err != nil || len(keys) != 1 {
		t.Fatalf("List = %v, %v; want the managed key", keys, err)
	}
	login := loginTo(key, j.c.User, nil)
	if _, err := a.Sign(key, login); err != nil {
		t.Fatalf("a login, the key without a policy: %v", err)
	}
	j.allows(t, true)
	await(t, "the host on a link that it has kept is refused", func() bool {
		_, err := a.Sign(key, login)
		return err != nil
	})
	j.allows(t, false)
	await(t, "the host is let in again", func() bool {
		_, err := a.Sign(key, login)
		return err == nil
	})
}
