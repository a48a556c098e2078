package sshd

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestLogin(t *testing.T) {
	s := start(t, nil)
	stranger := newSigner(t)
	for _, c := range []struct {
		what, user string
		method     ssh.AuthMethod
		ok         bool
	}{
		{"the key", "alice", ssh.PublicKeys(s.key), true},
		{"another key, then the key", "alice", ssh.PublicKeys(stranger, s.key), true},
		{"another key", "alice", ssh.PublicKeys(stranger), false},
		{"another user", "root", ssh.PublicKeys(s.key), false},
		{"no user", "", ssh.PublicKeys(s.key), false},
		{"a password", "alice", ssh.Password(""), false},
		{"a dialogue", "alice", ssh.KeyboardInteractive(func(string, string, []string, []bool) ([]string, error) { return nil, nil }), false},
		{"a certificate", "alice", ssh.PublicKeys(certify(t, s.key)), false},
		{"a signature of somebody else", "alice", ssh.PublicKeys(forger{s.key.PublicKey(), stranger}), false},
		{"seven keys, the right one last", "alice", ssh.PublicKeys(newSigner(t), newSigner(t), newSigner(t), newSigner(t), newSigner(t), newSigner(t), s.key), false},
	} {
		client, err := s.try(c.user, c.method)
		if (err == nil) != c.ok {
			t.Errorf("login with %s: %v; want it to succeed: %t", c.what, err, c.ok)
		}
		if err == nil {
			client.Close()
		}
	}
	if c, err := s.try("alice"); err == nil {
		t.Error("login with nothing succeeds")
		c.Close()
	}
	wantLog(t, s.log, "SSH login\" user=alice key="+ssh.FingerprintSHA256(s.key.PublicKey())+" name=laptop remote=127.0.0.1:")
}

// A forger shows a key and signs with another.
type forger struct {
	public ssh.PublicKey
	ssh.Signer
}

func (f forger) PublicKey() ssh.PublicKey { return f.public }

// certify makes a certificate of a key, by the key itself.
func certify(t *testing.T, key ssh.Signer) ssh.Signer {
	t.Helper()
	cert := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"alice"}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, key); err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// SHA-1 is out, whatever key it is for.
func TestNoSHA1(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, nil)
	s.key = key
	for algorithm, want := range map[string]bool{ssh.KeyAlgoRSA: false, ssh.KeyAlgoRSASHA256: true, ssh.KeyAlgoRSASHA512: true} {
		signer, err := ssh.NewSignerWithAlgorithms(key.(ssh.AlgorithmSigner), []string{algorithm})
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.try("alice", ssh.PublicKeys(signer))
		if (err == nil) != want {
			t.Errorf("login with %s: %v; want it to succeed: %t", algorithm, err, want)
		}
		if err == nil {
			c.Close()
		}
	}
}

// Who is in goes on while somebody else is judged, however long that takes.
func TestSlowJudge(t *testing.T) {
	judging, answer := make(chan struct{}), make(chan struct{})
	var asked atomic.Int32
	s := start(t, func(server *Server) {
		judge := server.Authorized
		server.Authorized = func(user string, key ssh.PublicKey) (string, error) {
			if user == "slow" {
				if asked.Add(1) == 2 { // the first time the key is only shown
					close(judging)
					<-answer
				}
				user = "alice"
			}
			return judge(user, key)
		}
	})
	c := s.dial()
	came := make(chan error, 1)
	go func() {
		slow, err := s.try("slow", ssh.PublicKeys(s.key))
		if err == nil {
			slow.Close()
		}
		came <- err
	}()
	<-judging
	if err := newSession(t, c).Run("true"); err != nil {
		t.Error(err)
	}
	if other, err := s.try("alice", ssh.PublicKeys(s.key)); err != nil {
		t.Error(err)
	} else {
		other.Close()
	}
	close(answer)
	if err := <-came; err != nil {
		t.Errorf("who was judged slowly: %v", err)
	}
}

