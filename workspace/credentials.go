package workspace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
)

// ErrNoToken is the error when nothing names a workspace token.
var ErrNoToken = errors.New("no workspace token")

// The names of a systemd service's credentials (systemd.exec(5),
// LoadCredential=), files in $CREDENTIALS_DIRECTORY.
const (
	tokenCredential = "latchkey-token"
	urlCredential   = "latchkey-url"
	caCredential    = "latchkey-ca"
)

// A CredentialsConfig says where to look for what a workspace needs to speak to
// its server.
type CredentialsConfig struct {
	URL, TokenFile, CAFile string // the flags; "": not given

	// Token is the token that [TakeToken] took out of the environment, if any;
	// it is wiped.
	Token []byte

	Getenv func(string) string
}

// Credentials are a workspace's server and token.
type Credentials struct {
	URL  string // never empty
	CA   []byte // PEM; nil: what the system trusts
	From string // where the token was found, for people

	token *harden.Buffer
}

// LoadCredentials looks for each thing in the flags, then in the files that the
// environment names (LATCHKEY_TOKEN_FILE, LATCHKEY_CA_FILE), then among a
// systemd service's credentials (latchkey-token, latchkey-url, latchkey-ca),
// then in the environment itself (LATCHKEY_URL, LATCHKEY_TOKEN). The token's
// form is checked, so that a typo is told from a revoked token; the error is
// [ErrNoToken] if there is none.
func LoadCredentials(c CredentialsConfig) (*Credentials, error) {
	env := environment{c.Getenv}
	out := &Credentials{URL: c.URL}
	if out.URL == "" {
		u, err := env.credential(urlCredential)
		if err != nil {
			return nil, err
		}
		out.URL = firstOf(string(u), c.Getenv("LATCHKEY_URL"), api.DefaultURL)
	}
	var err error
	if path := firstOf(c.CAFile, c.Getenv("LATCHKEY_CA_FILE")); path != "" {
		out.CA, err = readFile(path, maxCA)
	} else {
		out.CA, err = env.credential(caCredential)
	}
	if err != nil {
		return nil, fmt.Errorf("the CA certificate: %w", err)
	}
	token, from, err := findToken(c, env)
	if err != nil {
		return nil, err
	}
	defer clear(token)
	out.From = from
	if out.token, err = checkToken(token, from); err != nil {
		return nil, err
	}
	return out, nil
}

func findToken(c CredentialsConfig, env environment) (token []byte, from string, err error) {
	defer clear(c.Token)
	if path := firstOf(c.TokenFile, c.Getenv("LATCHKEY_TOKEN_FILE")); path != "" {
		token, err = readTokenFile(path)
		return token, path, err
	}
	if token, err = env.credential(tokenCredential); len(token) > 0 || err != nil {
		return token, "the credential " + tokenCredential, err
	}
	if len(c.Token) > 0 {
		return bytes.TrimSpace(bytes.Clone(c.Token)), "LATCHKEY_TOKEN", nil
	}
	if t := c.Getenv("LATCHKEY_TOKEN"); t != "" {
		return bytes.TrimSpace([]byte(t)), "LATCHKEY_TOKEN", nil
	}
	return nil, "", ErrNoToken
}

// checkToken puts a workspace token into memory of its own.
func checkToken(token []byte, from string) (*harden.Buffer, error) {
	kind, err := api.ParseToken(string(token))
	if err != nil {
		return nil, &Problem{fmt.Errorf("the token of %s: %w", from, err), "copy it again, or make a new one: latchkey workspace token create NAME --token-file FILE"}
	}
	if kind != api.WorkspaceToken {
		return nil, &Problem{fmt.Errorf("the token of %s is a %s token, which speaks for a user; a workspace needs one of its own", from, kind), "make one: latchkey workspace create NAME"}
	}
	b, err := harden.NewLockedBuffer(len(token))
	if err != nil {
		return nil, fmt.Errorf("keeping the workspace token: %w", err)
	}
	copy(b.Bytes(), token)
	return b, nil
}

// Client returns a client with these credentials. The token is kept outside the
// Go heap, but each request makes a header of it: what that leaves behind in
// HTTP's and TLS's buffers is protected as the process is (see [harden.Process]),
// and no better.
func (c *Credentials) Client() (*api.Client, error) {
	client, err := api.NewClient(c.URL, c.CA, func() string { return string(c.token.Bytes()) })
	if err != nil {
		return nil, &Problem{err, "the server's address is given by --url or LATCHKEY_URL, its certificate by --ca-file or LATCHKEY_CA_FILE"}
	}
	return client, nil
}

// Close wipes the token. No request may be under way.
func (c *Credentials) Close() error { return c.token.Close() }

type environment struct{ getenv func(string) string }

// credential reads a systemd credential: nil if there is none. systemd makes
// such files readable for the service alone; where it does so by an access list
// the mode looks wider than it is, so the mode is not looked at.
func (e environment) credential(name string) ([]byte, error) {
	dir := e.getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return nil, nil
	}
	b, err := readFile(filepath.Join(dir, name), maxCA)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return bytes.TrimSpace(b), err
}

const (
	maxCA    = 1 << 20 // bytes of a CA file: the system's own bundle is 220 KiB
	maxToken = 4 << 10 // bytes of a token file: a token and white space
)

// readTokenFile reads a token from a file that nobody else can read. What is not
// a regular file, such as a pipe, ends when it has been read.
func readTokenFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &Problem{fmt.Errorf("the token file %s: %w", path, errors.Unwrap(err)), "make one: latchkey workspace create NAME --token-file FILE"}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("the token file %s: %w", path, err)
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch mode := info.Mode(); {
	case mode.IsDir():
		return nil, fmt.Errorf("the token file %s is a directory", path)
	case mode.IsRegular() && mode.Perm()&0o077 != 0:
		return nil, &Problem{fmt.Errorf("the token file %s has mode %04o: others can read it", path, mode.Perm()), "chmod 600 " + path + ", and make a new token if somebody may have read this one"}
	case mode.IsRegular() && owner != 0 && int(owner) != os.Geteuid():
		return nil, &Problem{fmt.Errorf("the token file %s belongs to user %d, who can change it", path, owner), "make it your own, or root's: chown"}
	}
	b, err := readAll(f, maxToken)
	if err != nil {
		return nil, fmt.Errorf("the token file %s: %w", path, err)
	}
	defer clear(b)
	return bytes.Clone(bytes.TrimSpace(b)), nil
}

func readFile(path string, most int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readAll(f, most)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// readAll reads to the end of r into one slice, so that none is left behind by
// growing, and fails beyond most bytes.
func readAll(r io.Reader, most int) ([]byte, error) {
	b := make([]byte, most+1)
	n, err := io.ReadFull(r, b)
	switch {
	case err == nil:
		clear(b)
		return nil, fmt.Errorf("larger than %d bytes: %w", most, api.ErrTooLarge)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return b[:n], nil
	}
	clear(b)
	return nil, err
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
