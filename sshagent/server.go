package sshagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
)

// maxLinks is how many clients a Server serves at once. ssh opens one for a
// login, and one for each use of a forwarded agent.
const maxLinks = 512

// levelSigned is the level of the line that says that a key has signed.
const levelSigned = slog.LevelInfo

// A state is what a Server needs beyond what its user sets.
type state struct {
	keysOnce sync.Once
	keys     *keyring

	mu        sync.Mutex
	listeners map[net.Listener]bool
	links     map[*link]bool
	running   sync.WaitGroup // one for each link
	refused   int            // clients since there were too many
	closed    chan struct{}  // closed by Shutdown; nil before the first use
	isClosed  bool
}

// A link is one client's connection.
type link struct {
	conn   net.Conn
	cancel context.CancelFunc

	mu     sync.Mutex
	busy   bool // with a request: see end
	ending bool
}

// Serve answers the clients that l accepts until Shutdown, or until l fails. It
// serves whoever l accepts, and closes l.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	closed, err := s.state.listen(l)
	if err != nil {
		return err
	}
	var delay time.Duration
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			delay = 0
			s.start(conn)
			continue
		case s.state.stopped():
			return ErrServerClosed
		case errors.Is(err, errForeignPeer):
			s.logger().Warn("client refused", "err", err)
			continue
		case !passes(err):
			return fmt.Errorf("accepting clients: %w", err)
		}
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		s.logger().Error("accepting clients: trying again", "in", delay, "err", err)
		select {
		case <-time.After(delay):
		case <-closed:
		}
	}
}

// passes reports whether accepting may succeed later.
func passes(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR, syscall.EAGAIN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// listen notes a listener, so that Shutdown closes it.
func (st *state) listen(l net.Listener) (closed <-chan struct{}, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.isClosed {
		return nil, ErrServerClosed
	}
	if st.closed == nil {
		st.closed = make(chan struct{})
		st.listeners = make(map[net.Listener]bool)
		st.links = make(map[*link]bool)
	}
	st.listeners[l] = true
	return st.closed, nil
}

func (st *state) stopped() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.isClosed
}

// start serves a client in a goroutine of its own.
func (s *Server) start(conn net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{conn: conn, cancel: cancel}
	st := &s.state
	st.mu.Lock()
	full, first := len(st.links) >= maxLinks, st.refused == 0
	ok := !full && !st.isClosed
	switch {
	case ok:
		st.links[l] = true
		st.running.Add(1)
		st.refused = 0
	case full:
		st.refused++
	}
	st.mu.Unlock()
	if !ok {
		if full && first { // one line, not one for each
			s.logger().Error("client refused: there are too many", "limit", maxLinks)
		}
		cancel()
		conn.Close()
		return
	}
	go func() {
		defer st.running.Done()
		defer func() {
			cancel()
			conn.Close()
			st.mu.Lock()
			delete(st.links, l)
			st.mu.Unlock()
		}()
		s.serve(ctx, l)
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
				return fmt.Errorf("answering a client: %w", err)
			}
			if !l.done() {
				return net.ErrClosed
			}
		}
	})
	sess.ended(err)
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

// Shutdown stops accepting, ends all links, waits for what is under way until
// ctx ends, and forgets every private key.
func (s *Server) Shutdown(ctx context.Context) error {
	st := &s.state
	st.mu.Lock()
	if !st.isClosed {
		st.isClosed = true
		if st.closed != nil {
			close(st.closed)
		}
	}
	for l := range st.listeners {
		l.Close()
	}
	for l := range st.links {
		l.end()
	}
	st.mu.Unlock()

	ended := make(chan struct{})
	go func() {
		st.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		st.mu.Lock()
		for l := range st.links {
			l.cancel()
			l.conn.Close()
		}
		st.mu.Unlock()
	}
	return s.keyring().shutdown(ctx)
}

// Forget drops every private key at once; a signature under way keeps its own
// until it is done.
func (s *Server) Forget() { s.keyring().forget() }

// Held is how many private keys are in memory now.
func (s *Server) Held() int { return s.keyring().held() }

func (s *Server) keyring() *keyring {
	s.state.keysOnce.Do(func() { s.state.keys = newKeyring(s.Idle, s.logger()) })
	return s.state.keys
}

func (s *Server) logger() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

func (s *Server) observe(a Activity) {
	if s.Observe != nil {
		s.Observe(a)
	}
}

// printable makes a client's bytes fit for a log.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, string(b[:min(len(b), 64)]))
}
