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
	session []byte // see Attach; nil: none

	conn net.Conn // nil until it is needed
	in   frameReader
	err  error // why it is not used any more
}

// exchange sends a frame and returns the answer, which is valid until the next
// call. It dials when first called. An error is for good: a link that broke in
// mid-frame can't go on, and a new one would lack the binds of the old.
func (u *upstreamLink) exchange(ctx context.Context, frame []byte) ([]byte, error) {
	if u.err != nil {
		return nil, u.err
	}
	answer, err := u.tryExchange(ctx, frame)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		u.err = fmt.Errorf("agent %q: %w", u.Name, err)
		u.close()
	}
	return answer, u.err
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
	}
	stop := context.AfterFunc(ctx, func() { u.conn.Close() })
	defer stop()
	out := framed(frame)
	err := writeFrame(u.conn, out)
	clear(out) // it may be a private key, a password, or a PIN that is passed on
	if err != nil {
		return nil, err
	}
	return u.in.next()
}

// identities asks for the list.
func (u *upstreamLink) identities(ctx context.Context) ([]identity, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, listTimeout, fmt.Errorf("no answer for %v", listTimeout))
	defer cancel()
	answer, err := u.exchange(ctx, []byte{agentRequestIdentities})
	if err != nil {
		return nil, err
	}
	ids, ok := parseIdentities(answer)
	if !ok {
		return nil, fmt.Errorf("agent %q: it answered the request for its keys with message %d, not a list", u.Name, answer[0])
	}
	return ids, nil
}

func (u *upstreamLink) close() {
	if u.conn != nil {
		u.conn.Close()
	}
}
