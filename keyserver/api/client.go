package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// DefaultURL is where a key server listens that was told nothing else.
const DefaultURL = "http://127.0.0.1:7843"

const (
	maxAnswer  = 16 << 20    // bounds what a Client reads of one answer: 8 MiB of secrets in base64, and what goes with them
	answerTime = time.Minute // bounds one request; making an RSA key takes seconds
)

// A Client speaks to a key server with one token. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token func() string
	http  *http.Client
}

// NewClient returns a client for the server at rawURL, which must be https, or
// http on loopback: a token never travels in the clear. caPEM, if not empty,
// holds the only certificates that are trusted; loading the system's instead
// costs a short-lived process some 12 ms. token is called for each request.
// Errors name the server, and never hold the token.
func NewClient(rawURL string, caPEM []byte, token func() string) (*Client, error) {
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   4,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS13},
	}
	if len(caPEM) > 0 {
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(caPEM) {
			return nil, errors.New("the CA file holds no PEM certificate")
		}
	}
	return &Client{base: u, token: token, http: &http.Client{
		Transport: t,
		Timeout:   answerTime,
		// A redirect could carry the token elsewhere; the API has none.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// parseURL checks a server's address. Its errors show it only as far as it can
// be one: what was given instead may be a token or hold a password.
func parseURL(rawURL string) (*url.URL, error) {
	const want = "want https://HOST[:PORT]"
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Host == "":
		return nil, errors.New("the server URL is not one: " + want)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("server URL of %s: %s, without user, query or fragment", u.Host, want)
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("server URL %q: plain http is for loopback only, use https", rawURL)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("server URL %q: %s", rawURL, want)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = strings.TrimRight(u.RawPath, "/")
	return u, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// URL is the server's address.
func (c *Client) URL() string { return c.base.String() }

// Close ends the client's idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Users.

func (c *Client) User(ctx context.Context, user string) (User, error) {
	return call[User](ctx, c, "GET", userPath(user), nil)
}

func (c *Client) Users(ctx context.Context) ([]User, error) {
	return call[[]User](ctx, c, "GET", "/users", nil)
}

func (c *Client) CreateUser(ctx context.Context, r CreateUserRequest) (CreatedUser, error) {
	return call[CreatedUser](ctx, c, "POST", "/users", r)
}

func (c *Client) UpdateUser(ctx context.Context, user string, r UpdateUserRequest) (User, error) {
	return call[User](ctx, c, "PATCH", userPath(user), r)
}

func (c *Client) DeleteUser(ctx context.Context, user string) error {
	return c.do(ctx, "DELETE", userPath(user), nil, nil)
}

// Keys.

func (c *Client) Key(ctx context.Context, user, name string) (Key, error) {
	return call[Key](ctx, c, "GET", keyPath(user, name), nil)
}

// Keys lists all keys, also the replaced generations that are still offered.
func (c *Client) Keys(ctx context.Context, user string) ([]Key, error) {
	return call[[]Key](ctx, c, "GET", userPath(user, "keys"), nil)
}

func (c *Client) CreateKey(ctx context.Context, user string, r CreateKeyRequest) (Key, error) {
	return call[Key](ctx, c, "POST", userPath(user, "keys"), r)
}

func (c *Client) RotateKey(ctx context.Context, user, name string, r RotateKeyRequest) (Key, error) {
	return call[Key](ctx, c, "PUT", keyPath(user, name), r)
}

func (c *Client) UpdateKey(ctx context.Context, user, name string, r UpdateKeyRequest) (Key, error) {
	return call[Key](ctx, c, "PATCH", keyPath(user, name), r)
}

func (c *Client) DeleteKey(ctx context.Context, user, name string) error {
	return c.do(ctx, "DELETE", keyPath(user, name), nil, nil)
}

// Session tokens.

func (c *Client) Tokens(ctx context.Context, user string) ([]TokenInfo, error) {
	return call[[]TokenInfo](ctx, c, "GET", userPath(user, "tokens"), nil)
}

func (c *Client) CreateToken(ctx context.Context, user string, r CreateTokenRequest) (CreatedToken, error) {
	return call[CreatedToken](ctx, c, "POST", userPath(user, "tokens"), r)
}

// RevokeToken revokes a session token; id may be "current" for the client's own.
func (c *Client) RevokeToken(ctx context.Context, user, id string) error {
	return c.do(ctx, "DELETE", userPath(user, "tokens", id), nil, nil)
}

// Workspaces and their tokens. A workspace is named by its name or its ID.

func (c *Client) Workspaces(ctx context.Context, user string) ([]Workspace, error) {
	return call[[]Workspace](ctx, c, "GET", userPath(user, "workspaces"), nil)
}

func (c *Client) CreateWorkspace(ctx context.Context, user string, r CreateWorkspaceRequest) (CreatedWorkspace, error) {
	return call[CreatedWorkspace](ctx, c, "POST", userPath(user, "workspaces"), r)
}

func (c *Client) DeleteWorkspace(ctx context.Context, user, workspace string) error {
	return c.do(ctx, "DELETE", userPath(user, "workspaces", workspace), nil, nil)
}

func (c *Client) WorkspaceTokens(ctx context.Context, user, workspace string) ([]TokenInfo, error) {
	return call[[]TokenInfo](ctx, c, "GET", userPath(user, "workspaces", workspace, "tokens"), nil)
}

func (c *Client) CreateWorkspaceToken(ctx context.Context, user, workspace string, r CreateTokenRequest) (CreatedToken, error) {
	return call[CreatedToken](ctx, c, "POST", userPath(user, "workspaces", workspace, "tokens"), r)
}

func (c *Client) RevokeWorkspaceToken(ctx context.Context, user, workspace, id string) error {
	return c.do(ctx, "DELETE", userPath(user, "workspaces", workspace, "tokens", id), nil, nil)
}

// What a workspace token may do.

// Self says whom and what the workspace token speaks for.
func (c *Client) Self(ctx context.Context) (WorkspaceSelf, error) {
	return call[WorkspaceSelf](ctx, c, "GET", "/workspaceagents/me", nil)
}

// OfferedKeys lists the public keys that the workspace may offer, in the order
// in which to offer them: the default key first, replaced generations last.
func (c *Client) OfferedKeys(ctx context.Context) ([]Key, error) {
	return call[[]Key](ctx, c, "GET", "/workspaceagents/me/keys", nil)
}

// FetchKey returns a private key sealed to r.Recipient: see [Recipient.Open].
func (c *Client) FetchKey(ctx context.Context, r FetchKeyRequest) (sealed []byte, err error) {
	err = c.do(ctx, "POST", "/workspaceagents/me/keys/fetch", r, &sealed)
	if len(sealed) > MaxSealed {
		return nil, fmt.Errorf("the sealed key from %s has %d bytes: %w", c.base.Host, len(sealed), ErrTooLarge)
	}
	return sealed, err
}

// Sign returns a signature of r.Data, in SSH's wire form.
func (c *Client) Sign(ctx context.Context, r SignRequest) (signature []byte, err error) {
	s, err := call[Signature](ctx, c, "POST", "/workspaceagents/me/sign", r)
	return s.Signature, err
}

// Audit lists up to limit events after the given sequence number.
func (c *Client) Audit(ctx context.Context, after int64, limit int) ([]Event, error) {
	q := url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(limit)}}
	return call[[]Event](ctx, c, "GET", "/audit?"+q.Encode(), nil)
}

func userPath(user string, rest ...string) string {
	p := "/users/" + url.PathEscape(user)
	for _, r := range rest {
		p += "/" + url.PathEscape(r)
	}
	return p
}

func keyPath(user, name string) string { return userPath(user, "keys", name) }
