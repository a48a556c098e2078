package workspace

import (
	"errors"
	"testing"

	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/sshagent"
)

// That an added key was kept back is not shown any more when the key is gone, or was
// added anew, perhaps for other hosts.
func TestRefusalsOfRemovedKeys(t *testing.T) {
	c := Config{Dir: socketDir(t), Client: newClient(t, &testServer{})}
	d, _ := startDaemon(t, c)
	a := dial(t, AgentSocket(c.Dir))
	key, other, gone := newEd25519(t), newEd25519(t), newEd25519(t)
	add := func(key testKey) error { return a.Add(agent.AddedKey{PrivateKey: key.private}) }
	for _, tt := range []struct {
		what   string
		change func() error
		want   int
	}{
		{"nothing happens", func() error { return nil }, 1},
		{"another is added", func() error { return add(other) }, 1},
		{"another is removed", func() error { return a.Remove(other.public) }, 1},
		{"it is added anew", func() error { return add(key) }, 0},
		{"it is removed", func() error { return a.Remove(key.public) }, 0},
		{"all are removed", a.RemoveAll, 0},
	} {
		if err := add(key); err != nil {
			t.Fatal(err)
		}
		d.source.refusals.addAdded(sshagent.Key{Public: key.public}, errors.New("it is not for this way"))
		if err := tt.change(); err != nil {
			t.Fatalf("%s: %v", tt.what, err)
		}
		if last := d.offer().Refusals; len(last) != tt.want {
			t.Errorf("%s: with the offer come the refusals %+v; want %d", tt.what, last, tt.want)
		}
		d.source.refusals.addAdded(sshagent.Key{Public: gone.public}, errors.New("it was not confirmed"))
		if last := d.state(t.Context()).Refusals; len(last) != tt.want {
			t.Errorf("%s: the status has the refusals %+v; want %d", tt.what, last, tt.want)
		}
	}
}
