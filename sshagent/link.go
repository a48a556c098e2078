package sshagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// maxLinks is how many clients a Server serves at once. ssh opens one for a
	// login, and one for each use of a forwarded agent.
	maxLinks = 512

	// idleLink is for how long a client must have asked nothing before it has to
	// make room for another, when there are maxLinks. Else it may stay for ever.
	idleLink = time.Minute
)

// A link is one client's connection.
type link struct {
	conn   net.Conn
	cancel context.CancelFunc

	mu     sync.Mutex
	busy   bool // with a request: see end
	ending bool
	since  time.Time // when it began, or was done last
}

// start serves a client in a goroutine of its own.
func (s *Server) start(conn net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{conn: conn, cancel: cancel, since: time.Now()}
	st := &s.state
	st.mu.Lock()
	if len(st.links) >= maxLinks {
		st.dropIdle(s.logger(), errFull)
	}
	full, said := len(st.links) >= maxLinks, st.full
	ok := !full && !st.isClosed
	if ok {
		st.links[l] = true
		st.running.Add(1)
	}
	st.full = full
	st.mu.Unlock()
	if !ok {
		if full && !said { // one line, not one for each
			s.logger().Error("clients refused", "why", errFull)
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

var errFull = fmt.Errorf("there are %d clients, which is the limit", maxLinks)

// makeRoom is dropIdle for who does not hold the lock.
func (st *state) makeRoom(log *slog.Logger, why error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.dropIdle(log, why)
}

// dropIdle ends the link that has been idle for longest, if it has for long
// enough, and takes it off the table. The lock is held.
func (st *state) dropIdle(log *slog.Logger, why error) {
	var oldest *link
	before := time.Now().Add(-idleLink)
	for l := range st.links {
		if since, idle := l.idle(); idle && !since.After(before) {
			oldest, before = l, since
		}
	}
	if oldest != nil {
		log.Warn("a client that asks nothing had to make room for another", "why", why, "idle", time.Since(before).Round(time.Second))
		oldest.end()
		delete(st.links, oldest)
	}
}

// serve answers one client until it hangs up or the link is ended.
func (s *Server) serve(ctx context.Context, l *link) {
	sess := newSession(s, l.conn)
	defer sess.close()
	err := guard(sess.log, "answering a client", func() error {
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
	sess.tell(slog.LevelWarn, "link ended", "err", err)
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
	l.busy, l.since = false, time.Now()
	return !l.ending
}

// idle reports whether the link waits for a request, and since when.
func (l *link) idle() (since time.Time, idle bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since, !l.busy
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
