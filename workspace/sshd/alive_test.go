package sshd

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

// A sleeper is a connection that reads until it falls asleep.
type sleeper struct {
	net.Conn
	asleep, woken chan struct{}
}

func (s sleeper) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	select {
	case <-s.asleep:
		<-s.woken
		return 0, io.EOF
	default:
		return n, err
	}
}

// A client that answers, or says anything at all, stays however long it has
// nothing to do. One that does neither goes, with what was listened on for it.
func TestClientAlive(t *testing.T) {
	answer := func(requests <-chan *ssh.Request) {
		for r := range requests {
			r.Reply(false, nil)
		}
	}
	ignore := func(requests <-chan *ssh.Request) {
		for range requests {
		}
	}
	for _, c := range []struct {
		what   string
		handle func(<-chan *ssh.Request)
		asleep bool
		talks  time.Duration // how often it says something
		stays  bool
	}{
		{what: "answers", handle: answer, stays: true},
		{what: "answers nothing", handle: ignore},
		{what: "answers nothing, but says something every 50 s", handle: ignore, talks: 50 * time.Second, stays: true},
		{what: "reads nothing any more", handle: answer, asleep: true},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, log, dial := serveInMemory(t, nil)
				pipe := sleeper{dial(), make(chan struct{}), make(chan struct{})}
				conn, channels, requests, err := ssh.NewClientConn(pipe, "", &ssh.ClientConfig{User: "alice", Auth: []ssh.AuthMethod{ssh.PublicKeys(newSigner(t))}, HostKeyCallback: ssh.FixedHostKey(s.HostKey.PublicKey())})
				if err != nil {
					t.Fatal(err)
				}
				go c.handle(requests)
				go func() {
					for range channels {
					}
				}()
				synctest.Wait()
				listening := &closed{at: make(chan time.Time, 1)}
				if !listenFor(s, listening) {
					t.Fatal("nothing is listened on for the client")
				}
				began := time.Now()
				if c.asleep {
					close(pipe.asleep)
				}
				var talking sync.WaitGroup
				defer talking.Wait()
				if c.talks != 0 {
					talking.Go(func() {
						for time.Sleep(c.talks); ; time.Sleep(c.talks) {
							if _, _, err := conn.SendRequest("hello@example.com", false, nil); err != nil {
								return
							}
						}
					})
				}
				select {
				case at := <-listening.at:
					after, least := at.Sub(began), (1+aliveCount)*aliveInterval
					if c.stays || after < least || after > least+aliveInterval {
						t.Errorf("its connection ended after %v; want it to stay: %t, and else to end after %v, or an interval more", after, c.stays, least)
					}
					wantLog(t, log, "the client does not answer")
				case <-time.After(time.Hour):
					if !c.stays {
						t.Error("after an hour its connection has not ended")
					}
				}
				close(pipe.woken)
				conn.Close()
			})
		})
	}
}

// closed tells when it was.
type closed struct{ at chan time.Time }

func (c *closed) Close() error {
	c.at <- time.Now()
	return nil
}

// listenFor has something closed with the one client that there is.
func listenFor(s *Server, what io.Closer) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.clients {
		ok = c.listen("it", what)
	}
	return ok
}

// serveInMemory serves over pipes, which testing/synctest needs, and lets alice
// in by any key. change may be nil.
func serveInMemory(t *testing.T, change func(*Server)) (s *Server, log *buffer, dial func() net.Conn) {
	log = &buffer{}
	s = &Server{
		HostKey: newSigner(t),
		Authorized: func(user string, _ ssh.PublicKey) (string, error) {
			if user != "alice" {
				return "", ErrRefused
			}
			return "laptop", nil
		},
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}
	if change != nil {
		change(s)
	}
	l := &pipes{make(chan net.Conn), make(chan struct{})}
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Shutdown(t.Context())
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve = %v; want ErrServerClosed", err)
		}
	})
	return s, log, func() net.Conn {
		ours, theirs := net.Pipe()
		l.conns <- theirs
		b := &buffered{Conn: ours, chunks: make(chan []byte), done: make(chan struct{})}
		go b.send()
		return b
	}
}

// buffered is a pipe that takes what is written before it is read: both sides
// begin with their version.
type buffered struct {
	net.Conn
	chunks  chan []byte
	done    chan struct{}
	closing sync.Once
}

func (b *buffered) Write(p []byte) (int, error) {
	select {
	case b.chunks <- slices.Clone(p):
		return len(p), nil
	case <-b.done:
		return 0, net.ErrClosed
	}
}

func (b *buffered) Close() error {
	b.closing.Do(func() { close(b.done) })
	return b.Conn.Close()
}

func (b *buffered) send() {
	for {
		select {
		case chunk := <-b.chunks:
			b.Conn.Write(chunk)
		case <-b.done:
			return
		}
	}
}
