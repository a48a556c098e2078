package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A server says something at least every 15 s, if only that it is there. A
// connection that says nothing for three times as long is dead: a machine that
// went away, or a proxy that forgot.
const watchSilence = 45 * time.Second

// errSilent is why a watch ended over which nothing came any more.
var errSilent = fmt.Errorf("the server says nothing any more: %w", ErrUnavailable)

// Watch follows what the server tells the workspace (server-sent events), until
// ctx ends, the connection does, or handle returns an error, which Watch then
// returns. after is the revision that is known already, 0 if none is: what is
// newer is told at once.
//
// handle is first called with a zero WatchEvent, when the server has accepted
// the watch. Watch never returns nil; the error is ErrNotFound if the server is
// too old to be watched, and ErrUnavailable if the connection was lost: watch
// again, after a while.
func (c *Client) Watch(ctx context.Context, after int64, handle func(WatchEvent) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(answerTime, func() { cancel(errSilent) })
	defer silence.Stop()
	req, err := http.NewRequestWithContext(ctx, "GET", c.base.String()+"/api/v2/workspaceagents/me/watch", nil)
	if err != nil {
		return fmt.Errorf("watching: %w", err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+c.token())
	if after > 0 {
		req.Header.Set("Last-Event-ID", strconv.FormatInt(after, 10))
	}
	// The same connections, without the limit for a whole answer.
	endless := &http.Client{Transport: c.http.Transport, CheckRedirect: c.http.CheckRedirect}
	resp, err := endless.Do(req)
	if err != nil {
		return c.watchError(ctx, err)
	}
	defer resp.Body.Close()
	if err := c.checkWatch(resp); err != nil {
		return err
	}
	if err := handle(WatchEvent{}); err != nil {
		return err
	}
	silence.Reset(watchSilence)
	err = readEvents(&heard{resp.Body, silence}, handle)
	var handled *handleError
	if errors.As(err, &handled) {
		return handled.err
	}
	return c.watchError(ctx, err)
}

// watchError says why a watch was not begun, or has ended.
func (c *Client) watchError(ctx context.Context, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	switch cause := context.Cause(ctx); {
	case cause != nil:
		return fmt.Errorf("watching %s: %w", c.base.Host, cause)
	case errors.Is(err, ErrInvalid):
		return fmt.Errorf("watching %s: %w", c.base.Host, err)
	}
	return fmt.Errorf("watching %s: %w: %w", c.base, err, ErrUnavailable)
}

// checkWatch refuses an answer that is no stream of events.
func (c *Client) checkWatch(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxEvent))
		if err != nil {
			return fmt.Errorf("reading the answer of %s: %w: %w", c.base.Host, err, ErrUnavailable)
		}
		return decodeError(resp.StatusCode, answer, c.base.Host)
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != "text/event-stream" {
		return fmt.Errorf("%s did not answer as a Latchkey server: a watch has the type %q: %w", c.base.Host, kind, ErrUnavailable)
	}
	return nil
}

// heard puts off the end of a watch with each read that brings something.
type heard struct {
	io.Reader
	silence *time.Timer
}

func (h *heard) Read(b []byte) (int, error) {
	n, err := h.Reader.Read(b)
	if n > 0 {
		h.silence.Reset(watchSilence)
	}
	return n, err
}
