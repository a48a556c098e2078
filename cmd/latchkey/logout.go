package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (p *program) logoutCommand() *cli.Command {
	return &cli.Command{
		Name:        "logout",
		Usage:       "end the login on this machine",
		Description: "Revokes the login's token on the server, and removes the file that held it.",
		Action:      func(c *cli.Context) error { return p.logout(c.Context) },
	}
}

func (p *program) logout(ctx context.Context) error {
	path, err := loginPath()
	if err != nil {
		return err
	}
	content, err := os.ReadFile(path) // also if others could read it: all the more
	if errors.Is(err, fs.ErrNotExist) {
		p.note("not logged in")
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the login: %w", err)
	}
	l, revokeErr := decodeLogin(path, content)
	if revokeErr == nil {
		revokeErr = revokeLogin(ctx, l)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing the login: %w", err)
	}
	if revokeErr != nil {
		return withHint(fmt.Errorf("the login is removed from this machine, but its token was not revoked: %w", revokeErr),
			`it is good until it is revoked: "latchkey token list" after another login, or an admin`)
	}
	p.note("logged out of %s", l.URL)
	return nil
}

// revokeLogin ends a login's token. One that the server no longer takes is
// ended already.
func revokeLogin(ctx context.Context, l login) error {
	c, err := l.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.RevokeToken(ctx, api.Me, "current"); !errors.Is(err, api.ErrUnauthenticated) {
		return err
	}
	return nil
}
