package workspace

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace/sshd"
)

// A sshTestServer is a key server as far as serving SSH sees one.
type sshTestServer struct {
	mu      sync.Mutex
	host    testKey
	sent    *testKey // not nil: sent in the place of host
	logins  []testKey
	err     error
	fetches int
	asked   int
}

func (s *sshTestServer) become(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *sshTestServer) HostKey(context.Context) (api.HostKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return api.HostKey{PublicKey: string(ssh.MarshalAuthorizedKey(s.host.public)), Fingerprint: ssh.FingerprintSHA256(s.host.public)}, s.err
}

func (s *sshTestServer) FetchHostKey(_ context.Context, r api.FetchKeyRequest) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetches++
	key := s.host
	if s.sent != nil {
		key = *s.sent
	}
	der, err := x509.MarshalPKCS8PrivateKey(key.private)
	if err = errors.Join(err, s.err); err != nil {
		return nil, err
	}
	return api.SealPrivateKey(r.Recipient, r.Fingerprint, der)
}

func (s *sshTestServer) SSHAccess(context.Context) (api.SSHAccess, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	access := api.SSHAccess{User: "alice"}
	for _, k := range s.logins {
		access.LoginKeys = append(access.LoginKeys, api.LoginKey{Name: k.name, PublicKey: string(ssh.MarshalAuthorizedKey(k.public))})
	}
	return access, s.err
}

func newTestSSH(s *sshTestServer, c Config) (*sshService, *syncBuffer) {
	log := &syncBuffer{}
	c.SSHAccount = sshd.Account{Name: "dev", Home: "/", Shell: "/bin/sh"}
	return newSSH(s, nil, func() ([]byte, error) { return nil, nil }, c, slog.New(slog.NewTextHandler(log, nil))), log
}

// A server that answers later gives the host key later; one that is away takes
// nobody's login; one that refuses the workspace takes everybody's.
func TestSSHFollowsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		laptop := newEd25519(t)
		server := &sshTestServer{host: newEd25519(t), logins: []testKey{laptop}, err: api.ErrUnavailable}
		s, log := newTestSSH(server, Config{})
		s.collect = func() {} // which waits for the collector, outside of the bubble
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		front := &testFront{done: make(chan struct{})}
		go func() { s.run(ctx, front); close(ended) }()
		in := func(user string) bool { return s.authorized(user, laptop.public).OK }
		synctest.Wait()
		if st := s.state(); in("alice") || st.HostKey != "" || st.Error == "" || len(st.Users) != 0 {
			t.Errorf("before the server has answered, the state is %+v, and alice is in: %t", st, in("alice"))
		}
		server.become(func() { server.err = nil })
		time.Sleep(watchMost)
		synctest.Wait()
		if st := s.state(); !in("alice") || !in("dev") || in("root") || in("") || st.HostKey != ssh.FingerprintSHA256(server.host.public) || st.LoginKeys != 1 || st.Error != "" {
			t.Errorf("when it has answered, the state is %+v; alice is in: %t, dev: %t, root: %t", st, in("alice"), in("dev"), in("root"))
		}
		for why, login := range map[string]struct {
			user string
			key  testKey
		}{
			"log in as alice or dev":     {"root", laptop},
			"no such login key of alice": {"dev", newEd25519(t)},
		} {
			if got := s.authorized(login.user, login.key.public); got.OK || !strings.HasPrefix(got.Why, why) {
				t.Errorf("%s is judged %+v; want them refused: %s", login.user, got, why)
			}
		}
		tell := func(change func()) {
			server.become(change)
			s.ask(spread)
			time.Sleep(spread)
			synctest.Wait()
		}
		if tell(func() { server.err = api.ErrUnavailable }); !in("alice") {
			t.Error("while the server is away, alice is not let in")
		}
		if st := s.stateNow(false); st.Error == "" || s.state().Error == "" {
			t.Errorf("while the server is away, the state is %+v; want that said", st)
		}
		server.become(func() { server.err = nil })
		if st := s.stateNow(true); st.Error != "" || st.LoginKeys != 1 {
			t.Errorf("when others have its answer, the state is %+v; want it not away", st)
		}
		time.Sleep(spread)
		if synctest.Wait(); s.state().Error != "" {
			t.Error("when others have its answer, it was not asked again")
		}
		if tell(func() { server.err = api.ErrUnauthenticated }); in("alice") {
			t.Error("alice is let in to a workspace that the server refuses")
		}
		if st := s.stateNow(true); st.Error == "" {
			t.Error("that the server refuses the workspace is not said")
		}
		if tell(func() { server.err = nil }); !in("alice") {
			t.Error("when the server takes the workspace again, alice is not let in")
		}
		if tell(func() { server.logins = nil }); in("alice") {
			t.Error("a key that was deleted is let in")
		}
		server.become(func() { server.logins = []testKey{laptop} })
		time.Sleep(sshAskEvery)
		synctest.Wait()
		if !in("alice") {
			t.Error("without being told, the server was not asked in time")
		}
		cancel()
		<-ended
		if _, err := s.sign(make([]byte, 32), ""); !errors.Is(err, errForgotten) {
			t.Errorf("at the end, the host key signs: %v; want it forgotten", err)
		}
		for _, want := range []string{"the server is away", "the server refuses the workspace", "says again", "serving SSH"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log does not say %q", want)
			}
		}
		if server.fetches != 1 {
			t.Errorf("the host key was fetched %d times; want once", server.fetches)
		}
	})
}

// A testFront serves nobody.
type testFront struct {
	stopping sync.Once
	done     chan struct{}
	served   sshServing
	why      error
}

func (f *testFront) serve(_ context.Context, s sshServing) error { f.served = s; return nil }
func (f *testFront) recheck()                                    {}
func (f *testFront) ended() <-chan struct{}                      { return f.done }
func (f *testFront) err() error                                  { return f.why }
func (f *testFront) stop()                                       { f.stopping.Do(func() { close(f.done) }) }

// The server, or who stands in for it, sends another host key than it says.
func TestSSHWrongHostKey(t *testing.T) {
	other := newEd25519(t)
	server := &sshTestServer{host: newEd25519(t), sent: &other}
	s, _ := newTestSSH(server, Config{})
	if key, err := s.fetchHostKey(t.Context()); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("fetchHostKey = %v, %v; want it refused", key, err)
	}
}

func TestSessionEnviron(t *testing.T) {
	own, secrets := []string{"SSH_AUTH_SOCK=/run/agent.sock"}, []Variable{{Name: "NPM_TOKEN", Value: []byte("n")}}
	got := fmt.Sprint(sessionEnviron([]string{"A=1", "SSH_AUTH_SOCK=/old", "LATCHKEY_TOKEN=t", "LATCHKEY_TOKEN_FILE=f"}, own, secrets))
	if got != "[A=1 SSH_AUTH_SOCK=/run/agent.sock NPM_TOKEN=n]" {
		t.Errorf("the environment of a session is %s; want the daemon's socket, and no token", got)
	}
}

func TestSSHAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := Config{Dir: filepath.Join(socketDir(t), "run"), Client: newClient(t, &testServer{}), SSHD: l.Addr().String()}
	err = NewDaemon(c).Run(t.Context())
	var problem *Problem
	if !errors.As(err, &problem) || !strings.Contains(problem.Hint, "--sshd") {
		t.Errorf("Run = %v; want that the address is in use, and what to do", err)
	}
}