// Somebody who is logged in is not any more when their key is taken away.
func TestRecheck(t *testing.T) {
	s := start(t, nil)
	c := s.dial()
	if err := s.Recheck(); err != nil {
		t.Error(err)
	}
	if err := newSession(t, c).Run("true"); err != nil {
		t.Fatalf("after a check that found nothing: %v", err)
	}
	// While nobody says who may be in, nobody is put out, and nobody comes in.
	unknown := errors.New("no answer")
	s.become(func() { s.unknown = unknown })
	if err := s.Recheck(); !errors.Is(err, unknown) {
		t.Errorf("Recheck = %v; want %v", err, unknown)
	}
	if err := newSession(t, c).Run("true"); err != nil {
		t.Fatalf("after a check that nobody answered: %v", err)
	}
	if _, err := s.try("alice", ssh.PublicKeys(s.key)); err == nil {
		t.Error("somebody logs in while it is not known whether they may")
	}
	s.become(func() { s.unknown = nil })
	s.revoke()
	c.Wait()
	if _, err := s.try("alice", ssh.PublicKeys(s.key)); err == nil {
		t.Error("a key that was taken away logs in")
	}
	wantLog(t, s.log, "its key may not log in any more")
}

func TestShutdown(t *testing.T) {
	s := start(t, nil)
	out := &buffer{}
	for _, command := range []string{
		`trap 'echo hup > $HOME/hup; exit' HUP; echo ready; while :; do sleep 0.01; done`,
		`trap '' HUP; echo ready; while :; do sleep 0.01; done`,
	} {
		session := s.session()
		pipe, err := session.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := session.Start(command); err != nil {
			t.Fatal(err)
		}
		io.CopyN(out, pipe, int64(len("ready\n")))
	}
	idle, err := net.Dial("tcp", s.addr) // who has not logged in
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	io.ReadFull(idle, make([]byte, len("SSH-2.0-Latchkey\r\n")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Shutdown(ctx)
	if _, err := io.Copy(io.Discard, idle); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("reading from a server that was shut down: %v", err)
	}
	if c, err := net.Dial("tcp", s.addr); err == nil {
		c.Close()
		t.Error("the address still takes connections")
	}
	s.stop()
}

// pipes accepts connections in memory, which testing/synctest needs.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// Who does not log in has a minute, however busy they look.
func TestLoginTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &buffer{}
		s := &Server{HostKey: newSigner(t), Authorized: func(string, ssh.PublicKey) (string, error) { return "", ErrRefused }, Log: slog.New(slog.NewTextHandler(log, nil))}
		l := &pipes{make(chan net.Conn), make(chan struct{})}
		served := make(chan error)
		go func() { served <- s.Serve(l) }()
		ours, theirs := net.Pipe()
		l.conns <- theirs
		began := time.Now()
		var writing sync.WaitGroup
		defer writing.Wait()
		writing.Go(func() {
			for _, err := ours.Write([]byte("SSH-2.0-slow ")); err == nil; _, err = ours.Write([]byte("x")) {
				time.Sleep(time.Second) // of the bubble's
			}
		})
		all, _ := io.ReadAll(ours)
		if !bytes.HasPrefix(all, []byte("SSH-2.0-Latchkey\r\n")) || time.Since(began) != loginTime {
			t.Errorf("it was ended after %v, having been told %q; want %v", time.Since(began), all, loginTime)
		}
		s.Shutdown(t.Context())
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve = %v", err)
		}
		wantLog(t, log, "it took too long")
	})
}

func TestShutdownFirst(t *testing.T) {
	s := &Server{HostKey: newSigner(t)}
	s.Shutdown(t.Context())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve after Shutdown = %v; want ErrServerClosed", err)
	}
}

// The user name and the key are judged once more when the signature was verified:
// gliderlabs/ssh remembers the name of the first try, and a client may change it.
func TestUserOfTheMoment(t *testing.T) {
	s := start(t, nil)
	s.dial() // it serves
	ours, theirs := net.Pipe()
	defer ours.Close()
	c, err := s.admit(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer c.end()
	defer c.Close()
	conn := func() *ssh.ServerConn { return nil }
	if c.welcome("root", s.key.PublicKey(), conn) == nil || c.welcome("alice", newSigner(t).PublicKey(), conn) == nil || c.key != nil {
		t.Error("another user, or another key, was let in at the last moment")
	}
	if err := c.welcome("alice", s.key.PublicKey(), conn); err != nil || c.key == nil || c.user != "alice" {
		t.Error("alice was not let in with her key")
	}
}
