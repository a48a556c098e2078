package workspace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace/sshd"
)

const (
	sshTimeout = 10 * time.Second // for one request

	// How often the server is asked who may log in if it tells nothing: it tells of
	// every change.
	sshAskEvery = 10 * time.Minute
)

// An sshServer is what serving SSH asks of an [api.Client].
type sshServer interface {
	HostKey(context.Context) (api.HostKey, error)
	FetchHostKey(context.Context, api.FetchKeyRequest) (sealed []byte, err error)
	SSHAccess(context.Context) (api.SSHAccess, error)
}

// A sshService has SSH served by what the server says: with the host key that it
// holds, to the user's login keys. One goroutine, that of run, asks the server;
// others read what mu guards.
type sshService struct {
	server  sshServer
	account sshd.Account
	collect func() // erases what a fetch, or the key's use, has left behind
	log     *slog.Logger
	alarm   *alarm // ask the server
	agents  sshd.Agents
	secrets func() ([]byte, error) // for a session, as JSON of a SecretState
	serving sshServing             // but for the host key
	address string                 // set before run

	mu    sync.Mutex
	front sshChild          // nil: run was not called
	host  *signer           // nil: not fetched yet
	ended error             // why SSH is not served any more
	owner string            // the user's name; "": nobody may log in
	keys  map[string]string // login keys, by their wire form: their names
	err   error             // of the last request

	refusal *StateSSHRefusal // the last one; nil: none yet, or it is over
}

// A sshChild is the process that serves SSH: see [sshProcess].
type sshChild interface {
	serve(context.Context, sshServing) error // from now on
	recheck()                                // who may be in
	ended() <-chan struct{}                  // closed when it has ended, for what reason err says
	err() error
	stop() // waits until it has ended
}

// newSSH makes a service that gives to agents those that people bring along, and to
// programs of sessions what secrets returns.
func newSSH(server sshServer, agents sshd.Agents, secrets func() ([]byte, error), c Config, log *slog.Logger) *sshService {
	return &sshService{
		server: server, account: c.SSHAccount, collect: harden.Collect, log: log, alarm: newAlarm(),
		agents: agents, secrets: secrets, serving: sshServing{Account: c.SSHAccount, SFTP: c.SFTP, Environ: c.SSHEnviron},
	}
}

// authorized lets the owner in, under their own name or that of the account
// whose programs run: there is nobody else here.
func (s *sshService) authorized(user string, key ssh.PublicKey) sshAuthorized {
	s.mu.Lock()
	defer s.mu.Unlock()
	users := s.users()
	if len(users) == 0 {
		return sshAuthorized{Why: "the key server names nobody who may"}
	}
	if !slices.Contains(users, user) {
		return sshAuthorized{Why: "log in as " + strings.Join(users, " or ")}
	}
	name, ok := s.keys[string(key.Marshal())]
	if !ok {
		return sshAuthorized{Why: fmt.Sprintf("no such login key of %s: \"latchkey login-key add\" makes it one", s.owner)}
	}
	s.dropRefusal(key)
	return sshAuthorized{Name: name, OK: true}
}

// users are the names under which one may log in. mu is held.
func (s *sshService) users() []string {
	switch s.owner {
	case "":
		return []string{}
	case s.account.Name:
		return []string{s.owner}
	}
	return []string{s.owner, s.account.Name}
}

// ask has the server asked soon. It does nothing on nil.
func (s *sshService) ask(within time.Duration) {
	if s != nil {
		s.alarm.within(within)
	}
}

// sign signs with the host key, for the process that serves SSH.
func (s *sshService) sign(data []byte, algorithm string) (*ssh.Signature, error) {
	s.mu.Lock()
	host := s.host
	s.mu.Unlock()
	if host == nil {
		return nil, errors.New("there is no host key yet")
	}
	return host.SignWithAlgorithm(nil, data, algorithm)
}

// run has SSH served until ctx ends, or the process that serves it does. It begins
// when the server has given the host key: until then, who connects waits.
func (s *sshService) run(ctx context.Context, front sshChild) {
	s.mu.Lock()
	s.front = front
	s.mu.Unlock()
	living, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		<-front.ended()
		if ctx.Err() == nil {
			s.mu.Lock()
			s.ended = front.err()
			s.mu.Unlock()
			s.log.Error("SSH is not served any more: the process that serves it has ended", "why", front.err())
		}
		cancel()
	})
	key := s.hostKey(living)
	if key != nil {
		s.serve(living, front, key)
	}
	front.stop()
	watching.Wait()
	if key != nil {
		key.Close()
	}
}

func (s *sshService) serve(ctx context.Context, front sshChild, key *signer) {
	s.mu.Lock()
	s.host = key
	s.mu.Unlock()
	if !s.refresh(ctx) {
		s.ask(unhurried)
	}
	serving := s.serving
	serving.HostKey = key.PublicKey().Marshal()
	if err := front.serve(ctx, serving); err != nil {
		if ctx.Err() == nil {
			s.log.Error("SSH is not served", "err", err)
			front.stop()
		}
		return
	}
	s.log.Info("serving SSH", "address", s.address, "host_key", ssh.FingerprintSHA256(key.PublicKey()), "account", s.account.Name)
	s.follow(ctx)
}

// follow asks who may log in whenever that may have changed, until ctx ends.
func (s *sshService) follow(ctx context.Context) {
	again := newRetry(watchLeast, watchMost)
	regular := time.NewTicker(sshAskEvery)
	defer regular.Stop()
	for {
		select {
		case <-ctx.Done():
			again.done()
			s.alarm.off()
			return
		case <-regular.C:
		case <-again.C:
		case <-s.alarm.C:
		}
		s.alarm.off()
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
	s.replaceKeys(access.User, keys)
	front := s.front
	s.mu.Unlock()
	front.recheck()
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
