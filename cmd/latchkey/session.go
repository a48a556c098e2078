package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace"
)

// A login says where the user is logged in, and as whom. Printing one shows no
// token: it is behind a function.
type login struct {
	URL   string
	User  string // the name, for people; "" if nobody asked yet
	CA    []byte // PEM, the only certificates to trust; nil: the system's
	token func() string
	from  string // the file, or the variable, that the token is from
}

// A loginFile is a login as it is kept.
type loginFile struct {
	URL   string `json:"url"`
	User  string `json:"user"`
	CA    string `json:"ca,omitempty"`
	Token string `json:"token"`
}

const maxLoginFile = 256 << 10 // a CA file may hold many certificates

// errNoLogin is what savedLogin gives where there is none.
var errNoLogin = errors.New("not logged in")

// loginPath is $XDG_CONFIG_HOME/latchkey/login.json.
func loginPath() (string, error) {
	dir, err := configDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "login.json"), nil
}

// configDir is $XDG_CONFIG_HOME/latchkey. It makes nothing.
func configDir() (string, error) {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) { // the XDG specification: others are to be ignored
		home, err := os.UserHomeDir()
		if err != nil {
			return "", withHint(fmt.Errorf("finding the configuration directory: %w", err), "set HOME, or XDG_CONFIG_HOME")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "latchkey"), nil
}

// savedLogin reads what login has kept: errNoLogin if there is nothing.
func savedLogin() (login, error) {
	path, err := loginPath()
	if err != nil {
		return login{}, err
	}
	b, err := readPrivate(path, maxLoginFile)
	if errors.Is(err, fs.ErrNotExist) {
		return login{}, errNoLogin
	}
	if err != nil {
		return login{}, err
	}
	return decodeLogin(path, b)
}

func decodeLogin(path string, b []byte) (login, error) {
	var f loginFile
	// The decoder's error could quote the file.
	if json.Unmarshal(b, &f) != nil || f.URL == "" || f.Token == "" {
		return login{}, withHint(fmt.Errorf("%s is damaged", path), `log in anew: "latchkey login URL"`)
	}
	return login{URL: f.URL, User: f.User, CA: []byte(f.CA), token: func() string { return f.Token }, from: path}, nil
}

// save keeps the login for later runs.
func (l login) save() error {
	path, err := loginPath()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keeping the login: %w", err)
	}
	content, err := json.MarshalIndent(loginFile{l.URL, l.User, string(l.CA), l.token()}, "", "  ")
	if err != nil {
		return fmt.Errorf("keeping the login: %w", err)
	}
	f, err := createPrivate(path)
	if err != nil {
		return fmt.Errorf("keeping the login: %w", err)
	}
	return f.commit(append(content, '\n'))
}

// currentLogin is the login to use: the environment's for scripts, else the
// saved one.
func currentLogin() (login, error) {
	if os.Getenv("LATCHKEY_SESSION_TOKEN") != "" {
		return environmentLogin()
	}
	l, err := savedLogin()
	switch url := os.Getenv("LATCHKEY_URL"); {
	case errors.Is(err, errNoLogin) && url != "":
		return l, withHint(err, "latchkey login "+quoted(url))
	case errors.Is(err, errNoLogin):
		return l, withHint(err, `"latchkey login URL", with the token that the server's admin gave you`)
	case err != nil:
		return l, err
	case url != "" && !sameURL(url, l.URL):
		// The token is for the one server, and must not reach another.
		return l, withHint(fmt.Errorf("LATCHKEY_URL is %s, but you are logged in to %s", url, l.URL),
			"latchkey login "+quoted(url)+", or unset LATCHKEY_URL")
	}
	return l.withEnvironmentCA()
}

func environmentLogin() (login, error) {
	token := strings.TrimSpace(os.Getenv("LATCHKEY_SESSION_TOKEN"))
	l := login{URL: os.Getenv("LATCHKEY_URL"), from: "LATCHKEY_SESSION_TOKEN", token: func() string { return token }}
	if l.URL == "" {
		l.URL = api.DefaultURL
	}
	if err := checkSessionToken(token); err != nil {
		return l, withHint(fmt.Errorf("LATCHKEY_SESSION_TOKEN: %w", err), "set it to a session token, or unset it to use your login")
	}
	return l.withEnvironmentCA()
}

func (l login) withEnvironmentCA() (login, error) {
	path := os.Getenv("LATCHKEY_CA_FILE")
	if path == "" {
		return l, nil
	}
	ca, err := readCA(path)
	if err != nil {
		return l, withHint(fmt.Errorf("LATCHKEY_CA_FILE: %w", err), "set it to a file of PEM certificates, or unset it")
	}
	l.CA = ca
	return l, nil
}

func readCA(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, path, maxLoginFile/2)
}

func sameURL(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}

func (l login) client() (*api.Client, error) {
	c, err := api.NewClient(l.URL, l.CA, l.token)
	if err != nil {
		return nil, withHint(err, "an address looks like https://keys.example:7843")
	}
	return c, nil
}

// A session is a client of the server with the user's login.
type session struct {
	*api.Client
	login login
}

// session opens the current login. It asks nothing of the server.
func (p *program) session() (*session, error) {
	l, err := currentLogin()
	if err != nil {
		return nil, err
	}
	c, err := l.client()
	if err != nil {
		return nil, err
	}
	return &session{c, l}, nil
}

// asUser makes an action of what needs a session.
func (p *program) asUser(do func(*cli.Context, *session) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		s, err := p.session()
		if err != nil {
			return explainNoLogin(c.Context, err)
		}
		defer s.Close()
		return explain(do(c, s), s.login)
	}
}

// explainNoLogin says where a daemon runs that what works there is not for this: whoever
// sees git log in need not have logged in themselves.
func explainNoLogin(ctx context.Context, err error) error {
	dir, dirErr := workspace.RuntimeDir(os.Getenv)
	if dirErr != nil || !errors.Is(err, errNoLogin) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, askErr := workspace.LastOffer(ctx, dir); askErr != nil {
		return err
	}
	return withHint(err, "this takes a login of yours, which the workspace's token is not: "+hintOf(err))
}
