package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// A KnownHost is one line of the known hosts that the server distributes.
type KnownHost struct {
	ID          string    `json:"id"`               // UUID
	Marker      string    `json:"marker,omitempty"` // "@cert-authority" or "@revoked", if any
	Hosts       string    `json:"hosts"`            // patterns, or one hashed name
	KeyType     string    `json:"key_type"`         // as on the wire: "ssh-ed25519"
	Key         []byte    `json:"key"`              // SSH wire form; base64 in JSON, as in a known_hosts file
	Fingerprint string    `json:"fingerprint"`      // "SHA256:…", as ssh-keygen -l prints it
	Comment     string    `json:"comment"`
	CreatedAt   time.Time `json:"created_at"`
	CreatedBy   string    `json:"created_by"` // the ID of the user who added it, who may be gone
}

// AddKnownHostsRequest adds the lines of a known_hosts file, all or none.
type AddKnownHostsRequest struct {
	Content string `json:"content"` // at most 256 KiB and 1000 lines
}

// KnownHosts lists all, in the order in which they were added.
func (c *Client) KnownHosts(ctx context.Context) ([]KnownHost, error) {
	return call[[]KnownHost](ctx, c, "GET", "/known-hosts", nil)
}

func (c *Client) AddKnownHosts(ctx context.Context, r AddKnownHostsRequest) ([]KnownHost, error) {
	return call[[]KnownHost](ctx, c, "POST", "/known-hosts", r)
}

func (c *Client) DeleteKnownHost(ctx context.Context, id string) error {
	return c.do(ctx, "DELETE", "/known-hosts/"+url.PathEscape(id), nil, nil)
}

// WorkspaceKnownHosts is KnownHosts with a workspace token. tag is that of the
// list which the caller has, "" if there is none: if it is still the current
// one, changed is false and no list is sent.
func (c *Client) WorkspaceKnownHosts(ctx context.Context, tag string) (hosts []KnownHost, newTag string, changed bool, err error) {
	req, err := http.NewRequestWithContext(ctx, "GET", c.base.String()+"/api/v2/workspaceagents/me/known-hosts", nil)
	if err != nil {
		return nil, "", false, fmt.Errorf("asking for the known hosts: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token())
	if tag != "" {
		req.Header.Set("If-None-Match", tag)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, "", false, fmt.Errorf("reaching the key server at %s: %w: %w", c.base, err, ErrUnavailable)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, "", false, fmt.Errorf("reading the answer of %s: %w: %w", c.base.Host, err, ErrUnavailable)
	case len(answer) > maxAnswer:
		return nil, "", false, fmt.Errorf("the answer of %s is over %d MiB: %w", c.base.Host, maxAnswer>>20, ErrTooLarge)
	case resp.StatusCode == http.StatusNotModified && tag != "":
		return nil, tag, false, nil
	case resp.StatusCode != http.StatusOK:
		return nil, "", false, decodeError(resp.StatusCode, answer, c.base.Host)
	}
	if err := json.Unmarshal(answer, &hosts); err != nil {
		return nil, "", false, fmt.Errorf("%s did not answer as a Latchkey server: %w", c.base.Host, err)
	}
	return hosts, resp.Header.Get("ETag"), true, nil
}
