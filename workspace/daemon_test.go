package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
)

const testToken = "lk_w_not-really-a-token"

// newClient is a client of a testServer.
func newClient(t *testing.T, s *testServer) *api.Client {
	t.Helper()
	url, ca := serveTLS(t, s)
	client, err := api.NewClient(url, []byte(ca), func() string { return testToken })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// socketDir is a directory with a short path: a socket's may have 107 bytes.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A syncBuffer is a log that is written and read at once.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// startDaemon runs a daemon until the test ends, or until stop is called.
func startDaemon(t *testing.T, c Config) (d *Daemon, stop func()) {
	t.Helper()
	ready := make(chan string, 1)
	c.Ready = func(socket string) { ready <- socket }
	d = NewDaemon(c)
	// Who answers is never taken for one who does not.
	d.first, d.source.again, d.upstreams.timeout = time.Minute, time.Minute, time.Minute
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case socket := <-ready:
		if want := AgentSocket(c.Dir); socket != want {
			t.Errorf("it is ready at %s; want %s", socket, want)
		}
	case err := <-ended:
		ended <- err
		t.Fatalf("Run: %v", err)
	}
	return d, stop
}

// dial connects to an ssh-agent until the test ends.
func dial(t *testing.T, socket string) agent.ExtendedAgent {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return agent.NewClient(conn)
}

// signable is what SSH signs for a commit (OpenSSH's PROTOCOL.sshsig): the agent
// signs nothing with a key of its source that means nothing.
const signable = "SSHSIG\x00\x00\x00\x03git\x00\x00\x00\x00\x00\x00\x00\x06sha256\x00\x00\x00\x200123456789abcdef0123456789abcdef"

func mustSign(t *testing.T, a agent.Agent, key testKey) {
	t.Helper()
	signature, err := a.Sign(key.public, []byte(signable))
	if err != nil {
		t.Errorf("Sign: %v", err)
		return
	}
	if err := key.public.Verify([]byte(signable), signature); err != nil {
		t.Errorf("the signature does not verify: %v", err)
	}
}

func mustStatus(t *testing.T, dir string) State {
	t.Helper()
	s, err := Status(t.Context(), dir)
	if err != nil {
		t.Fatalf("Status: %v", err)
	}
	return s
}

// offered are the fingerprints of the keys that an agent lists.
func offered(t *testing.T, a agent.Agent) (fingerprints []string) {
	t.Helper()
	keys, err := a.List()
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	for _, k := range keys {
		fingerprints = append(fingerprints, ssh.FingerprintSHA256(k))
	}
	return fingerprints
}

func TestDaemon(t *testing.T) {
	key := newEd25519(t)
	server := &testServer{keys: []testKey{key}}
	var log syncBuffer
	c := Config{
		Dir: filepath.Join(socketDir(t), "run"), Client: newClient(t, server), Idle: sshagent.DefaultIdle,
		Process: harden.Report{Memory: "mlock"}, Version: "v1", Log: slog.New(slog.NewTextHandler(&log, nil)),
	}
	d, stop := startDaemon(t, c)
	for _, socket := range []string{AgentSocket(c.Dir), ControlSocket(c.Dir)} {
		if info, err := os.Stat(socket); err != nil || info.Mode() != fs.ModeSocket|0o600 {
			t.Errorf("%s: %v, %v; want a socket with mode 0600", socket, info.Mode(), err)
		}
	}
	a := dial(t, AgentSocket(c.Dir))
	if got := offered(t, a); len(got) != 1 || got[0] != ssh.FingerprintSHA256(key.public) {
		t.Errorf("the agent offers %v; want %s", got, ssh.FingerprintSHA256(key.public))
	}
	s := mustStatus(t, c.Dir)
	if s.Held != 0 {
		t.Errorf("after listing %d private keys are held; want none", s.Held)
	}
	want := StateKey{Name: "ed25519", Fingerprint: ssh.FingerprintSHA256(key.public), Type: "ssh-ed25519", Comment: "alice@latchkey ed25519", Mode: api.FetchMode}
	if len(s.Keys) != 1 || !reflect.DeepEqual(s.Keys[0], want) {
		t.Errorf("the status lists %+v; want %+v", s.Keys, want)
	}
	if s.User != "alice" || s.Workspace != "dev" || s.ServerError != "" || s.Version != "v1" || s.PID != os.Getpid() ||
		s.Server != c.Client.URL() || s.Socket != AgentSocket(c.Dir) || s.IdleSeconds != 60 || s.Process.Memory != "mlock" || s.Started.IsZero() {
		t.Errorf("the status is %+v; want alice's workspace dev, and what the daemon runs with", s)
	}
	mustSign(t, a, key)
	mustSign(t, a, key)
	if s := mustStatus(t, c.Dir); s.Held != 1 {
		t.Errorf("after signing %d private keys are held; want 1", s.Held)
	}
	d.Forget()
	if s := mustStatus(t, c.Dir); s.Held != 0 {
		t.Errorf("after Forget %d private keys are held; want none", s.Held)
	}
	mustSign(t, a, key)
	if _, fetches := server.requests(); fetches != 2 {
		t.Errorf("the key was fetched %d times; want twice, once after Forget", fetches)
	}
	stop()
	if n := d.source.Held(); n != 0 {
		t.Errorf("after the end %d private keys are held; want none", n)
	}
	for _, socket := range []string{AgentSocket(c.Dir), ControlSocket(c.Dir)} {
		if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there after the end: %v", socket, err)
		}
	}
	if _, err := Status(t.Context(), c.Dir); !NotRunning(err) {
		t.Errorf("Status after the end: %v; want that none runs", err)
	}
	for _, what := range []string{"private key fetched", "private key forgotten", "signed", ssh.FingerprintSHA256(key.public)} {
		if !strings.Contains(log.String(), what) {
			t.Errorf("the log does not say %q:\n%s", what, log.String())
		}
	}
	if strings.Contains(log.String(), testToken) {
		t.Errorf("the log shows the token:\n%s", log.String())
	}
}

