package sshagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// A state is what a Server needs beyond what its user sets.
type state struct {
	once    sync.Once // for these, when first used
	id      viaID
	keys    *keyring
	added   *addedKeys
	padlock *padlock
	asking  chan struct{} // has room for one question to the user
	teller  teller

	mu        sync.Mutex
	listeners map[net.Listener]bool
	links     map[*link]bool
	running   sync.WaitGroup // one for each link
	full      bool           // there were too many links when last somebody came
	attached  []attachment   // replaced, never changed
	probing   sync.WaitGroup // one for each attached agent that is silent
	unprobed  chan struct{}  // closed to end these; nil: there is none
	closed    chan struct{}  // closed by Shutdown; nil before the first use
	isClosed  bool
}

// Serve answers the clients that l accepts until Shutdown, or until l fails. It
// serves whoever l accepts, and closes l.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	closed, err := s.state.open(l)
	if err != nil {
		return err
	}
	defer s.state.close(l)
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
		case errors.As(err, new(*peerError)):
			s.logger().Warn("client refused", "err", err)
			continue
		case !passes(err):
			return fmt.Errorf("accepting clients: %w", err)
		}
		if delay == 0 { // one line, not one for each try
			s.logger().Error("accepting clients: trying again", "err", err)
		}
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			s.state.makeRoom(s.logger(), err)
		}
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
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

// open notes a listener, so that Shutdown closes it.
func (st *state) open(l net.Listener) (closed <-chan struct{}, err error) {
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

func (st *state) close(l net.Listener) {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.listeners, l)
}

func (st *state) stopped() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.isClosed
}

// Shutdown stops accepting, ends all links, waits for what is under way until
// ctx ends, and forgets every private key. If ctx ends first, what is under way
// is cut off, and the error is that of ctx; a key that just signs is forgotten
// when it has.
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
	st.endProbes()

	ended := make(chan struct{})
	go func() {
		st.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return errors.Join(s.keyring().shutdown(ctx), s.added().shutdown(ctx))
	case <-ctx.Done():
	}
	st.mu.Lock()
	for l := range st.links {
		l.cancel()
		l.conn.Close()
	}
	st.mu.Unlock()
	s.keyring().shutdown(ctx)
	s.added().shutdown(ctx)
	return context.Cause(ctx)
}

// Forget drops every private key at once; a signature under way keeps its own
// until it is done. Keys of the Source are fetched again when somebody wants
// them; those that clients added are gone.
func (s *Server) Forget() {
	s.keyring().forget()
	s.added().forget()
}

// ForgetSource is Forget for the keys of the Source only.
func (s *Server) ForgetSource() { s.keyring().forget() }

// Held is how many private keys are in memory now.
func (s *Server) Held() int { return s.keyring().held() + s.added().held() }

// HeldAdded is how many of those clients have added.
func (s *Server) HeldAdded() int { return s.added().held() }

// AddedAt is when a client has added a key that is there still, the last time: zero if none is.
func (s *Server) AddedAt(public ssh.PublicKey) time.Time {
	if key := s.added().find(string(public.Marshal())); key != nil {
		return key.came
	}
	return time.Time{}
}

// Locked reports whether a client has locked it.
func (s *Server) Locked() bool { return s.padlock().closed.Load() }

func (s *Server) keyring() *keyring { return s.ready().keys }
func (s *Server) added() *addedKeys { return s.ready().added }
func (s *Server) padlock() *padlock { return s.ready().padlock }

func (s *Server) asking() chan struct{} { return s.ready().asking }

func (s *Server) ready() *state {
	s.state.once.Do(func() {
		s.state.id = newViaID()
		s.state.keys = newKeyring(s.Idle, s.logger())
		s.state.added = &addedKeys{log: s.logger()}
		s.state.padlock = newPadlock()
		s.state.asking = make(chan struct{}, 1)
	})
	return &s.state
}

func (s *Server) logger() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

func (s *Server) keptBack(key *addedKey, why error) {
	if s.KeptBack != nil {
		s.KeptBack(key.key, why)
	}
}

func (s *Server) observe(a Activity) {
	if s.Observe != nil {
		s.Observe(a)
	}
}
