package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/latchkey/latchkey/sshagent"
)

// maxAttached bounds the agents that were attached by their sockets: each client
// has a link to each of them.
const maxAttached = 32

// meetTimeout is how long an agent may take to show that it is one: a shell that
// starts waits for it.
const meetTimeout = 5 * time.Second

// A StateAgent is another agent whose keys the daemon's offers.
type StateAgent struct {
	Name   string    `json:"name"`             // "SSH_AUTH_SOCK", "ssh -A from ADDRESS", or the path of its socket
	Socket string    `json:"socket,omitempty"` // "" for one that an SSH client brought to the daemon's own server
	Since  time.Time `json:"since"`

	TakesAdded bool `json:"takes_added,omitempty"` // what clients of the daemon's agent add and remove goes to it
}

// upstreams are the other agents behind the daemon's: that of SSH_AUTH_SOCK, those
// that SSH clients of the daemon bring along, and those that sessions of other
// programs attach by their sockets. The last ones are watched, each by a goroutine
// that close waits for.
type upstreams struct {
	agent *sshagent.Server
	own   string // the socket of agent
	log   *slog.Logger

	timeout time.Duration // meetTimeout, but for tests

	watching sync.WaitGroup
	mu       sync.Mutex
	list     []*upstreamAgent // in the order in which they came
	closed   bool
}

type upstreamAgent struct {
	StateAgent
	detach func()        // from the agent; may be called twice
	wake   chan struct{} // holds one: look whether it is still there

	// Of one that is watched, else nil.
	end   context.CancelCauseFunc
	ended chan struct{} // closed when it is detached
}

// Attach offers the agent that a client of the SSH server brings along, as
// [sshd.Agents] has it.
func (u *upstreams) Attach(name string, id []byte, dial func(context.Context) (net.Conn, error)) (detach func()) {
	e := &upstreamAgent{StateAgent: StateAgent{Name: name, Since: time.Now()}}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.add(e, id, dial)
	return sync.OnceFunc(func() { u.remove(e, "its session ended") })
}

// addOwn offers the user's own agent. With changes it takes what clients add and remove.
// It is called before the daemon's agent serves.
func (u *upstreams) addOwn(socket string, since time.Time, changes bool) {
	own := sshagent.Upstream{Name: "SSH_AUTH_SOCK", Changes: changes, Dial: func(ctx context.Context) (net.Conn, error) {
		if sameFile(socket, u.own) { // a link that a login has turned to this agent meanwhile
			return nil, errOwnAgent
		}
		return dialAgent(ctx, socket)
	}}
	e := &upstreamAgent{StateAgent: StateAgent{Name: own.Name, Socket: socket, Since: since, TakesAdded: changes}}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !changes {
		u.add(e, nil, own.Dial)
		return
	}
	u.agent.Upstreams = []sshagent.Upstream{own} // one that is attached takes none
	u.list = append(u.list, e)
}

// attach offers the agent at a socket, until its session ends or detach is called.
// It does nothing for one that is on offer already, or that is the daemon's own,
// be it by way of others. Its errors are Problems.
func (u *upstreams) attach(ctx context.Context, socket string) error {
	socket, info, err := checkSocket(socket)
	if err != nil || sameFile(socket, u.own) {
		return err
	}
	err = u.meet(ctx, socket)
	if errors.Is(err, errOwnAgent) {
		u.log.Info("agent not attached: it leads to this one", "socket", socket)
		return nil
	}
	if err != nil {
		return &Problem{fmt.Errorf("no ssh-agent at %s: %w", socket, err), `if its session is over, or its agent has ended, log in again with "ssh -A"`}
	}
	if !u.lockWithout(socket) {
		return nil
	}
	defer u.mu.Unlock()
	switch attached := u.attached(); {
	case u.closed:
		return &Problem{errors.New("the workspace daemon is ending"), "latchkey agent"}
	case attached >= maxAttached:
		return &Problem{fmt.Errorf("%d ssh-agents are attached, which is the limit", attached), `"latchkey status" lists them; "latchkey agent detach SOCKET" takes one back`}
	}
	u.follow(ctx, socket, info)
	return nil
}

// follow offers the agent of a socket, and watches it. mu is held.
func (u *upstreams) follow(ctx context.Context, socket string, info fs.FileInfo) {
	e := &upstreamAgent{StateAgent: StateAgent{Name: socket, Socket: socket, Since: time.Now()}, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	ctx, e.end = context.WithCancelCause(context.WithoutCancel(ctx))
	u.add(e, nil, func(ctx context.Context) (net.Conn, error) {
		conn, err := dialAgent(ctx, socket)
		if gone(err) {
			e.look()
		}
		return conn, err
	})
	u.watching.Go(func() {
		why := u.watch(ctx, e, info)
		u.remove(e, why.Error())
		e.end(nil)
		close(e.ended)
	})
}

// close takes back all that are watched, and no more come. It may be called twice.
func (u *upstreams) close() {
	u.mu.Lock()
	u.closed = true
	for _, e := range u.list {
		if e.end != nil {
			e.end(errDaemonEnds)
		}
	}
	u.mu.Unlock()
	u.watching.Wait()
}

// state is for the status.
func (u *upstreams) state() []StateAgent {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := make([]StateAgent, len(u.list))
	for i, e := range u.list {
		list[i] = e.StateAgent
	}
	return list
}

// add offers an agent. mu is held, so that the list has the order of the keys.
func (u *upstreams) add(e *upstreamAgent, id []byte, dial func(context.Context) (net.Conn, error)) {
	e.detach = u.agent.Attach(sshagent.Upstream{Name: e.Name, Dial: dial}, id)
	u.list = append(u.list, e)
	u.log.Info("agent attached", "agent", e.Name)
}

func (u *upstreams) remove(e *upstreamAgent, why string) {
	u.mu.Lock()
	u.list = slices.DeleteFunc(u.list, func(other *upstreamAgent) bool { return other == e })
	u.mu.Unlock()
	e.detach()
	u.log.Info("agent detached", "agent", e.Name, "why", why)
}

// known are the agents that are there now.
func (u *upstreams) known() []*upstreamAgent {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.list)
}

// lockWithout takes mu, unless the agent of a socket is there, and reports whether it has.
func (u *upstreams) lockWithout(socket string) bool {
	for {
		known := u.known()
		if findSocket(known, socket) != nil {
			return false
		}
		u.mu.Lock()
		if slices.Equal(u.list, known) { // else one has come meanwhile, perhaps this
			return true
		}
		u.mu.Unlock()
	}
}

// findSocket finds the agent of a socket, by whatever path. mu must not be held: a path may be
// on a mount that hangs.
func findSocket(known []*upstreamAgent, socket string) *upstreamAgent {
	for _, e := range known {
		if e.Socket != "" && (e.Socket == socket || sameFile(e.Socket, socket)) {
			return e
		}
	}
	return nil
}

// attached is how many are watched. mu is held.
func (u *upstreams) attached() (n int) {
	for _, e := range u.list {
		if e.end != nil {
			n++
		}
	}
	return n
}

// look has the agent looked at soon, if it is one that is watched.
func (e *upstreamAgent) look() {
	select {
	case e.wake <- struct{}{}:
	default: // nobody watches, or will look anyway
	}
}

func sameFile(a, b string) bool {
	ai, aerr := os.Stat(a)
	bi, berr := os.Stat(b)
	return aerr == nil && berr == nil && os.SameFile(ai, bi)
}
