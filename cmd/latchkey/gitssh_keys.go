package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
	"github.com/latchkey/latchkey/workspace"
)

// endTimeout is how long a helper that is done waits for requests of clients
// that its ssh has left behind.
const endTimeout = time.Second

// ownKeys is a helper's agent of the Latchkey keys, for where no daemon runs. Its
// clients are the helper's other agent and the helpers of the hops. It fetches
// nothing, and knows no token, until one of them asks.
type ownKeys struct {
	*helper

	mu          sync.Mutex
	listening   bool
	server      *sshagent.Server
	credentials *workspace.Credentials
	client      *api.Client
	source      *workspace.Source
	listed      []sshagent.Key
}

// listen makes the socket and serves it. A second call does nothing.
func (k *ownKeys) listen() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.listening {
		return nil
	}
	l, err := k.place.listen(placeKeys)
	if err != nil {
		return fmt.Errorf("serving the keys: %w", err)
	}
	k.listening = true
	k.server = &sshagent.Server{Source: k, NoAdd: true, Idle: sshagent.DefaultIdle, Observe: func(a sshagent.Activity) {
		if a.Err != nil {
			k.explain(a.Err) // its clients hear that something failed, but not what
		}
	}}
	go func() {
		if err := k.server.Serve(l); !errors.Is(err, sshagent.ErrServerClosed) {
			k.warn(fmt.Sprintf("the helper's agent stopped: %v", err))
		}
	}()
	return nil
}

// errNoWorkspace is open's error where there is nothing of a workspace.
var errNoWorkspace = errors.New("no workspace daemon runs, and no workspace token is set")

// open makes this process one that fetches keys.
func (k *ownKeys) open() (*workspace.Source, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.source != nil {
		return k.source, nil
	}
	harden.Process()
	credentials, err := workspace.LoadCredentials(workspace.CredentialsConfig{Getenv: os.Getenv})
	if errors.Is(err, workspace.ErrNoToken) {
		return nil, withHint(errNoWorkspace,
			`start "latchkey agent", or set LATCHKEY_TOKEN_FILE`)
	}
	if err != nil {
		return nil, err
	}
	k.credentials = credentials
	if k.client, err = credentials.Client(); err != nil {
		return nil, err
	}
	k.source = workspace.NewSource(k.client, nil)
	return k.source, nil
}

// Keys implements [sshagent.Source].
func (k *ownKeys) Keys(ctx context.Context) ([]sshagent.Key, error) {
	source, err := k.open()
	if err != nil {
		return nil, err
	}
	keys, err := source.Keys(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.listed = keys
	return keys, err
}

// Signer implements [sshagent.Source].
func (k *ownKeys) Signer(ctx context.Context, public ssh.PublicKey) (sshagent.Signer, error) {
	source, err := k.open()
	if err != nil {
		return nil, err
	}
	return source.Signer(ctx, public)
}

// Show implements [sshagent.Source].
func (k *ownKeys) Show(key sshagent.Key, c sshagent.Session) error {
	source, err := k.open()
	if err != nil {
		return err
	}
	return source.Show(key, c)
}

// Permit implements [sshagent.Source].
func (k *ownKeys) Permit(r sshagent.Request) error {
	source, err := k.open()
	if err != nil {
		return err
	}
	return source.Permit(r)
}

// lastOffer is what the server was last heard to say, if it was asked.
func (k *ownKeys) lastOffer() workspace.Offer {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.source == nil {
		return workspace.Offer{}
	}
	return k.source.LastOffer()
}

// lines are the authorized_keys lines of the keys that were listed.
func (k *ownKeys) lines() (lines []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.listed {
		line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.Public)))
		lines = append(lines, strings.TrimSpace(line+" "+key.Comment))
	}
	return lines
}

// close forgets the keys and the token, when what is under way has ended or ctx
// has. It leaves the token alone if ctx is over: a request may need it.
func (k *ownKeys) close(ctx context.Context) {
	k.mu.Lock()
	server := k.server
	k.mu.Unlock()
	if server != nil {
		if err := server.Shutdown(ctx); err != nil && ctx.Err() == nil {
			k.warn(fmt.Sprintf("ending the helper's agent: %v", err))
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.credentials != nil && ctx.Err() == nil {
		k.credentials.Close()
	}
}
