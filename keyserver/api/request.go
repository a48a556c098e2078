package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

func call[T any](ctx context.Context, c *Client, method, path string, in any) (out T, err error) {
	err = c.do(ctx, method, path, in, &out)
	return out, err
}

// do sends one request. out is nil, a *[]byte for an answer that is not JSON,
// or what the JSON is decoded into.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	if err := checkPath(path); err != nil {
		return err
	}
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base.String()+"/api/v2"+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+c.token())
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("asking %s: %w", c.base.Host, ctx.Err())
		}
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL is in our own text
		}
		return fmt.Errorf("reaching the key server at %s: %w: %w", c.base, err, ErrUnavailable)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("reading the answer of %s: %w", c.base.Host, ctx.Err())
	case err != nil:
		return fmt.Errorf("reading the answer of %s: %w: %w", c.base.Host, err, ErrUnavailable)
	case len(answer) > maxAnswer:
		return fmt.Errorf("the answer of %s is over %d MiB: %w", c.base.Host, maxAnswer>>20, ErrTooLarge)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return decodeError(resp.StatusCode, answer, c.base.Host)
	case out == nil:
		return nil
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = answer
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s did not answer as a Latchkey server: %w", c.base.Host, err)
	}
	return nil
}

// checkPath refuses names that would make a path of something else: a server,
// or a proxy before it, takes ".." for a step up, and "workspaces/.." for the
// user.
func checkPath(path string) error {
	path, _, _ = strings.Cut(path, "?")
	for _, name := range strings.Split(path, "/")[1:] {
		switch name {
		case "":
			return fmt.Errorf("a name is empty: %w", ErrInvalid)
		case ".", "..":
			return fmt.Errorf("%q is not a name: %w", name, ErrInvalid)
		}
	}
	return nil
}

// decodeError is what an answer refuses. One that is no [Error] is not the
// server's, but of something before it that has lost the way, such as an ingress
// during a deploy: whatever its status says, the server has refused nothing.
func decodeError(status int, answer []byte, host string) error {
	e := &Error{Kind: kindOf(status)}
	if json.Unmarshal(answer, e) == nil && e.Message != "" {
		return e
	}
	return &Error{Kind: ErrUnavailable, Message: fmt.Sprintf("%s answered %d %s, not as a Latchkey server would", host, status, http.StatusText(status))}
}
