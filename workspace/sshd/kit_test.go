package sshd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// patience is for what must happen, and does within milliseconds; it ends a test that
// hangs, and is never what a test waits for.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	// What the tests start must not inherit that a signal is ignored, as a hangup is
	// below nohup(1) and an interrupt in the background of a script.
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	os.Exit(m.Run())
}

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// A site is a running server that lets one key in, as alice.
type site struct {
	*Server
	t    *testing.T
	addr string
	key  ssh.Signer
	log  *buffer

	mu      sync.Mutex
	revoked bool
	unknown error // not nil: who may log in is not known
}

// start starts a server; change may be nil.
func start(t *testing.T, change func(*Server)) *site {
	t.Helper()
	s := &site{t: t, key: newSigner(t), log: &buffer{}}
	s.Server = &Server{
		HostKey: newSigner(t),
		Authorized: func(user string, key ssh.PublicKey) (string, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			switch {
			case s.unknown != nil:
				return "", s.unknown
			case s.revoked || user != "alice" || !bytes.Equal(key.Marshal(), s.key.PublicKey().Marshal()):
				return "", ErrRefused
			}
			return "laptop", nil
		},
		Account: Account{Name: "alice", Home: t.TempDir(), Shell: "/bin/sh"},
		Log:     slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(s.Server)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.stop()
		if err := <-ended; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve = %v; want ErrServerClosed", err)
		}
		if len(s.clients)+len(s.sessions)+len(s.strangers) != 0 {
			t.Errorf("after Shutdown there are %d clients, %d sessions, %d strangers; want none", len(s.clients), len(s.sessions), len(s.strangers))
		}
		if t.Failed() {
			t.Logf("the server said:\n%s", s.log)
		}
	})
	return s
}

func (s *site) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.Shutdown(ctx)
}

// become changes who may log in.
func (s *site) become(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *site) revoke() {
	s.t.Helper()
	s.become(func() { s.revoked = true })
	if err := s.Recheck(); err != nil {
		s.t.Error(err)
	}
}

// try logs in.
func (s *site) try(user string, methods ...ssh.AuthMethod) (*ssh.Client, error) {
	return ssh.Dial("tcp", s.addr, &ssh.ClientConfig{User: user, Auth: methods, HostKeyCallback: ssh.FixedHostKey(s.HostKey.PublicKey()), Timeout: patience})
}

// dial logs in as alice until the test ends.
func (s *site) dial() *ssh.Client {
	s.t.Helper()
	c, err := s.try("alice", ssh.PublicKeys(s.key))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// session opens a session of a new client.
func (s *site) session() *ssh.Session {
	s.t.Helper()
	return newSession(s.t, s.dial())
}

func newSession(t *testing.T, c *ssh.Client) *ssh.Session {
	t.Helper()
	session, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	return session
}

// output runs a command and returns what it writes.
func output(t *testing.T, session *ssh.Session, command string) string {
	t.Helper()
	out, err := session.Output(command)
	if err != nil {
		t.Errorf("%s: %v", command, err)
	}
	return string(out)
}

// A buffer is written and read at once.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func wantLog(t *testing.T, log *buffer, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(log.String(), w) {
			t.Errorf("the log does not say %q", w)
		}
	}
}
