package sshagent

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
)

var errLoop = errors.New("the client comes from there")

var errDetached = errors.New("the agent was detached")

// Attach offers the keys of one more agent, after those of Upstreams, to the
// clients that come from now on. It is for the agent that somebody brings along
// with "ssh -A": detach takes it back, and ends the links to it, so that its
// keys go with the session. Both may be called at any time; detach may be called
// twice. It takes no changes, whatever u says: what somebody adds in the
// workspace is not for whoever comes along.
//
// id is the session identifier of the SSH connection that the agent came with
// (RFC 4253, section 7.2), or nil. Clients that came through the same connection
// are not offered its keys: an agent that is forwarded to itself would ask itself
// for ever. Where no session is known, or not all the way round is one session, a
// link says through which Servers it has come (see extVia), and one that comes to
// the same Server again is offered no other agent's keys.
func (s *Server) Attach(u Upstream, id []byte) (detach func()) {
	a := &attached{dial: u.Dial, links: make(map[net.Conn]bool), ended: make(chan struct{})}
	u.Dial, u.Changes = a.open, false
	a.probe = func() { s.probe(a, u) }
	st := &s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	// Another list, as sessions may be reading the one that there is.
	st.attached = append(slices.Clip(st.attached), attachment{u, id, a})
	return func() {
		st.mu.Lock()
		st.attached = slices.DeleteFunc(slices.Clone(st.attached), func(other attachment) bool { return other.agent == a })
		st.mu.Unlock()
		a.detach()
	}
}

type attachment struct {
	Upstream
	session []byte
	agent   *attached
}

// upstreamLinks are the links of a new client to the other agents whose keys it
// is offered. They dial when they are needed.
func (s *Server) upstreamLinks() (links []*upstreamLink) {
	via := viaRequest(nil, s.ready().id)
	for _, u := range s.Upstreams {
		links = append(links, &upstreamLink{Upstream: u, via: via})
	}
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	for _, a := range s.state.attached {
		links = append(links, &upstreamLink{Upstream: a.Upstream, session: a.session, agent: a.agent, via: via, rests: true})
	}
	return links
}

// leaveLoops stops asking the agents that are at the other end of a connection
// that this client came through: see Attach.
func (s *session) leaveLoops() {
	s.upstreams = slices.DeleteFunc(s.upstreams, func(u *upstreamLink) bool {
		for _, b := range s.binds {
			if len(u.session) > 0 && bytes.Equal(b.SessionID, u.session) {
				u.leave(errLoop)
				return true
			}
		}
		return false
	})
}

// An attached agent knows the links to it.
type attached struct {
	dial   func(context.Context) (net.Conn, error)
	silent atomic.Bool // it did not answer when it was asked for its keys last
	probe  func()      // looks whether it does again
	ended  chan struct{}

	mu    sync.Mutex
	links map[net.Conn]bool // nil: detached
}

// open is the Dial of an attached agent.
func (a *attached) open(ctx context.Context) (net.Conn, error) {
	if a.detached() {
		return nil, errDetached
	}
	conn, err := a.dial(ctx)
	if err != nil || conn == nil {
		return nil, err
	}
	l := &attachedLink{conn, a}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.links == nil {
		conn.Close()
		return nil, errDetached
	}
	a.links[l] = true
	return l, nil
}

func (a *attached) detached() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.links == nil
}

func (a *attached) detach() {
	a.mu.Lock()
	links := a.links
	if a.links != nil {
		close(a.ended)
	}
	a.links = nil
	a.mu.Unlock()
	for l := range links {
		l.(*attachedLink).Conn.Close()
	}
}

type attachedLink struct {
	net.Conn
	agent *attached
}

func (l *attachedLink) Close() error {
	l.agent.mu.Lock()
	delete(l.agent.links, net.Conn(l)) // of a nil map too
	l.agent.mu.Unlock()
	return l.Conn.Close()
}