func TestDaemonForgetsAtOnce(t *testing.T) {
	key := newEd25519(t)
	server := &testServer{keys: []testKey{key}}
	c := Config{Dir: socketDir(t), Client: newClient(t, server)}
	startDaemon(t, c)
	mustSign(t, dial(t, AgentSocket(c.Dir)), key)
	if s := mustStatus(t, c.Dir); s.Held != 0 {
		t.Errorf("with an idle time of 0, %d private keys are held after signing; want none", s.Held)
	}
}

func TestDaemonFetchesOnceForMany(t *testing.T) {
	key := newEd25519(t)
	server := &testServer{keys: []testKey{key}}
	c := Config{Dir: socketDir(t), Client: newClient(t, server), Idle: sshagent.DefaultIdle}
	startDaemon(t, c)
	var wg sync.WaitGroup
	for range 50 {
		a := dial(t, AgentSocket(c.Dir))
		wg.Go(func() {
			if _, err := a.List(); err != nil {
				t.Errorf("List: %v", err)
			}
			mustSign(t, a, key)
		})
	}
	wg.Wait()
	if _, fetches := server.requests(); fetches != 1 {
		t.Errorf("fifty clients made %d fetches; want 1", fetches)
	}
}

func TestSecondDaemonLeavesTheFirstAlone(t *testing.T) {
	key := newEd25519(t)
	server := &testServer{keys: []testKey{key}}
	c := Config{Dir: socketDir(t), Client: newClient(t, server), Idle: sshagent.DefaultIdle}
	startDaemon(t, c)
	err := NewDaemon(c).Run(t.Context())
	var problem *Problem
	process := fmt.Sprint("process ", os.Getpid())
	if !errors.Is(err, sshagent.ErrInUse) || !strings.HasSuffix(err.Error(), process) || !errors.As(err, &problem) || !strings.Contains(problem.Hint, "latchkey status") {
		t.Errorf("a second daemon: %v; want ErrInUse, %s, and a hint", err, process)
	}
	mustSign(t, dial(t, AgentSocket(c.Dir)), key)
	mustStatus(t, c.Dir)
}

