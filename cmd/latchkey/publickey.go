package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace"
)

func (p *program) publicKeyCommand() *cli.Command {
	return &cli.Command{
		Name:      "publickey",
		Aliases:   []string{"pubkey"},
		Usage:     "print your public key, for a forge's settings",
		ArgsUsage: "[NAME]",
		Description: `Prints one line and nothing else. In a workspace it needs no login: the daemon, or
the workspace token, will do.

  latchkey publickey >> ~/.ssh/authorized_keys`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "signing", Usage: "print the key that the workspace daemon signs with, as git wants it of gpg.ssh.defaultKeyCommand"},
			&cli.BoolFlag{Name: "fingerprint", Usage: "print the fingerprint, as ssh-keygen -l does"},
			jsonFlag(),
		},
		Action: p.publicKey,
	}
}

func (p *program) publicKey(c *cli.Context) error {
	if c.Bool("signing") {
		return p.signingKey(c)
	}
	k, err := p.findPublicKey(c.Context, c.Args().First())
	switch {
	case err != nil:
		return err
	case c.Bool("json"):
		return p.json(k)
	case c.Bool("fingerprint"):
		return p.print("%s\n", printable(k.Fingerprint))
	}
	return p.print("%s\n", printable(k.PublicKey))
}

// findPublicKey asks whoever may answer: the server with the user's login, the
// server with the workspace token, the workspace daemon.
func (p *program) findPublicKey(ctx context.Context, name string) (api.Key, error) {
	s, err := p.session()
	if err == nil {
		defer s.Close()
		k, err := s.key(ctx, api.Me, keyName(name))
		return k, explain(err, s.login)
	}
	if !errors.Is(err, errNoLogin) {
		return api.Key{}, err
	}
	k, werr := workspaceKey(ctx, name)
	if errors.Is(werr, workspace.ErrNoToken) {
		k, werr = daemonKey(ctx, name)
	}
	if werr != nil && workspace.NotRunning(werr) {
		return k, err
	}
	return k, explainWorkspace(werr)
}

// workspaceKey asks the server with the workspace's token: ErrNoToken if this
// process was given none.
func workspaceKey(ctx context.Context, name string) (api.Key, error) {
	credentials, err := workspace.LoadCredentials(workspace.CredentialsConfig{Getenv: os.Getenv})
	if err != nil {
		return api.Key{}, err
	}
	defer credentials.Close()
	c, err := credentials.Client()
	if err != nil {
		return api.Key{}, err
	}
	defer c.Close()
	keys, err := c.OfferedKeys(ctx)
	if err != nil {
		return api.Key{}, err
	}
	var names []string
	for _, k := range keys {
		if k.Name == keyName(name) && k.ExpiresAt == nil {
			return k, nil
		}
		names = append(names, k.Name)
	}
	err = fmt.Errorf("key %s: %w", keyName(name), api.ErrNotFound)
	if near := nearest(name, names); near != "" {
		return api.Key{}, withHint(err, "there is "+near)
	}
	return api.Key{}, withHint(err, "the workspace offers "+orNone(names))
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "no key"
	}
	return strings.Join(names, ", ")
}

var errAgentLocked = withHint(errors.New("the agent of the workspace daemon is locked"), "ssh-add -X unlocks it")

// daemonKey asks the workspace daemon, which knows its keys by their
// fingerprints only, the default key first.
func daemonKey(ctx context.Context, name string) (api.Key, error) {
	dir, err := workspace.RuntimeDir(os.Getenv)
	if err != nil {
		return api.Key{}, err
	}
	state, err := workspace.Status(ctx, dir)
	switch {
	case err != nil:
		return api.Key{}, err
	case keyName(name) != api.DefaultKey:
		return api.Key{}, withHint(fmt.Errorf("key %s: the workspace daemon does not know keys by their names", name), "latchkey login "+quoted(state.Server))
	case len(state.Keys) == 0 && state.ServerError != "":
		return api.Key{}, withHint(fmt.Errorf("the workspace daemon has no keys: %s", state.ServerError), "latchkey status")
	case len(state.Keys) == 0:
		return api.Key{}, withHint(errors.New("the workspace daemon offers no key"), "latchkey status")
	case state.Locked:
		return api.Key{}, errAgentLocked
	}
	var kept *api.Error
	if errors.As(state.Keys[0].Policy.Shows(api.KeyUse{Key: state.Keys[0].Name}, time.Now()), &kept) {
		return api.Key{}, withHint(fmt.Errorf("the workspace daemon offers no key: %s", kept.Message), kept.Detail)
	}
	return offeredKey(ctx, state.Socket, state.Keys[0].Fingerprint)
}

// offeredKey lists the keys of an ssh-agent, and picks one.
func offeredKey(ctx context.Context, socket, fingerprint string) (api.Key, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return api.Key{}, fmt.Errorf("asking the workspace daemon: %w", err)
	}
	defer conn.Close()
	keys, err := agent.NewClient(conn).List()
	if err != nil {
		return api.Key{}, fmt.Errorf("asking the workspace daemon: %w", err)
	}
	for _, k := range keys {
		if ssh.FingerprintSHA256(k) == fingerprint {
			return api.Key{Name: api.DefaultKey, PublicKey: k.String(), Fingerprint: fingerprint}, nil
		}
	}
	return api.Key{}, withHint(errors.New("the workspace daemon no longer offers the key that it named"), "it was replaced just now: try again")
}
