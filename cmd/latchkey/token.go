package main

import (
	"errors"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (p *program) tokenCommand() *cli.Command {
	return &cli.Command{
		Name:  "token",
		Usage: "manage your session tokens",
		Subcommands: []*cli.Command{
			{
				Name: "create", Usage: "make a session token for a script",
				Description: `Prints the token; scripts have it in LATCHKEY_SESSION_TOKEN, with LATCHKEY_URL. It can
do all that you can: let it expire.

  latchkey token create --description nightly --expires 30d`,
				Flags:  []cli.Flag{descriptionFlag(), expiresFlag("until it is revoked"), tokenFileFlag(), jsonFlag()},
				Action: p.asUser(p.tokenCreate),
			},
			{
				Name: "list", Aliases: []string{"ls"}, Usage: "list your session tokens, logins among them",
				Flags: []cli.Flag{jsonFlag(), allFlag()}, Action: p.asUser(p.tokenList),
			},
			{
				Name: "revoke", Usage: "revoke a session token", ArgsUsage: "ID",
				Action: p.asUser(p.tokenRevoke),
			},
		},
	}
}

// workspaceTokenCommand is "latchkey workspace token".
func (p *program) workspaceTokenCommand() *cli.Command {
	return &cli.Command{
		Name:  "token",
		Usage: "manage the tokens of a workspace",
		Subcommands: []*cli.Command{
			{
				Name: "create", Usage: "make a further token for a workspace", ArgsUsage: "WORKSPACE",
				Flags:  []cli.Flag{descriptionFlag(), expiresFlag("until the workspace is deleted"), tokenFileFlag(), userFlag(), jsonFlag()},
				Action: p.asUser(p.workspaceTokenCreate),
			},
			{
				Name: "list", Aliases: []string{"ls"}, Usage: "list the tokens of a workspace", ArgsUsage: "WORKSPACE",
				Flags: []cli.Flag{jsonFlag(), allFlag(), userFlag()}, Action: p.asUser(p.workspaceTokenList),
			},
			{
				Name: "revoke", Usage: "revoke a token of a workspace", ArgsUsage: "WORKSPACE ID",
				Flags: []cli.Flag{userFlag()}, Action: p.asUser(p.workspaceTokenRevoke),
			},
		},
	}
}

func allFlag() cli.Flag {
	return &cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "also those that have expired or were revoked"}
}

func tokenRequest(c *cli.Context) api.CreateTokenRequest {
	return api.CreateTokenRequest{Description: c.String("description"), ExpiresInSeconds: seconds(c, "expires")}
}

func (p *program) tokenCreate(c *cli.Context, s *session) error {
	return p.createToken(c, func() (api.CreatedToken, error) {
		return s.CreateToken(c.Context, api.Me, tokenRequest(c))
	})
}

func (p *program) workspaceTokenCreate(c *cli.Context, s *session) error {
	user, name := c.String("user"), c.Args().First()
	return p.createToken(c, func() (api.CreatedToken, error) {
		t, err := s.CreateWorkspaceToken(c.Context, user, name, tokenRequest(c))
		return t, s.noWorkspace(c.Context, err, user, name)
	})
}

func (p *program) createToken(c *cli.Context, create func() (api.CreatedToken, error)) error {
	file, err := tokenFile(c.Path("token-file"))
	if err != nil {
		return err
	}
	defer file.abandon()
	created, err := create()
	if err != nil {
		return err
	}
	if err := p.handOver(&created, file); err != nil {
		return err
	}
	if c.Bool("json") {
		return p.json(created)
	}
	return p.printToken(created)
}

func (p *program) tokenList(c *cli.Context, s *session) error {
	list, err := s.Tokens(c.Context, api.Me)
	if err != nil {
		return err
	}
	return p.listTokens(c, list)
}

func (p *program) workspaceTokenList(c *cli.Context, s *session) error {
	user, name := c.String("user"), c.Args().First()
	list, err := s.WorkspaceTokens(c.Context, user, name)
	if err != nil {
		return s.noWorkspace(c.Context, err, user, name)
	}
	return p.listTokens(c, list)
}

func (p *program) listTokens(c *cli.Context, list []api.TokenInfo) error {
	now := time.Now()
	var shown []api.TokenInfo
	var rows [][]string
	for _, t := range list {
		if tokenState(t, now) != "" && !c.Bool("all") {
			continue
		}
		shown = append(shown, t)
		rows = append(rows, []string{t.ID, t.Description, humane(t.CreatedAt, now), humaneOr(t.ExpiresAt, "never"), tokenState(t, now)})
	}
	if c.Bool("json") {
		return jsonList(p, shown)
	}
	return p.table("ID\tDESCRIPTION\tCREATED\tEXPIRES\tSTATE", rows)
}

// tokenState is why a token is of no use, "" if it is good.
func tokenState(t api.TokenInfo, now time.Time) string {
	switch {
	case t.RevokedAt != nil:
		return "revoked"
	case t.ExpiresAt != nil && !t.ExpiresAt.After(now):
		return "expired"
	}
	return ""
}

func (p *program) tokenRevoke(c *cli.Context, s *session) error {
	id := c.Args().First()
	if err := s.RevokeToken(c.Context, api.Me, id); err != nil {
		return noToken(err, "latchkey token list")
	}
	p.note("the token %s is revoked", id)
	return nil
}

func (p *program) workspaceTokenRevoke(c *cli.Context, s *session) error {
	user, name, id := c.String("user"), c.Args().Get(0), c.Args().Get(1)
	if err := s.RevokeWorkspaceToken(c.Context, user, name, id); err != nil {
		return noToken(s.noWorkspace(c.Context, err, user, name), "latchkey workspace token list "+quoted(name))
	}
	p.note("the token %s of the workspace %s is revoked", id, name)
	return nil
}

func noToken(err error, list string) error {
	if errors.Is(err, api.ErrNotFound) {
		return withHint(err, `tokens are revoked by their ID: "`+list+`" shows it`)
	}
	return err
}

func trimmed(b []byte) string { return strings.TrimSpace(string(b)) }
