package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (p *program) secretList(c *cli.Context, s *session) error {
	if name := c.Args().First(); name != "" {
		return p.secretShow(c, s, name)
	}
	list, err := s.Secrets(c.Context, api.Me)
	if err != nil {
		return err
	}
	return p.secrets(c, list)
}

// secrets prints a list of secrets.
func (p *program) secrets(c *cli.Context, list []api.Secret) error {
	if c.Bool("json") {
		return jsonList(p, list)
	}
	var rows [][]string
	for _, secret := range list {
		rows = append(rows, []string{
			secret.Name, orDash(targets(secret)), yesOrNo(secret.Enabled), scope(secret), humane(secret.UpdatedAt, time.Now()), secret.Description,
		})
	}
	return p.table("NAME\tTARGETS\tENABLED\tSCOPE\tUPDATED\tDESCRIPTION", rows)
}

func (p *program) secretShow(c *cli.Context, s *session, name string) error {
	secret, err := s.secret(c.Context, name)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return p.json(secret)
	}
	return p.details([][]string{
		{"name", secret.Name},
		{"description", secret.Description},
		{"variable", secret.EnvName},
		{"file", secret.FilePath},
		{"enabled", yesOrNo(secret.Enabled)},
		{"scope", scope(secret)},
		{"value", fmt.Sprintf("version %d, %s, which only workspaces get", secret.Version, plural(int(secret.Size), "byte"))},
		{"created", humane(secret.CreatedAt, time.Now())},
		{"updated", humane(secret.UpdatedAt, time.Now())},
		{"ID", secret.ID},
	})
}

// targets is where a secret is delivered: "$API_KEY ~/.api-key".
func targets(s api.Secret) string {
	var list []string
	if s.EnvName != "" {
		list = append(list, "$"+s.EnvName)
	}
	if s.FilePath != "" {
		list = append(list, s.FilePath)
	}
	return strings.Join(list, " ")
}

// scope is the workspaces that get a secret.
func scope(s api.Secret) string {
	list := append([]string{}, s.Workspaces...)
	for _, l := range s.Labels {
		list = append(list, "label "+l)
	}
	if len(list) == 0 {
		return "all"
	}
	return strings.Join(list, ", ")
}

// destination says in words what is done with a secret.
func destination(s api.Secret) string {
	var to []string
	if s.EnvName != "" {
		to = append(to, "in $"+s.EnvName)
	}
	if s.FilePath != "" {
		to = append(to, "in the file "+s.FilePath)
	}
	switch {
	case len(to) == 0:
		return "it has no variable and no file, and is disabled"
	case !s.Enabled:
		return fmt.Sprintf("it is disabled until latchkey secret enable %s", quoted(s.Name))
	case scope(s) == "all":
		return "all your workspaces get it " + strings.Join(to, " and ")
	}
	return fmt.Sprintf("workspaces get it %s: %s", strings.Join(to, " and "), scope(s))
}

func yesOrNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// secret asks for a secret, and for the one that was probably meant if there is
// none.
func (s *session) secret(ctx context.Context, name string) (api.Secret, error) {
	secret, err := s.Secret(ctx, api.Me, name)
	return secret, s.noSecret(ctx, err, name)
}

// noSecret adds to an error the secret that was probably meant.
func (s *session) noSecret(ctx context.Context, err error, name string) error {
	if !errors.Is(err, api.ErrNotFound) {
		return err
	}
	list, lerr := s.Secrets(ctx, api.Me)
	if lerr != nil {
		return err
	}
	var names []string
	for _, secret := range list {
		names = append(names, secret.Name)
	}
	return notFound(err, name, names, "latchkey secret list")
}
