package sshagent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/sshagent/signdata"
)

// testKeys are one key of each kind, made once: RSA takes its time.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	_, ed, err1 := ed25519.GenerateKey(rand.Reader)
	ec, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ec521, err3 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	rs, err4 := rsa.GenerateKey(rand.Reader, 3072)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		panic(err)
	}
	return map[string]crypto.Signer{"ed25519": ed, "ecdsa": ec, "ecdsa-521": ec521, "rsa": rs}
})

// message is what SSH signs for a text (OpenSSH's PROTOCOL.sshsig): with keys of
// a Source nothing is signed that has no meaning.
func message(text string) string { return messageIn("test", text) }

func messageIn(namespace, text string) string {
	sum := sha256.Sum256([]byte(text))
	b := appendString(appendString([]byte("SSHSIG"), namespace), "")
	return string(appendString(appendString(b, "sha256"), sum[:]))
}

// login is what a client signs to log in (RFC 4252, section 7). The key is that
// of the blob; host is nil for the method that names none.
func login(blob []byte, algorithm, session, user string, host []byte) string {
	method := signdata.PublicKey
	if host != nil {
		method = signdata.HostBound
	}
	b := append(appendString(nil, session), 50)
	b = append(appendString(appendString(appendString(b, user), "ssh-connection"), method), 1)
	b = appendString(appendString(b, algorithm), blob)
	if host != nil {
		b = appendString(b, host)
	}
	return string(b)
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func public(t testing.TB, key crypto.Signer) ssh.PublicKey {
	t.Helper()
	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// A testSource has keys in memory and counts what happens to them.
type testSource struct {
	signers []ssh.AlgorithmSigner
	keysErr error

	fetching func(context.Context) error // if not nil, called by Signer before it answers
	signing  func()                      // if not nil, called while a key signs
	show     func(Key, Session) error    // if not nil
	permit   func(Request) error         // if not nil

	mu             sync.Mutex
	fetched        int
	closed         int
	early, overuse int // closed while signing; signed when closed; closed again
}

func newSource(t testing.TB, keys ...crypto.Signer) *testSource {
	t.Helper()
	s := &testSource{}
	for _, key := range keys {
		signer, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		s.signers = append(s.signers, signer.(ssh.AlgorithmSigner))
	}
	return s
}

func (s *testSource) Keys(context.Context) ([]Key, error) {
	var keys []Key
	for i, signer := range s.signers {
		keys = append(keys, Key{Public: signer.PublicKey(), Comment: fmt.Sprintf("key %d", i)})
	}
	return keys, s.keysErr
}

func (s *testSource) Signer(ctx context.Context, key ssh.PublicKey) (Signer, error) {
	s.mu.Lock()
	s.fetched++
	s.mu.Unlock()
	if s.fetching != nil {
		if err := s.fetching(ctx); err != nil {
			return nil, err
		}
	}
	for _, signer := range s.signers {
		if bytes.Equal(signer.PublicKey().Marshal(), key.Marshal()) {
			return &testSigner{AlgorithmSigner: signer, source: s}, nil
		}
	}
	return nil, errors.New("the test has no such key")
}

func (s *testSource) Show(key Key, c Session) error {
	if s.show == nil {
		return nil
	}
	return s.show(key, c)
}

func (s *testSource) Permit(r Request) error {
	if s.permit == nil {
		return nil
	}
	return s.permit(r)
}

func (s *testSource) counts() (fetched, closed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetched, s.closed
}

// check fails the test if a key was closed while it signed, twice, or used after.
func (s *testSource) check(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.early+s.overuse > 0 {
		t.Errorf("private keys were closed %d times while they signed, and used or closed %d times after that; want never", s.early, s.overuse)
	}
}

// A testSigner is one fetch of a key.
type testSigner struct {
	ssh.AlgorithmSigner
	source *testSource
	users  int
	closed bool
}

func (s *testSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	s.source.mu.Lock()
	s.users++
	if s.closed {
		s.source.overuse++
	}
	s.source.mu.Unlock()
	defer func() {
		s.source.mu.Lock()
		s.users--
		s.source.mu.Unlock()
	}()
	if s.source.signing != nil {
		s.source.signing()
	}
	return s.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
}

func (s *testSigner) Close() error {
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	s.source.closed++
	if s.users > 0 {
		s.source.early++
	}
	if s.closed {
		s.source.overuse++
	}
	s.closed = true
	return nil
}

// A logBuffer collects a log.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// want fails the test unless the log has all the words.
func (l *logBuffer) want(t testing.TB, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(l.String(), w) {
			t.Errorf("the log does not say %q; it is:\n%s", w, l)
		}
	}
}

// privateDir makes a directory for sockets, short enough for their paths.
func privateDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve runs s on a socket until the test ends, and returns its path.
func serve(t testing.TB, s *Server) string {
	t.Helper()
	path := filepath.Join(privateDir(t), "agent.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, s, l)
	return path
}

func serveOn(t testing.TB, s *Server, l net.Listener) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-done; err != ErrServerClosed {
			t.Errorf("Serve = %v; want ErrServerClosed", err)
		}
		if n := s.Held(); n != 0 {
			t.Errorf("%d private keys are held after Shutdown; want none", n)
		}
	})
}

// A memListener accepts connections in memory, which testing/synctest needs.
type memListener struct {
	conns  chan net.Conn
	errs   chan error // what Accept returns next
	closed chan struct{}
	once   sync.Once
}

func newMemListener() *memListener {
	return &memListener{conns: make(chan net.Conn), errs: make(chan error), closed: make(chan struct{})}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case err := <-l.errs:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *memListener) Addr() net.Addr { return nil }

// dial returns the client's end of a new connection, or nil if nobody accepts.
func (l *memListener) dial() net.Conn {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours
	case <-l.closed:
		return nil
	}
}

func dialSocket(path string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
}

// connect links a client to the agent at path until the test ends.
func connect(t testing.TB, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(2 * time.Minute)) // a test that waits for ever says nothing
	t.Cleanup(func() { conn.Close() })
	return conn
}

func client(t testing.TB, path string) agent.ExtendedAgent {
	t.Helper()
	return agent.NewClient(connect(t, path))
}

// need returns the path of a program, or ends the test: it is an error to lack
// it where the environment promises that nothing is lacking.
func need(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		lacks(t, "there is no "+name+" here: on Debian, apt-get install openssh-client")
	}
	return path
}

func lacks(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("LATCHKEY_TEST_ALL") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// run runs a program that is to succeed, with the agent at path, and returns
// what it printed.
func run(t testing.TB, path, name string, args ...string) string {
	t.Helper()
	return runWith(t, "", path, name, args...)
}

// runWith is run with an input.
func runWith(t testing.TB, stdin, path, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(need(t, name), args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+path)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
