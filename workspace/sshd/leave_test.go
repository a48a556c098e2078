package sshd

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

// leaveWhileJudged has a client come with a key, and leave while it is asked whether it
// may log in. The server has noticed that when this returns, in a synctest bubble.
func leaveWhileJudged(s *Server, conn net.Conn, key ssh.Signer) {
	go ssh.NewClientConn(conn, "", &ssh.ClientConfig{User: "alice", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(s.HostKey.PublicKey())})
	synctest.Wait()
	conn.Close()
	synctest.Wait()
}

// What is said of a client that leaves while its key is judged is how that was judged.
func TestLeaveWhileJudged(t *testing.T) {
	for _, c := range []struct {
		what   string
		times  int32 // that it is judged: first when it shows its key, then when it has proved that it has it
		answer error
		why    string
	}{
		{"may not log in", 1, ErrRefused, "may not log in"},
		{"may log in", 1, nil, "the client has not proved that it has the private key"},
		{"may not log in at last", 2, ErrRefused, "may not log in"},
		{"may log in at last", 2, nil, "the client left before it was let in"},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				key, answer := newSigner(t), make(chan struct{})
				var asked atomic.Int32
				var told []Refusal
				s, log, dial := serveInMemory(t, func(s *Server) {
					s.Authorized = func(string, ssh.PublicKey) (string, error) {
						if asked.Add(1) < c.times {
							return "laptop", nil
						}
						<-answer
						return "laptop", c.answer
					}
					s.Refused = func(r Refusal) { told = append(told, r) }
				})
				leaveWhileJudged(s, dial(), key)
				if n := asked.Load(); n != c.times || strings.Contains(log.String(), "SSH login") {
					t.Errorf("it is judged %d times before it leaves, and the log says\n%s\nwant %d, and nothing yet", n, log, c.times)
				}
				close(answer)
				s.Shutdown(t.Context())
				fingerprint := ssh.FingerprintSHA256(key.PublicKey())
				want := `user=alice keys=` + fingerprint + ` remote=pipe why="` + c.why + `"`
				if got := (&site{log: log}).refusals(); len(got) != 1 || got[0] != want {
					t.Errorf("the log says\n%s\nwant\n%s", strings.Join(got, "\n"), want)
				}
				if len(told) != 1 || !slices.Equal(told[0].Keys, []string{fingerprint}) {
					t.Errorf("who is told of refusals hears of %+v; want the key %s", told, fingerprint)
				}
			})
		})
	}
}

// Whoever shows a key and leaves does not have more and more asked of one that does
// not answer. Shutdown waits for what is asked still, as long as it may.
func TestManyLeaveWhileJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		var asking atomic.Int32
		s, log, dial := serveInMemory(t, func(s *Server) {
			s.Authorized = func(string, ssh.PublicKey) (string, error) {
				defer asking.Add(-1)
				asking.Add(1)
				<-answer
				return "", ErrRefused
			}
		})
		key := newSigner(t)
		for range 2*maxStrangers + 10 {
			leaveWhileJudged(s, dial(), key)
		}
		if n := asking.Load(); n != 2*maxStrangers {
			t.Errorf("it is asked of %d clients at once; want %d", n, 2*maxStrangers)
		}
		wantLog(t, log, "too many have not logged in yet")
		s.mu.Lock()
		if slices.ContainsFunc(s.strangers, func(c *client) bool { return c.sentAway != "" }) {
			t.Error("one that has left is sent away")
		}
		s.mu.Unlock()

		const while = 5 * time.Second
		stopping, cancel := context.WithTimeout(t.Context(), while)
		defer cancel()
		began := time.Now()
		if s.Shutdown(stopping); time.Since(began) != while {
			t.Errorf("Shutdown returns after %v; want %v", time.Since(began), while)
		}
		close(answer)
		s.Shutdown(t.Context())
		if n := asking.Load(); n != 0 {
			t.Errorf("after Shutdown it is asked of %d clients", n)
		}
	})
}

// A failing is a listener that fails once.
type failing struct {
	*pipes
	err error
}

func (f *failing) Accept() (net.Conn, error) {
	if err := f.err; err != nil {
		f.err = nil
		return nil, &net.OpError{Op: "accept", Err: err}
	}
	return f.pipes.Accept()
}

// A server without a file descriptor left accepts again when it has one. It ends with
// what does not pass.
func TestAcceptAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for err, passes := range map[error]bool{syscall.EMFILE: true, syscall.EBADF: false} {
			s := &Server{HostKey: newSigner(t)}
			served := make(chan error, 1)
			go func() { served <- s.Serve(&failing{&pipes{make(chan net.Conn), make(chan struct{})}, err}) }()
			time.Sleep(time.Minute) // of the bubble's
			if serves := len(served) == 0; serves != passes {
				t.Errorf("after %v it serves: %t; want %t", err, serves, passes)
			}
			s.Shutdown(t.Context())
			<-served
		}
	})
}
