package main

import (
	"context"
	"fmt"
	"slices"
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
				Flags: []cli.Flag{yesFlag()}, Action: p.asUser(p.tokenRevoke),
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
				Description: `With --token-file it takes the place of the token that FILE holds; start the
workspace's daemon again to have it used. The old one is good until it is revoked.`,
				Flags:  []cli.Flag{descriptionFlag(), expiresFlag("until the workspace is deleted"), tokenFileFlag(), userFlag(), jsonFlag()},
				Action: p.asUser(p.workspaceTokenCreate),
			},
			{
				Name: "list", Aliases: []string{"ls"}, Usage: "list the tokens of a workspace", ArgsUsage: "WORKSPACE",
				Flags: []cli.Flag{jsonFlag(), allFlag(), userFlag()}, Action: p.asUser(p.workspaceTokenList),
			},
			{
				Name: "revoke", Usage: "revoke a token of a workspace", ArgsUsage: "WORKSPACE ID",
				Flags: []cli.Flag{yesFlag(), userFlag()}, Action: p.asUser(p.workspaceTokenRevoke),
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
	return p.createToken(c, api.SessionToken, func() (api.CreatedToken, error) {
		return s.CreateToken(c.Context, api.Me, tokenRequest(c))
	})
}

func (p *program) workspaceTokenCreate(c *cli.Context, s *session) error {
	user, name, id := c.String("user"), c.Args().First(), ""
	err := p.createToken(c, api.WorkspaceToken, func() (api.CreatedToken, error) {
		t, err := s.CreateWorkspaceToken(c.Context, user, name, tokenRequest(c))
		id = t.ID
		return t, s.noWorkspace(c.Context, err, user, name)
	})
	file := c.Path("token-file")
	if err != nil || file == "" || c.Bool("json") {
		return err
	}
	p.note("a new token of the workspace %s is in %s: start its daemon again to have it used%s", name, file, s.olderTokens(c.Context, user, name, id))
	return nil
}

// olderTokens says how to revoke the tokens of a workspace that are good still, but for
// a new one: "" if there are none, or they can't be had, for the new one is made.
func (s *session) olderTokens(ctx context.Context, user, workspace, newID string) string {
	list, err := s.WorkspaceTokens(ctx, user, workspace)
	if err != nil {
		return ""
	}
	now := time.Now()
	list = slices.DeleteFunc(list, func(t api.TokenInfo) bool { return t.ID == newID || tokenState(t, now) != "" })
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf(`; still good: %s, which "latchkey workspace token list %s" shows and "latchkey workspace token revoke" ends`,
		plural(len(list), "older token"), quoted(workspace))
}

// createToken puts the new token in the place of an older one of its kind.
func (p *program) createToken(c *cli.Context, kind api.TokenKind, create func() (api.CreatedToken, error)) error {
	file, err := tokenFile(c.Path("token-file"), kind)
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
	list, err := s.Tokens(c.Context, api.Me)
	if err != nil {
		return err
	}
	t, err := tokenOf(list, c.Args().First(), "latchkey token list")
	if err != nil {
		return err
	}
	if err := p.confirm(c.Bool("yes"), fmt.Sprintf("%s is revoked for good; what logs in with it no longer can", named(t))); err != nil {
		return err
	}
	if err := s.RevokeToken(c.Context, api.Me, t.ID); err != nil {
		return err
	}
	p.note("the token %s is revoked", t.ID)
	return nil
}

func (p *program) workspaceTokenRevoke(c *cli.Context, s *session) error {
	user, name := c.String("user"), c.Args().Get(0)
	list, err := s.WorkspaceTokens(c.Context, user, name)
	if err != nil {
		return s.noWorkspace(c.Context, err, user, name)
	}
	t, err := tokenOf(list, c.Args().Get(1), "latchkey workspace token list "+quoted(name))
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%s of the workspace %s is revoked for good; a daemon that has it gets no key any more", named(t), name)
	if err := p.confirm(c.Bool("yes"), what); err != nil {
		return err
	}
	if err := s.RevokeWorkspaceToken(c.Context, user, name, t.ID); err != nil {
		return err
	}
	p.note("the token %s of the workspace %s is revoked", t.ID, name)
	return nil
}

// tokenOf finds a token by its ID in what the command list shows.
func tokenOf(all []api.TokenInfo, id, list string) (api.TokenInfo, error) {
	i := slices.IndexFunc(all, func(t api.TokenInfo) bool { return strings.EqualFold(t.ID, id) })
	if i < 0 {
		return api.TokenInfo{}, withHint(fmt.Errorf("token %s: %w", id, api.ErrNotFound), `tokens are revoked by their ID: "`+list+`" shows it`)
	}
	return all[i], nil
}

// named is a token as a question has it.
func named(t api.TokenInfo) string {
	if t.Description == "" {
		return "the token " + t.ID
	}
	return fmt.Sprintf("the token %s (%s)", t.ID, t.Description)
}

func trimmed(b []byte) string { return strings.TrimSpace(string(b)) }
