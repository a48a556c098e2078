package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (p *program) userCommand() *cli.Command {
	roleUsage := "`ROLE`: user, admin, provisioner or auditor; else user"
	return &cli.Command{
		Name:  "user",
		Usage: "manage users (for admins)",
		Subcommands: []*cli.Command{
			{
				Name: "create", Usage: "make a user and their key", ArgsUsage: "NAME",
				Description: "Prints the line with which they log in: once, within a day.",
				Flags: []cli.Flag{
					&cli.GenericFlag{Name: "role", Value: newRole(), Usage: roleUsage},
					algorithmFlag("what the server makes by default"), jsonFlag(),
				},
				Action: p.asUser(p.userCreate),
			},
			{Name: "list", Aliases: []string{"ls"}, Usage: "list all users", Flags: []cli.Flag{jsonFlag()}, Action: p.asUser(p.userList)},
			{
				Name: "show", Usage: "show a user", ArgsUsage: "[NAME]", Description: "Shows yourself if you give no name.",
				Flags: []cli.Flag{jsonFlag()}, Action: p.asUser(p.userShow),
			},
			{
				Name: "set-role", Usage: "change what a user may do", ArgsUsage: "NAME ROLE",
				Description: "ROLE is user, admin (users and the audit log), provisioner (everybody's workspaces)\nor auditor (the audit log).",
				Action:      p.asUser(p.userSetRole),
			},
			{
				Name: "disable", Usage: "refuse all tokens of a user, and of their workspaces", ArgsUsage: "NAME",
				Flags: []cli.Flag{yesFlag()}, Action: p.asUser(p.userDisable),
			},
			{Name: "enable", Usage: "take back a disable", ArgsUsage: "NAME", Action: p.asUser(p.userEnable)},
			{
				Name: "delete", Aliases: []string{"rm"}, Usage: "delete a user and their keys for good", ArgsUsage: "NAME",
				Flags: []cli.Flag{yesFlag()}, Action: p.asUser(p.userDelete),
			},
		},
	}
}

func (p *program) userCreate(c *cli.Context, s *session) error {
	created, err := s.CreateUser(c.Context, api.CreateUserRequest{
		Name: c.Args().First(), Role: chosen[api.Role](c, "role"), KeyAlgorithm: chosen[api.Algorithm](c, "algorithm"),
	})
	if errors.Is(err, api.ErrConflict) {
		return withHint(err, fmt.Sprintf(`"latchkey user show %s" shows who it is; on the server, "latchkeyd token %[1]s" makes a token for them`, c.Args().First()))
	}
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return p.json(created)
	}
	ca := ""
	if len(s.login.CA) > 0 {
		ca = " --ca-file FILE"
		p.note("FILE in this line is the server's CA certificate, which they need as well")
	}
	p.note("the user %s is made, with a key; they log in with this line by %s:",
		created.Name, humaneDeadline(created.Token.ExpiresAt))
	return p.print("echo %s | latchkey login %s%s\n", created.Token.Token, quoted(s.URL()), ca)
}

func humaneDeadline(t *time.Time) string {
	if t == nil {
		return "any time"
	}
	return t.Local().Format("2006-01-02 15:04 MST")
}

func (p *program) userList(c *cli.Context, s *session) error {
	users, err := s.Users(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return jsonList(p, users)
	}
	var rows [][]string
	for _, u := range users {
		rows = append(rows, []string{u.Name, string(u.Role), state(u), humane(u.CreatedAt, time.Now()), u.ID})
	}
	return p.table("NAME\tROLE\tSTATE\tCREATED\tID", rows)
}

func state(u api.User) string {
	if u.Disabled {
		return "disabled"
	}
	return "enabled"
}

func (p *program) userShow(c *cli.Context, s *session) error {
	name := c.Args().First()
	if name == "" {
		name = api.Me
	}
	u, err := s.user(c.Context, name)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return p.json(u)
	}
	return p.details([][]string{
		{"name", u.Name}, {"role", string(u.Role)}, {"state", state(u)},
		{"created", humane(u.CreatedAt, time.Now())}, {"changed", humane(u.UpdatedAt, time.Now())}, {"id", u.ID},
	})
}

func (p *program) userSetRole(c *cli.Context, s *session) error {
	role := newRole()
	if err := role.Set(c.Args().Get(1)); err != nil {
		return usagef("user set-role: %q: %s", c.Args().Get(1), err)
	}
	u, err := s.updateUser(c.Context, c.Args().First(), api.UpdateUserRequest{Role: &role.value})
	if err != nil {
		return err
	}
	p.note("%s has the role %s", u.Name, u.Role)
	return nil
}

func (p *program) userDisable(c *cli.Context, s *session) error {
	u, err := s.user(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	what := fmt.Sprintf("the user %s can no longer log in, and their workspaces get no key, until you enable them again", u.Name)
	if err := p.confirm(c.Bool("yes"), what); err != nil {
		return err
	}
	disabled := true
	u, err = s.updateUser(c.Context, u.ID, api.UpdateUserRequest{Disabled: &disabled})
	if err != nil {
		return err
	}
	p.note("%s is disabled", u.Name)
	return nil
}

func (p *program) userEnable(c *cli.Context, s *session) error {
	disabled := false
	u, err := s.updateUser(c.Context, c.Args().First(), api.UpdateUserRequest{Disabled: &disabled})
	if err != nil {
		return err
	}
	p.note("%s is enabled", u.Name)
	return nil
}

func (p *program) userDelete(c *cli.Context, s *session) error {
	u, err := s.user(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	what := fmt.Sprintf("the user %s is deleted for good, with all keys and workspaces; nothing brings the keys back", u.Name)
	if err := p.confirm(c.Bool("yes"), what); err != nil {
		return err
	}
	if err := s.DeleteUser(c.Context, u.ID); err != nil {
		return err
	}
	p.note("%s is deleted", u.Name)
	return nil
}

func (s *session) user(ctx context.Context, name string) (api.User, error) {
	u, err := s.User(ctx, name)
	return u, s.noUser(ctx, err, name)
}

func (s *session) updateUser(ctx context.Context, name string, r api.UpdateUserRequest) (api.User, error) {
	u, err := s.UpdateUser(ctx, name, r)
	return u, s.noUser(ctx, err, name)
}

// noUser adds to an error the user that was probably meant.
func (s *session) noUser(ctx context.Context, err error, name string) error {
	if !errors.Is(err, api.ErrNotFound) {
		return err
	}
	users, lerr := s.Users(ctx)
	if lerr != nil {
		return err // only admins see them all
	}
	var names []string
	for _, u := range users {
		names = append(names, u.Name)
	}
	return notFound(err, name, names, "latchkey user list")
}
