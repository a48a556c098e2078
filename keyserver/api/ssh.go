package api

import (
	"context"
	"time"
)

// A LoginKey is a public key by whose private key a user may log in to their
// workspaces over SSH.
type LoginKey struct {
	Name        string    `json:"name"`        // unique among the user's
	PublicKey   string    `json:"public_key"`  // the kind and the key, without a comment
	Fingerprint string    `json:"fingerprint"` // "SHA256:…", as ssh-keygen -l prints it
	CreatedAt   time.Time `json:"created_at"`
}

// CreateLoginKeyRequest adds a login key.
type CreateLoginKeyRequest struct {
	Name      string `json:"name,omitempty"` // default: the key's comment, if that can be a name
	PublicKey string `json:"public_key"`     // one line of an authorized_keys file, without options
}

// A HostKey is the public side of the key by which a workspace's SSH server is
// known.
type HostKey struct {
	PublicKey   string `json:"public_key"`  // the kind and the key, as in a known_hosts file
	Fingerprint string `json:"fingerprint"` // "SHA256:…"
}

// SSHAccess says whom a workspace's SSH server lets in.
type SSHAccess struct {
	User      string     `json:"user"` // whose workspace it is
	LoginKeys []LoginKey `json:"login_keys"`
}

func (c *Client) LoginKeys(ctx context.Context, user string) ([]LoginKey, error) {
	return call[[]LoginKey](ctx, c, "GET", userPath(user, "loginkeys"), nil)
}

func (c *Client) CreateLoginKey(ctx context.Context, user string, r CreateLoginKeyRequest) (LoginKey, error) {
	return call[LoginKey](ctx, c, "POST", userPath(user, "loginkeys"), r)
}

func (c *Client) DeleteLoginKey(ctx context.Context, user, name string) error {
	return c.do(ctx, "DELETE", userPath(user, "loginkeys", name), nil, nil)
}

// WorkspaceHostKey is the host key of a user's workspace, made now if it has none.
func (c *Client) WorkspaceHostKey(ctx context.Context, user, workspace string) (HostKey, error) {
	return call[HostKey](ctx, c, "PUT", userPath(user, "workspaces", workspace, "hostkey"), nil)
}

// HostKey is the host key of the workspace itself, made now if it has none.
func (c *Client) HostKey(ctx context.Context) (HostKey, error) {
	return call[HostKey](ctx, c, "PUT", "/workspaceagents/me/hostkey", nil)
}

// FetchHostKey returns the private host key of the workspace itself, sealed as
// FetchKey's answer is.
func (c *Client) FetchHostKey(ctx context.Context, r FetchKeyRequest) (sealed []byte, err error) {
	return call[[]byte](ctx, c, "POST", "/workspaceagents/me/hostkey/fetch", r)
}

// SSHAccess says whom the workspace's SSH server lets in.
func (c *Client) SSHAccess(ctx context.Context) (SSHAccess, error) {
	return call[SSHAccess](ctx, c, "GET", "/workspaceagents/me/ssh", nil)
}
