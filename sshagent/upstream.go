package sshagent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// listTimeout bounds how long an upstream agent may take to list its keys. A
// forwarded agent whose network is gone must not keep the other keys from
// serving; an agent that asks its user to unlock it should have the time.
const listTimeout = 15 * time.Second

// An upstreamLink is one client's link to one upstream agent.
type upstreamLink struct {
	Upstream
	session []byte    // see Attach; nil: none
	agent   *attached // nil: it is not an attached one

	// What a link begins with when it is dialled: see extVia, nil for none, and
	// the binds that have come until then.
	via   []byte
	binds [][]byte

	rests bool     // see rest
	conn  net.Conn // nil until it is needed
	in    frameReader
	err   error // why it is not used any more
}

// exchange sends a frame and returns the answer, which is valid until the next
// call. It dials when there is no link: when first called, and after a rest or an
// error if it is one that rests, which its binds are kept for. Else an error is for
// good: a link that broke in mid-frame can't go on, and a new one would lack binds.
func (u *upstreamLink) exchange(ctx context.Context, frame []byte) ([]byte, error) {
	if u.err != nil {
		return nil, u.err
	}
	answer, err := u.tryExchange(ctx, frame)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		err = fmt.Errorf("agent %q: %w", u.Name, err)
		u.close()
		if u.conn = nil; !u.rests {
			u.err = err
		}
	}
	return answer, err
}

func (u *upstreamLink) tryExchange(ctx context.Context, frame []byte) ([]byte, error) {
	if u.conn == nil {
		conn, err := u.Dial(ctx)
		if err != nil {
			return nil, err
		}
		if conn == nil {
			return nil, errors.New("dialling it gave no connection")
		}
		u.conn, u.in = conn, newFrameReader(conn)
		if err := u.begin(ctx); err != nil {
			return nil, err
		}
	}
	return u.exchangeOpen(ctx, frame)
}

// begin tells the agent where a new link comes from. That it refuses (many know
// neither extension) is its own affair.
func (u *upstreamLink) begin(ctx context.Context) error {
	ctx, cancel := u.withTimeout(ctx)
	defer cancel()
	for _, request := range append([][]byte{u.via}, u.binds...) {
		if request == nil {
			continue
		}
		if _, err := u.exchangeOpen(ctx, request); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return err
		}
	}
	return nil
}

// exchangeOpen is exchange on a link that is open.
func (u *upstreamLink) exchangeOpen(ctx context.Context, frame []byte) ([]byte, error) {
	conn := u.conn // which goes to rest later
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	out := framed(frame)
	err := writeFrame(u.conn, out)
	clear(out) // it may be a private key, a password, or a PIN that is passed on
	if err != nil {
		return nil, err
	}
	return u.in.next()
}

var errNoAnswer = errors.New("no answer")

// withTimeout bounds a wait for what an agent answers by itself, without a user.
func (u *upstreamLink) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := listTimeout
	if u.agent != nil && u.agent.silent.Load() {
		timeout = silentTimeout
	}
	return context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w for %v", errNoAnswer, timeout))
}

// identities asks for the list.
func (u *upstreamLink) identities(ctx context.Context) ([]identity, error) {
	ctx, cancel := u.withTimeout(ctx)
	defer cancel()
	answer, err := u.exchange(ctx, []byte{agentRequestIdentities})
	if err != nil {
		if u.agent != nil && errors.Is(err, errNoAnswer) {
			u.agent.fallSilent()
		}
		return nil, err
	}
	if u.agent != nil {
		u.agent.silent.Store(false)
	}
	ids, ok := parseIdentities(answer)
	if !ok {
		return nil, fmt.Errorf("agent %q: it answered the request for its keys with %s, not a list", u.Name, messageName(answer[0]))
	}
	return ids, nil
}

func (u *upstreamLink) close() {
	if u.conn != nil {
		u.conn.Close()
	}
}

// leave closes the link for good.
func (u *upstreamLink) leave(err error) {
	u.close()
	u.err = fmt.Errorf("agent %q: %w", u.Name, err)
}

// restAfter is how long a link to an attached agent stays open while its client asks
// for nothing.
const restAfter = 10 * time.Second

// rest closes the links to attached agents that are not in use; the next request has
// them dialled again, with all binds. Such an agent may belong to a session of "ssh
// -A", which does not end while a link is open: a program that keeps its own link to
// this agent all day, as IDEs do, must not hold the session of somebody who logs out.
func (s *session) rest() {
	s.busy.Lock()
	defer s.busy.Unlock()
	for _, u := range s.upstreams {
		if u.rests && u.err == nil && u.conn != nil {
			u.close()
			u.conn = nil
		}
	}
}

// restLater has rest called if no request comes. busy is held.
func (s *session) restLater() {
	for _, u := range s.upstreams {
		if u.rests && u.err == nil && u.conn != nil {
			if s.resting == nil {
				s.resting = time.AfterFunc(restAfter, s.rest)
			} else {
				s.resting.Reset(restAfter)
			}
			return
		}
	}
}

// endRest has rest called no more. busy is held.
func (s *session) endRest() {
	if s.resting != nil {
		s.resting.Stop()
	}
}
