package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

// maxPublicKey bounds what is read of a public key's file.
const maxPublicKey = 16 << 10

func (p *program) loginKeyCommand() *cli.Command {
	return &cli.Command{
		Name:  "login-key",
		Usage: "say by which keys you may log in to your workspaces over SSH",
		Subcommands: []*cli.Command{
			{
				Name: "add", Usage: "add a public key", ArgsUsage: "FILE|-|KEY",
				Description: `Reads a public key from FILE, or from stdin if that is "-", or takes the key itself.
Your workspaces hear of it at once.

  latchkey login-key add ~/.ssh/id_ed25519.pub
  ssh-add -L | grep yubikey | latchkey login-key add - --name yubikey`,
				Flags:  []cli.Flag{&cli.StringFlag{Name: "name", Usage: "call it `NAME`; else by its comment"}, jsonFlag()},
				Action: p.asUser(p.loginKeyAdd),
			},
			{
				Name: "list", Aliases: []string{"ls"}, Usage: "list your login keys",
				Flags: []cli.Flag{jsonFlag()}, Action: p.asUser(p.loginKeyList),
			},
			{
				Name: "delete", Aliases: []string{"rm"}, Usage: "delete a login key, which ends the connections that it has", ArgsUsage: "NAME",
				Flags: []cli.Flag{yesFlag()}, Action: p.asUser(p.loginKeyDelete),
			},
		},
	}
}

func (p *program) loginKeyAdd(c *cli.Context, s *session) error {
	line, err := p.publicKeyGiven(c.Args().First())
	if err != nil {
		return err
	}
	k, err := s.CreateLoginKey(c.Context, api.Me, api.CreateLoginKeyRequest{Name: c.String("name"), PublicKey: line})
	var refused *api.Error
	if errors.As(err, &refused) && slices.ContainsFunc(refused.Validations, func(v api.Validation) bool { return v.Field == "public_key" && refused.Kind == api.ErrConflict }) {
		return withHint(errors.New(refused.Message), `it need not be added again; "latchkey login-key list" shows all`)
	}
	if errors.Is(err, api.ErrConflict) {
		return withHint(err, `"latchkey login-key list" shows all; --name gives it another name`)
	}
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return p.json(k)
	}
	p.note("you may log in to your workspaces by the key %s", k.Name)
	return p.print("%s\n", printable(k.Fingerprint))
}

// publicKeyGiven is the public key that an argument is, or names.
func (p *program) publicKeyGiven(argument string) (string, error) {
	for _, kind := range []string{"ssh-", "ecdsa-", "sk-"} {
		if strings.HasPrefix(argument, kind) && strings.Contains(argument, " ") {
			return argument, nil
		}
	}
	var in io.Reader = p.stdin
	if argument != "-" {
		f, err := os.Open(argument)
		if err != nil {
			return "", withHint(err, "give the file of a public key, such as ~/.ssh/id_ed25519.pub")
		}
		defer f.Close()
		in = f
	}
	b, err := readBounded(in, argument, maxPublicKey)
	if err != nil {
		return "", err
	}
	if strings.Contains(string(b), "PRIVATE KEY") { // which must not even be sent
		clear(b)
		return "", withHint(fmt.Errorf("%s holds a private key, which should stay where it is", argument), "give the file of the public key: "+argument+".pub")
	}
	return trimmed(b), nil
}

func (p *program) loginKeyList(c *cli.Context, s *session) error {
	keys, err := s.LoginKeys(c.Context, api.Me)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return jsonList(p, keys)
	}
	var rows [][]string
	for _, k := range keys {
		kind, _, _ := strings.Cut(k.PublicKey, " ")
		rows = append(rows, []string{k.Name, kind, k.Fingerprint, humane(k.CreatedAt, time.Now())})
	}
	return p.table("NAME\tKIND\tFINGERPRINT\tADDED", rows)
}

func (p *program) loginKeyDelete(c *cli.Context, s *session) error {
	name := c.Args().First()
	keys, err := s.LoginKeys(c.Context, api.Me)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(k api.LoginKey) bool { return k.Name == name }) {
		return noLoginKey(fmt.Errorf("login key %s: %w", name, api.ErrNotFound), name, keys)
	}
	what := fmt.Sprintf("the login key %s is deleted; its connections to your workspaces end", name)
	if err := p.confirm(c.Bool("yes"), what); err != nil {
		return err
	}
	if err := s.DeleteLoginKey(c.Context, api.Me, name); err != nil {
		return err
	}
	p.note("the login key %s is deleted", name)
	return nil
}

// noLoginKey adds to an error the login key that was probably meant.
func noLoginKey(err error, name string, keys []api.LoginKey) error {
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
	}
	return notFound(err, name, names, "latchkey login-key list")
}
