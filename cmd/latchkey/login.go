package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (p *program) loginCommand() *cli.Command {
	return &cli.Command{
		Name:      "login",
		Usage:     "log in to a key server",
		ArgsUsage: "[URL]",
		Description: `Asks for a session token, or reads it from stdin. A new token takes its place,
so that the one you were given is of no use to anyone who has seen it. URL is
` + api.DefaultURL + ` if you give none.

  latchkey login https://keys.example
  latchkey login https://keys.example --ca-file ca.pem < token`,
		Flags: []cli.Flag{
			&cli.PathFlag{Name: "ca-file", Usage: "trust only the certificates in `FILE` (PEM), which is kept with the login"},
			&cli.BoolFlag{Name: "keep-token", Usage: "keep the given token rather than replace it by a new one"},
		},
		Action: p.login,
	}
}

func (p *program) login(c *cli.Context) error {
	l := login{URL: c.Args().First(), from: "stdin"}
	if anyToken.MatchString(l.URL) {
		return tokenInArguments("login")
	}
	if l.URL == "" {
		l.URL = api.DefaultURL
	}
	var err error
	if path := c.Path("ca-file"); path != "" {
		if l.CA, err = readCA(path); err != nil {
			return withHint(fmt.Errorf("reading the CA file: %w", err), "give a file of PEM certificates, as the server's admin has it")
		}
	}
	client, err := login{URL: l.URL, CA: l.CA}.client()
	if err != nil {
		return err // before anything is asked
	}
	l.URL = client.URL() // without a slash behind it
	if l.token, err = p.readToken(l.URL); err != nil {
		return err
	}
	user, err := p.enter(c.Context, l, c.Bool("keep-token"))
	if err != nil {
		return explainLogin(err, l)
	}
	p.note("logged in to %s as %s (%s)", l.URL, user.Name, user.Role)
	if os.Getenv("LATCHKEY_SESSION_TOKEN") != "" {
		p.warn(withHint(errors.New("LATCHKEY_SESSION_TOKEN is set and goes before this login"), "unset LATCHKEY_SESSION_TOKEN"))
	}
	return nil
}

// readToken takes the token for a server from stdin, or asks for it on a terminal.
func (p *program) readToken(url string) (func() string, error) {
	var token string
	var err error
	if isTerminal(p.stdin) {
		token, err = p.askHidden("token")
	} else {
		var b []byte
		b, err = readBounded(p.stdin, "the token on stdin", maxAnswer)
		token = string(b)
	}
	token = strings.TrimSpace(token)
	switch {
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, err
	case token == "":
		return nil, withHint(fmt.Errorf("no token was given for %s", url), "type it when asked, or give it on stdin; the server's admin makes one for you")
	}
	if err := checkSessionToken(token); err != nil {
		return nil, err
	}
	return func() string { return token }, nil
}

// checkSessionToken tells a typo before any server is asked.
func checkSessionToken(token string) error {
	kind, err := api.ParseToken(token)
	switch {
	case err != nil:
		return withHint(err, "copy the whole token, from lk_s_ to its last letter")
	case kind != api.SessionToken:
		return withHint(fmt.Errorf("that is a %s token, which is for a workspace's daemon", kind),
			`"latchkey agent --token-file FILE" takes it; logging in takes a session token (lk_s_…)`)
	}
	return nil
}

// enter checks a login with the server, replaces its token by a new one unless
// told to keep it, and saves it. The given token is revoked last: whatever
// fails before, it still works.
func (p *program) enter(ctx context.Context, l login, keep bool) (api.User, error) {
	given, err := l.client()
	if err != nil {
		return api.User{}, err
	}
	defer given.Close()
	user, err := given.User(ctx, api.Me)
	if err != nil {
		return api.User{}, err
	}
	l.User = user.Name
	before, _ := savedLogin() // what cannot be read is replaced
	if keep {
		return user, l.save()
	}
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed host"
	}
	created, err := given.CreateToken(ctx, api.Me, api.CreateTokenRequest{Description: "login from " + printable(host)})
	if err != nil {
		return api.User{}, err
	}
	l.token = func() string { return created.Token }
	if err := l.save(); err != nil {
		if rerr := given.RevokeToken(ctx, api.Me, created.ID); rerr != nil {
			p.warn(fmt.Errorf("revoking the token that could not be saved: %w", rerr))
		}
		return api.User{}, err
	}
	if err := given.RevokeToken(ctx, api.Me, "current"); err != nil {
		p.warn(withHint(fmt.Errorf("the token that you gave is still good: %w", err), `"latchkey token list" shows it, "latchkey token revoke ID" ends it`))
	}
	p.leave(ctx, before, l)
	return user, nil
}

// leave ends an earlier login, whose token nothing holds any more.
func (p *program) leave(ctx context.Context, before, now login) {
	if before.token == nil {
		return
	}
	c, err := before.client()
	if err == nil {
		defer c.Close()
		err = c.RevokeToken(ctx, api.Me, "current")
	}
	if err != nil && !errors.Is(err, api.ErrUnauthenticated) {
		hint := "ask its admin"
		if sameURL(before.URL, now.URL) {
			hint = `"latchkey token list" shows it, "latchkey token revoke ID" ends it`
		}
		p.warn(withHint(fmt.Errorf("your earlier login to %s is still good: %w", before.URL, err), hint))
	}
}

// explainLogin differs from explain in that logging in is no way out.
func explainLogin(err error, l login) error {
	var said *hintedError
	if errors.Is(err, api.ErrUnauthenticated) && !errors.As(err, &said) {
		return withHint(err, `tokens of new users are good for a day, and logging in replaces them; on the server, "latchkeyd token USER" makes another`)
	}
	return explain(err, l)
}
