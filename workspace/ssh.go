package workspace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace/sshd"
)

const (
	sshTimeout = 10 * time.Second // for one request

	// How often the server is asked who may log in if it tells nothing: a daemon
	// that takes secrets is told of every change.
	sshAskEvery     = 30 * time.Second
	sshAskToldEvery = 10 * time.Minute
)

// An sshServer is what serving SSH asks of an [api.Client].
type sshServer interface {
	HostKey(context.Context) (api.HostKey, error)
	FetchHostKey(context.Context, api.FetchKeyRequest) (sealed []byte, err error)
	SSHAccess(context.Context) (api.SSHAccess, error)
}

// A StateSSH is what a daemon says of its SSH server.
type StateSSH struct {
	Address   string   `json:"address"`    // on which it listens
	HostKey   string   `json:"host_key"`   // its fingerprint; "" until it was fetched, and nobody is served
	Users     []string `json:"users"`      // the names under which one may log in
	LoginKeys int      `json:"login_keys"` // that may log in
	Error     string   `json:"error,omitempty"`
}

// A sshService serves SSH by what the server says: with the host key that it
// holds, to the user's login keys. One goroutine, that of run, asks the server;
// others read what mu guards.
type sshService struct {
	server  sshServer
	account sshd.Account
	every   time.Duration
	collect func() // erases what a fetch, or the key's use, has left behind
	log     *slog.Logger
	wake    chan struct{} // holds one: ask the server
	sshd    *sshd.Server

	mu      sync.Mutex
	address string
	owner   string            // the user's name; "": nobody may log in
	keys    map[string]string // login keys, by their wire form: their names
	err     error             // of the last request
}

// newSSH makes a service that starts programs with the environment that environ
// makes, and gives to agents those that people bring along.
func newSSH(server sshServer, agents sshd.Agents, environ func([]string) []string, c Config, log *slog.Logger) *sshService {
	s := &sshService{server: server, account: c.SSHAccount, every: sshAskToldEvery, collect: harden.Collect, log: log, wake: make(chan struct{}, 1)}
	if c.NoSecrets {
		s.every = sshAskEvery
	}
	s.sshd = &sshd.Server{
		Authorized: s.authorized, Account: c.SSHAccount, Environ: environ, SFTP: c.SFTP, Agents: agents, Log: log,
		Start: func(cmd *exec.Cmd) error { return c.Process.AsStarted(cmd.Start) },
	}
	return s
}

// authorized lets the owner in, under their own name or that of the account
// whose programs run: there is nobody else here.
func (s *sshService) authorized(user string, key ssh.PublicKey) (name string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner == "" || user != s.owner && user != s.account.Name {
		return "", false
	}
	name, ok = s.keys[string(key.Marshal())]
	return name, ok
}

// ask has the server asked soon. It does nothing on nil.
func (s *sshService) ask() {
	if s == nil {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default: // somebody has asked already
	}
}

// run serves those that l accepts until ctx ends. It begins when the server has
// given the host key: until then, who connects waits.
func (s *sshService) run(ctx context.Context, l net.Listener) {
	defer l.Close()
	s.mu.Lock()
	s.address = l.Addr().String()
	s.mu.Unlock()
	key := s.hostKey(ctx)
	if key == nil {
		return
	}
	defer key.Close()
	s.mu.Lock()
	s.sshd.HostKey = key
	s.mu.Unlock()
	s.refresh(ctx)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.sshd.Serve(l); !errors.Is(err, sshd.ErrServerClosed) {
			s.log.Error("SSH is not served any more", "err", err)
		}
	})
	s.log.Info("serving SSH", "address", l.Addr().String(), "host_key", ssh.FingerprintSHA256(key.PublicKey()), "account", s.account.Name)
	s.follow(ctx)
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	s.sshd.Shutdown(stopping)
	serving.Wait()
}

// hostKey fetches the host key, as often as it must. It returns nil if ctx ends.
func (s *sshService) hostKey(ctx context.Context) *signer {
	again := newRetry(watchLeast, watchMost)
	for {
		key, err := s.fetchHostKey(ctx)
		if err == nil {
			return key
		}
		if ctx.Err() != nil {
			return nil
		}
		s.note(err)
		again.again()
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		case <-s.wake:
		}
	}
}

func (s *sshService) fetchHostKey(ctx context.Context) (*signer, error) {
	ctx, cancel := context.WithTimeout(ctx, sshTimeout)
	defer cancel()
	const doing = "fetching the host key: %w"
	described, err := s.server.HostKey(ctx)
	if err != nil {
		return nil, fmt.Errorf(doing, err)
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(described.PublicKey))
	if err != nil {
		return nil, fmt.Errorf(doing, err)
	}
	kept, err := fetchPrivate(public, func(r api.FetchKeyRequest) ([]byte, error) { return s.server.FetchHostKey(ctx, r) })
	if err != nil {
		s.collect()
		return nil, fmt.Errorf(doing, err)
	}
	return newSigner(public, kept, newEraser(s.collect), s.collect), nil
}

// follow asks who may log in whenever that may have changed, until ctx ends.
func (s *sshService) follow(ctx context.Context) {
	again := newRetry(watchLeast, watchMost)
	regular := time.NewTicker(s.every)
	defer regular.Stop()
	for {
		select {
		case <-ctx.Done():
			again.done()
			return
		case <-regular.C:
		case <-again.C:
		case <-s.wake:
		}
		if s.refresh(ctx) {
			again.done()
		} else {
			again.again()
		}
	}
}

// refresh asks the server who may log in, and ends the connections of those who
// may not any more. While it is away, the keys that it named last are good; if it
// refuses the workspace, none is.
func (s *sshService) refresh(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, sshTimeout)
	defer cancel()
	access, err := s.server.SSHAccess(ctx)
	s.note(err)
	switch {
	case isRefusal(err):
		access = api.SSHAccess{}
	case err != nil:
		return false
	}
	keys := make(map[string]string)
	for _, k := range access.LoginKeys {
		public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.PublicKey))
		if err != nil {
			s.log.Warn("left out a login key", "name", k.Name, "err", err)
			continue
		}
		keys[string(public.Marshal())] = k.Name
	}
	s.mu.Lock()
	s.owner, s.keys = access.User, keys
	s.mu.Unlock()
	s.sshd.Recheck()
	return err == nil
}

// note remembers how a request ended, and logs what is new.
func (s *sshService) note(err error) {
	s.mu.Lock()
	old := s.err
	s.err = err
	s.mu.Unlock()
	switch {
	case isRefusal(err) && !isRefusal(old):
		s.log.Warn("nobody may log in by SSH: the server refuses the workspace", "err", err)
	case err != nil && old == nil:
		s.log.Warn("who may log in by SSH stays as it is: the server is away", "err", err)
	case err == nil && old != nil:
		s.log.Info("the server says again who may log in by SSH")
	}
}

// state is for the status.
func (s *sshService) state() *StateSSH {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &StateSSH{Address: s.address, Users: []string{}, LoginKeys: len(s.keys)}
	if s.sshd.HostKey != nil {
		st.HostKey = ssh.FingerprintSHA256(s.sshd.HostKey.PublicKey())
	}
	if s.owner != "" {
		st.Users = append(st.Users, s.owner)
		if s.account.Name != s.owner {
			st.Users = append(st.Users, s.account.Name)
		}
	}
	if s.err != nil {
		st.Error = s.err.Error()
	}
	return st
}
