package workspace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/sshagent"
)

// startAttached runs a daemon with one managed key.
func startAttached(t *testing.T, upstream string) (d *Daemon, managed testKey, log *syncBuffer, stop func()) {
	t.Helper()
	managed, log = newEd25519(t), new(syncBuffer)
	c := Config{Dir: socketDir(t), Client: newClient(t, &testServer{keys: []testKey{managed}}), Idle: sshagent.DefaultIdle, Upstream: upstream,
		Log: slog.New(slog.NewTextHandler(log, nil))}
	d, stop = startDaemon(t, c)
	return d, managed, log, stop
}

func (d *Daemon) mustOffer(t *testing.T, when string, keys ...testKey) {
	t.Helper()
	conn, err := net.Dial("unix", AgentSocket(d.config.Dir))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() // and the links to the agents behind
	if got, want := offered(t, agent.NewClient(conn)), fingerprints(keys...); !slices.Equal(got, want) {
		t.Errorf("%s the agent offers %v; want %v", when, got, want)
	}
}

func (d *Daemon) mustAttach(t *testing.T, socket string) {
	t.Helper()
	if err := AttachAgent(t.Context(), d.config.Dir, socket); err != nil {
		t.Errorf("AttachAgent(%s): %v", socket, err)
	}
}

func TestAttachAgent(t *testing.T) {
	own := newEd25519(t)
	ownSocket := ownAgent(t, own)
	d, managed, log, _ := startAttached(t, ownSocket)
	laptop, desktop := []testKey{newEd25519(t), newEd25519(t)}, newEd25519(t)
	a, b := forwardKeyring(t, laptop...), forwardKeyring(t, desktop)
	for _, socket := range []string{a.path, b.path, a.path, symlink(t, a.path), filepath.Dir(b.path) + "/./agent.1", ownSocket} {
		d.mustAttach(t, socket)
	}
	d.mustOffer(t, "with two agents attached", managed, own, laptop[0], laptop[1], desktop)
	for _, k := range []testKey{managed, own, laptop[1], desktop} {
		mustSign(t, dial(t, AgentSocket(d.config.Dir)), k)
	}
	var names []string
	for _, s := range mustStatus(t, d.config.Dir).Agents {
		names = append(names, s.Name+" "+s.Socket)
		if s.Since.Before(d.started) {
			t.Errorf("%s is on offer since %v; want some time after the daemon's start", s.Name, s.Since)
		}
	}
	if want := []string{"SSH_AUTH_SOCK " + ownSocket, a.path + " " + a.path, b.path + " " + b.path}; !slices.Equal(names, want) {
		t.Errorf("the status lists the agents %q; want %q", names, want)
	}

	early := dial(t, AgentSocket(d.config.Dir))
	offered(t, early)
	if detached, err := DetachAgent(t.Context(), d.config.Dir, a.path); detached != a.path || err != nil {
		t.Errorf("DetachAgent: %q, %v; want %q", detached, err, a.path)
	}
	d.mustOffer(t, "after one was detached", managed, own, desktop)
	if _, err := early.Sign(laptop[0].public, []byte(signable)); err == nil {
		t.Error("a client that was there before signs with a key of an agent that was detached")
	}
	a.await(t, "the links to the agent that was detached end", func() bool { return len(a.links) == 0 })
	var problem *Problem
	for _, socket := range []string{a.path, ownSocket} {
		if _, err := DetachAgent(t.Context(), d.config.Dir, socket); !errors.As(err, &problem) || problem.Hint == "" {
			t.Errorf("DetachAgent of what is not attached: %v; want a Problem, with a hint", err)
		}
	}
	d.mustAttach(t, a.path)
	d.mustOffer(t, "after it was attached again", managed, own, desktop, laptop[0], laptop[1])
	for _, want := range []string{`msg="agent attached" agent=` + a.path, `msg="agent detached" agent=` + a.path + ` why="it was asked for"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

// Of those that come at the same time with the same agent, one attaches it.
func TestAttachAtOnce(t *testing.T) {
	var u upstreams
	for i := range 1000 { // so that looking through them takes a while
		u.list = append(u.list, &upstreamAgent{StateAgent: StateAgent{Socket: fmt.Sprint("/none/agent.", i)}})
	}
	var coming sync.WaitGroup
	for range 16 {
		coming.Go(func() {
			if u.lockWithout("/agent.1") {
				defer u.mu.Unlock()
				u.list = append(u.list, &upstreamAgent{StateAgent: StateAgent{Socket: "/agent.1"}})
			}
		})
	}
	coming.Wait()
	if n := len(u.known()) - 1000; n != 1 {
		t.Fatalf("%d agents are attached; want one", n)
	}
}

// What came with the daemon, or with a client of its own SSH server, is not attached:
// it stays, and whoever names nothing is not taken to mean another one.
func TestDetachWhatWasNotAttached(t *testing.T) {
	ownSocket := ownAgent(t, newEd25519(t))
	d, _, _, _ := startAttached(t, ownSocket)
	d.upstreams.Attach("ssh -A from 192.0.2.7:40000", nil, func(context.Context) (net.Conn, error) { return nil, errors.New("not now") })
	refused := func(socket, want, hint string) {
		t.Helper()
		var problem *Problem
		if _, err := DetachAgent(t.Context(), d.config.Dir, socket); !errors.As(err, &problem) || err.Error() != want || problem.Hint != hint {
			t.Errorf("DetachAgent(%q): %v; want %q, with the hint %q", socket, err, want, hint)
		}
	}
	refused(ownSocket, "the ssh-agent at "+ownSocket+" was not attached: SSH_AUTH_SOCK named it when the daemon started", "to be without its keys, start the daemon without SSH_AUTH_SOCK")
	refused("", `"" is not an absolute path`, "give the path of an ssh-agent's socket, as SSH_AUTH_SOCK has it")
	refused(AgentSocket(d.config.Dir), "no ssh-agent is attached by its socket: ssh -A from 192.0.2.7:40000", `it goes with its session; "ssh -a" brings none`)
	a := forwardKeyring(t, newEd25519(t))
	d.mustAttach(t, a.path)
	refused(symlink(t, AgentSocket(d.config.Dir)), "several ssh-agents are there: ssh -A from 192.0.2.7:40000, "+a.path, "say which: latchkey agent detach SOCKET")
}

// When the session ends, so do its keys, and the links to its agent; nothing else.
func TestAttachedSessionEnds(t *testing.T) {
	d, managed, log, stop := startAttached(t, "")
	laptop, desktop := newEd25519(t), newEd25519(t)
	a, b := forwardKeyring(t, laptop), forwardKeyring(t, desktop)
	d.mustAttach(t, a.path)
	d.mustAttach(t, b.path)
	client := dial(t, AgentSocket(d.config.Dir))
	offered(t, client)
	ended(t, d, a.path, a.end)
	d.mustOffer(t, "after one session ended", managed, desktop)
	if got := offered(t, client); !slices.Equal(got, fingerprints(managed, desktop)) {
		t.Errorf("a client that was there before is offered %v; want the managed key and that of the other session", got)
	}
	if want := "its session has ended: no such file or directory"; !strings.Contains(log.String(), want) {
		t.Errorf("the log does not say %q", want)
	}
	// sshd that was killed leaves its socket behind.
	ended(t, d, b.path, func() {
		b.mu.Lock()
		b.l.(*net.UnixListener).SetUnlinkOnClose(false)
		b.mu.Unlock()
		b.end()
		d.mustOffer(t, "when nobody listens any more", managed)
	})
	d.mustOffer(t, "after both sessions ended", managed)
	c := forwardKeyring(t, laptop)
	d.mustAttach(t, c.path)
	offered(t, dial(t, AgentSocket(d.config.Dir)))
	stop()
	c.await(t, "the links end with the daemon", func() bool { return len(c.links) == 0 })
}

// No link is held to an agent that nobody asks: ssh would wait for its end when its
// user logs out.
func TestAttachHoldsNoLink(t *testing.T) {
	key := newEd25519(t)
	f := forwardKeyring(t, key)
	d, managed, _, _ := startAttached(t, "")
	d.mustAttach(t, f.path)
	d.mustOffer(t, "with an agent attached", managed, key)
	f.await(t, "no link to the agent", func() bool { return len(f.links) == 0 })
}

// An agent that drops its links, or is away for a while behind its socket, stays, and
// so does one that has moved to another socket at its path.
func TestAttachedAgentStays(t *testing.T) {
	key := newEd25519(t)
	f := forwardKeyring(t, key)
	d, managed, _, _ := startAttached(t, "")
	d.mustAttach(t, f.path)
	client := dial(t, AgentSocket(d.config.Dir))
	offered(t, client)
	f.drop()
	d.mustOffer(t, "after links were dropped", managed, key)

	f.mu.Lock()
	alive := f.dial
	f.dial = func() (net.Conn, error) { return nil, errors.New("the agent is away") }
	f.mu.Unlock()
	d.mustOffer(t, "while the agent behind is away", managed)
	f.mu.Lock()
	f.dial = alive
	f.mu.Unlock()
	d.mustOffer(t, "when the agent behind is back", managed, key)

	other := forwardKeyring(t, key)
	if err := os.Rename(other.path, f.path); err != nil {
		t.Fatal(err)
	}
	other.await(t, "the daemon meets who has taken the path over", func() bool { return other.met > 0 })
	d.mustOffer(t, "with another socket at its path", managed, key)
	ended(t, d, f.path, func() { os.Remove(f.path) })
	d.mustOffer(t, "after its path was removed", managed)
}
