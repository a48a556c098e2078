package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (p *program) workspaceCommand() *cli.Command {
	return &cli.Command{
		Name:    "workspace",
		Aliases: []string{"ws"},
		Usage:   "register workspaces, and give them tokens",
		Subcommands: []*cli.Command{
			{
				Name: "create", Usage: "register a workspace and make its token", ArgsUsage: "NAME",
				Description: `Prints the token with which the workspace's daemon fetches your key. Keep it from
the workspace's other processes: a file of the daemon's own, or a systemd credential.

  latchkey workspace create box --token-file box.token
  latchkey workspace create box | ssh box 'umask 077; cat > .latchkey.token'`,
				Flags:  append([]cli.Flag{tokenFileFlag(), expiresFlag("until the workspace is deleted"), userFlag(), jsonFlag()}, takesFlags()...),
				Action: p.asUser(p.workspaceCreate),
			},
			{
				Name: "list", Aliases: []string{"ls"}, Usage: "list your workspaces",
				Flags: []cli.Flag{jsonFlag(), userFlag()}, Action: p.asUser(p.workspaceList),
			},
			{
				Name: "delete", Aliases: []string{"rm"}, Usage: "delete a workspace and its tokens", ArgsUsage: "NAME",
				Flags: []cli.Flag{yesFlag(), userFlag()}, Action: p.asUser(p.workspaceDelete),
			},
			p.workspaceUpdateCommand(),
			p.workspaceCheckCommand(),
			p.workspaceTokenCommand(),
		},
	}
}

func (p *program) workspaceCreate(c *cli.Context, s *session) error {
	needed, err := requirementsGiven(c)
	if err != nil {
		return err
	}
	file, err := tokenFile(c.Path("token-file"), "") // the token of another workspace is no use to it, and may be to that
	if err != nil {
		return err
	}
	defer file.abandon()
	created, err := s.CreateWorkspace(c.Context, c.String("user"), api.CreateWorkspaceRequest{
		Name: c.Args().First(), ExpiresInSeconds: seconds(c, "expires"),
		Labels: flagWords(c, "label"), RefuseSecrets: c.Bool("refuse-secrets"), Requirements: needed,
		KeyMode: chosen[api.KeyMode](c, "key-mode"),
	})
	if errors.Is(err, api.ErrConflict) {
		return withHint(err, fmt.Sprintf(`"%s" makes it a further token`, newTokenLine(c.Args().First(), c.Path("token-file"))))
	}
	if err != nil {
		return err
	}
	if err := p.handOver(&created.Token, file); err != nil {
		return err
	}
	if c.Bool("json") {
		return p.json(created)
	}
	p.note("the workspace %s is registered; in it, run: %s", created.Name, agentLine(s, c.Path("token-file")))
	return p.printToken(created.Token)
}

// agentLine is how to start the daemon with a token.
func agentLine(s *session, file string) string {
	if file == "" {
		file = "FILE"
	}
	line := "latchkey agent --url " + quoted(s.URL()) + " --token-file " + quoted(file)
	if len(s.login.CA) > 0 {
		line += " --ca-file FILE"
	}
	return line
}

// newTokenLine is how to make a further token for a workspace.
func newTokenLine(workspace, file string) string {
	line := "latchkey workspace token create " + quoted(workspace)
	if file != "" {
		line += " --token-file " + quoted(file)
	}
	return line
}

// tokenFile begins the file that a token is to go to, before there is a token:
// nil if path is "". It replaces a file only if that is empty or holds a token of
// the kind replaces.
func tokenFile(path string, replaces api.TokenKind) (*privateFile, error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, noTokenFile(path)
	default:
		if err := mayReplace(path, replaces); err != nil {
			return nil, err
		}
	}
	f, err := createPrivate(path)
	if err != nil {
		return nil, withHint(err, "name a file in a directory that is there and that you may write to: "+quoted(filepath.Dir(path)))
	}
	return f, nil
}

func noTokenFile(path string) error {
	return withHint(fmt.Errorf("%s is there already, and is no token file", path), "name another file, or remove this one")
}

// mayReplace fails if a file holds anything but a token of a kind.
func mayReplace(path string, kind api.TokenKind) error {
	f, err := os.Open(path)
	if err != nil {
		return noTokenFile(path)
	}
	defer f.Close()
	b, err := readBounded(f, path, maxAnswer)
	if err != nil {
		return noTokenFile(path)
	}
	token := trimmed(b)
	if token == "" {
		return nil
	}
	switch held, err := api.ParseToken(token); {
	case err != nil:
		return noTokenFile(path)
	case held == kind:
		return nil
	case held == api.WorkspaceToken:
		return withHint(fmt.Errorf("%s holds the token of a workspace already", path), fmt.Sprintf(`name another file, or remove this one; for a workspace that is there, "%s" makes a new token, which takes the place of the one in the file`, newTokenLine("NAME", path)))
	default:
		return withHint(fmt.Errorf("%s holds a %s token already", path, held), "name another file, or remove this one")
	}
}

// handOver writes a new token to its file, if there is one, and takes it out of
// what is printed.
func (p *program) handOver(t *api.CreatedToken, file *privateFile) error {
	if file == nil {
		return nil
	}
	if err := file.commit([]byte(t.Token + "\n")); err != nil {
		return withHint(fmt.Errorf("the token was made but could not be kept: %w", err), "make another: the one that is lost has the ID "+t.ID)
	}
	t.Token = ""
	return nil
}

// printToken prints a token that went to no file.
func (p *program) printToken(t api.CreatedToken) error {
	if t.Token == "" {
		return nil
	}
	return p.print("%s\n", t.Token)
}

func (p *program) workspaceList(c *cli.Context, s *session) error {
	list, err := s.Workspaces(c.Context, c.String("user"))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return jsonList(p, list)
	}
	var rows [][]string
	for _, w := range list {
		rows = append(rows, []string{w.Name, humane(w.CreatedAt, time.Now()), w.ID, string(w.KeyMode), strings.Join(w.Labels, ", "), takes(w)})
	}
	return p.table("NAME\tCREATED\tID\tKEYS\tLABELS\tSECRETS", rows)
}

func (p *program) workspaceDelete(c *cli.Context, s *session) error {
	user, name := c.String("user"), c.Args().First()
	w, err := s.Workspace(c.Context, user, name)
	if err != nil {
		return s.noWorkspace(c.Context, err, user, name)
	}
	what := fmt.Sprintf("the workspace %s is deleted; its daemon gets no key any more", w.Name)
	if err := p.confirm(c.Bool("yes"), what); err != nil {
		return err
	}
	if err := s.DeleteWorkspace(c.Context, user, w.ID); err != nil {
		return s.noWorkspace(c.Context, err, user, name)
	}
	p.note("the workspace %s is deleted", w.Name)
	return nil
}

// noWorkspace adds to an error the workspace that was probably meant.
func (s *session) noWorkspace(ctx context.Context, err error, user, name string) error {
	if !errors.Is(err, api.ErrNotFound) {
		return err
	}
	list, lerr := s.Workspaces(ctx, user)
	if lerr != nil {
		return s.noUser(ctx, err, user)
	}
	var names []string
	for _, w := range list {
		names = append(names, w.Name)
	}
	return notFound(err, name, names, "latchkey workspace list")
}
