package sshagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// maxLinks is how many clients a Server serves at once. ssh opens one for a
// login, and one for each use of a forwarded agent.
const maxLinks = 512

// A link is one client's connection.
type link struct {
	conn   net.Conn
	cancel context.CancelFunc

	mu     sync.Mutex
	busy   bool // with a request: see end
	ending bool
}

// start serves a client in a goroutine of its own.
func (s *Server) start(conn net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{conn: conn, cancel: cancel}
	st := &s.state
	st.mu.Lock()
	full, said := len(st.links) == maxLinks, st.full
	ok := !full && !st.isClosed
	if ok {
		st.links[l] = true
		st.running.Add(1)
	}
	st.full = full
	st.mu.Unlock()
	if !ok {
		if full && !said { // one line, not one for each
			s.logger().Error("clients refused: there are too many", "limit", maxLinks)
		}
		cancel()
		conn.Close()
		return
	}
	go func() {
		defer st.running.Done()
		s.serve(ctx, l)
		cancel()
		conn.Close()
		st.mu.Lock()
		delete(st.links, l)
		st.mu.Unlock()
	}()
}

// serve answers one client until it hangs up or the link is ended.
func (s *Server) serve(ctx context.Context, l *link) {
	log := s.logger()
	if p, err := peerOf(l.conn); err == nil {
		log = log.With("pid", p.pid)
	}
	sess := newSession(s, l.conn, log)
	defer sess.close()
	err := guard(log, "answering a client", func() error {
		for {
			request, err := sess.in.next()
			if err != nil {
				return err
			}
			if !l.begin() {
				return net.ErrClosed
			}
			if err := writeFrame(l.conn, sess.answer(ctx, request)); err != nil {
				return fmt.Errorf("answering: %w", err)
			}
			if !l.done() {
				return net.ErrClosed
			}
		}
	})
	// A client that went away, or that Shutdown ended, is nothing to know of.
	if err == io.EOF || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return
	}
	log.Warn("link ended", "err", err)
}

// begin says that the link is busy from here to done. Both report whether the
// link goes on.
func (l *link) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = true
	return !l.ending
}

func (l *link) done() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = false
	return !l.ending
}

// end ends the link, after it has answered what it is busy with.
func (l *link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ending = true
	if !l.busy {
		l.conn.Close()
	}
}