func TestDaemonWithARefusedToken(t *testing.T) {
	c := Config{Dir: socketDir(t), Client: newClient(t, &testServer{err: &api.Error{Kind: api.ErrUnauthenticated, Message: "the token was revoked"}})}
	err := NewDaemon(c).Run(t.Context())
	if !errors.Is(err, api.ErrUnauthenticated) || !strings.Contains(err.Error(), "the token was revoked") {
		t.Errorf("Run: %v; want the server's refusal", err)
	}
	if _, err := os.Lstat(AgentSocket(c.Dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is there: %v", err)
	}
}

func TestDaemonWithoutTheServer(t *testing.T) {
	key, own := newEd25519(t), newEd25519(t)
	server := &testServer{keys: []testKey{key}, err: api.ErrUnavailable}
	c := Config{Dir: socketDir(t), Client: newClient(t, server), Idle: sshagent.DefaultIdle, Upstream: ownAgent(t, own)}
	startDaemon(t, c)
	if s := mustStatus(t, c.Dir); s.ServerError == "" || s.User != "" {
		t.Errorf("the status is %+v; want that it says what is wrong with the server", s)
	}
	a := dial(t, AgentSocket(c.Dir))
	if got := offered(t, a); len(got) != 1 || got[0] != ssh.FingerprintSHA256(own.public) {
		t.Errorf("with the server away the agent offers %v; want the user's own key only", got)
	}
	mustSign(t, a, own)
	server.become(func() { server.err = nil })
	if got := offered(t, a); len(got) != 2 || got[0] != ssh.FingerprintSHA256(key.public) {
		t.Errorf("with the server back the agent offers %v; want our key, then the user's own", got)
	}
	mustSign(t, a, key)
	// What is held goes on signing while the server is away again.
	server.become(func() { server.err = api.ErrUnavailable })
	b := dial(t, AgentSocket(c.Dir))
	if got := offered(t, b); len(got) != 2 {
		t.Errorf("with the server away again the agent offers %v; want both keys", got)
	}
	mustSign(t, b, key)
}

func TestDaemonForgetsWhenTheTokenIsRevoked(t *testing.T) {
	key := newEd25519(t)
	server := &testServer{keys: []testKey{key}}
	c := Config{Dir: socketDir(t), Client: newClient(t, server), Idle: sshagent.DefaultIdle}
	d, _ := startDaemon(t, c)
	mustSign(t, dial(t, AgentSocket(c.Dir)), key)
	server.become(func() { server.err = &api.Error{Kind: api.ErrUnauthenticated, Message: "revoked"} })
	a := dial(t, AgentSocket(c.Dir))
	if got := offered(t, a); len(got) != 0 {
		t.Errorf("after the token was revoked the agent offers %v; want nothing", got)
	}
	if n := d.source.Held(); n != 0 {
		t.Errorf("after the token was revoked %d private keys are held; want none", n)
	}
	if _, err := a.Sign(key.public, []byte(signable)); err == nil {
		t.Error("after the token was revoked the agent signs")
	}
}

func TestLastOffer(t *testing.T) {
	key, own := newEd25519(t), newEd25519(t)
	server := &testServer{keys: []testKey{key}}
	c := Config{Dir: socketDir(t), Client: newClient(t, server), Idle: sshagent.DefaultIdle, Upstream: ownAgent(t, own)}
	startDaemon(t, c)
	lists, _ := server.requests()
	for _, tt := range []struct {
		name  string
		err   error
		keys  int
		wants string
	}{
		{"at first", nil, 1, ""},
		{"away", api.ErrUnavailable, 1, "unavailable"},
		{"revoked", &api.Error{Kind: api.ErrUnauthenticated, Message: "the token was revoked"}, 0, "the token was revoked"},
	} {
		server.become(func() { server.err = tt.err })
		if tt.err != nil {
			offered(t, dial(t, AgentSocket(c.Dir)))
			lists++
		}
		o, err := LastOffer(t.Context(), c.Dir)
		if err != nil || len(o.Keys) != tt.keys || !strings.Contains(o.Error, tt.wants) || (o.Error == "") != (tt.wants == "") {
			t.Errorf("%s: LastOffer = %+v, %v; want %d keys and the error %q", tt.name, o, err, tt.keys, tt.wants)
		}
		if len(o.Keys) == 1 && !strings.HasSuffix(o.Keys[0], " alice@latchkey ed25519") {
			t.Errorf("%s: the key is %q; want the server's, with its comment", tt.name, o.Keys[0])
		}
		if n, _ := server.requests(); n != lists {
			t.Errorf("%s: LastOffer asked the server; want that it does not", tt.name)
		}
	}
	if _, err := LastOffer(t.Context(), socketDir(t)); !NotRunning(err) {
		t.Errorf("LastOffer where no daemon runs: %v; want that none runs", err)
	}
}

// ownAgent is the user's own ssh-agent, with one key.
func ownAgent(t *testing.T, key testKey) (socket string) {
	t.Helper()
	keyring := agent.NewKeyring()
	if err := keyring.Add(agent.AddedKey{PrivateKey: key.private}); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(socketDir(t), "own")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				agent.ServeAgent(keyring, conn)
			}()
		}
	}()
	return socket
}

// A daemon that is started from an environment of its own, as by a second
// "latchkey agent" in one shell, must not ask itself.
func TestDaemonIsNotItsOwnUpstream(t *testing.T) {
	dir := socketDir(t)
	link := filepath.Join(socketDir(t), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	key := newEd25519(t)
	for _, upstream := range []string{AgentSocket(dir), AgentSocket(link), AgentSocket(dir + "/../" + filepath.Base(dir))} {
		c := Config{Dir: dir, Client: newClient(t, &testServer{keys: []testKey{key}}), Upstream: upstream}
		d, stop := startDaemon(t, c)
		if list := d.upstreams.state(); len(list) != 0 {
			t.Errorf("with SSH_AUTH_SOCK=%s it has the upstream agents %v; want none", upstream, list)
		}
		mustSign(t, dial(t, AgentSocket(dir)), key)
		stop()
	}
}

func TestStatusOfNoDaemon(t *testing.T) {
	dir := socketDir(t)
	for _, dir := range []string{dir, filepath.Join(dir, "nothing")} {
		if _, err := Status(t.Context(), dir); err == nil || !NotRunning(err) {
			t.Errorf("Status(%s): %v; want that no daemon runs", dir, err)
		}
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Status(t.Context(), dir); err == nil || NotRunning(err) {
		t.Errorf("Status in a directory that others can write to: %v; want that it is refused", err)
	}
}
