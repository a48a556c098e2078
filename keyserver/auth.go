package keyserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A loginFailure is a token that was refused.
type loginFailure struct {
	refused *api.Error // what the caller is told
	caller  caller     // as far as it is known
}

func (f *loginFailure) Error() string { return f.refused.Error() }
func (f *loginFailure) Unwrap() error { return f.refused }

// requestToken is the token that a request carries, "" if none. An Authorization
// of another kind may be meant for a proxy on the way.
func requestToken(r *http.Request) (string, error) {
	authorization := r.Header.Get("Authorization")
	scheme, token, _ := strings.Cut(authorization, " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token), nil
	}
	token = r.Header.Get("Coder-Session-Token")
	if token == "" && authorization != "" {
		return "", refusal(api.ErrUnauthenticated, "send the token as: Authorization: Bearer TOKEN", "the Authorization header is not of the kind Bearer")
	}
	return token, nil
}

// authenticate finds whom a request's token speaks for. The error is a
// *loginFailure, or that of the store.
func (s *Server) authenticate(ctx context.Context, r *http.Request) (caller, error) {
	var c caller
	fail := func(todo, format string, args ...any) (caller, error) {
		return caller{}, &loginFailure{refusal(api.ErrUnauthenticated, todo, format, args...), c}
	}
	text, err := requestToken(r)
	var refused *api.Error
	switch {
	case errors.As(err, &refused):
		return caller{}, &loginFailure{refused, c}
	case text == "":
		return fail("send a session token or a workspace token as: Authorization: Bearer TOKEN", "no token was given")
	}
	kind, err := api.ParseToken(text)
	if err != nil {
		return fail("copy the whole token again", "%s", strings.TrimSuffix(err.Error(), ": "+api.ErrUnauthenticated.Error()))
	}
	c.token, err = s.store.TokenByHash(ctx, api.HashToken(text))
	if errors.Is(err, api.ErrNotFound) || err == nil && c.token.Kind != kind {
		return fail("it may be another server's, or its user was deleted", "this server does not know the %s token", kind)
	}
	if err != nil {
		return caller{}, fmt.Errorf("looking up a token: %w", err)
	}
	c.user, err = s.store.User(ctx, c.token.UserID)
	if errors.Is(err, api.ErrNotFound) {
		return fail("", "the user of the %s token was deleted", kind)
	}
	if err != nil {
		return caller{}, fmt.Errorf("looking up the user of a token: %w", err)
	}
	again := "log in with a new session token"
	if kind == api.WorkspaceToken {
		c.workspace, err = s.store.Workspace(ctx, c.token.WorkspaceID)
		if errors.Is(err, api.ErrNotFound) {
			c.workspace = Workspace{}
			return fail(`"latchkey workspace create NAME --token-file FILE" makes another, and its token`, "the workspace of the token was deleted")
		}
		if err != nil {
			return caller{}, fmt.Errorf("looking up the workspace of a token: %w", err)
		}
		again = fmt.Sprintf(`"latchkey workspace token create %s --token-file FILE" makes a new one, which a daemon reads when it starts`, c.workspace.Name)
	}
	switch now := s.now(); {
	case !c.token.RevokedAt.IsZero():
		return fail(again, "the %s token was revoked at %s", kind, c.token.RevokedAt.Format(time.RFC3339))
	case !c.token.ExpiresAt.IsZero() && !now.Before(c.token.ExpiresAt):
		return fail(again, "the %s token expired at %s", kind, c.token.ExpiresAt.Format(time.RFC3339))
	case c.user.Disabled:
		return fail("ask an admin to enable the user", "user %s is disabled", c.user.Name)
	}
	return c, nil
}

// refuseLogin records a refused token, or counts it where one address has
// too many, and returns what the caller is told.
func (s *Server) refuseLogin(ctx context.Context, f *loginFailure, remote string) error {
	e := Event{Target: string(f.caller.token.ID), TargetID: f.caller.user.ID}
	e.Actor, e.ActorID = f.caller.actor()
	return s.refuseUnknown(ctx, f.refused, remote, e)
}

// refuseUnknown records a refusal that anyone can bring about. A token that is
// known, if only as revoked, is counted by itself, so that no flood of junk
// from the same address hides that somebody uses it.
func (s *Server) refuseUnknown(ctx context.Context, refused *api.Error, remote string, e Event) error {
	if err := s.recordCounted(ctx); err != nil {
		return err
	}
	e.At, e.Remote, e.Action, e.Result, e.Detail = s.now(), remote, "login", Denied, refused.Message
	e.Actor = cmp.Or(e.Actor, "unknown")
	from := remote
	if e.Target != "" {
		from = "token " + e.Target
	}
	n, ends := s.failures.add(from, e.At)
	switch {
	case n > failuresRecorded+1:
		return refusal(api.ErrTooMany, "try again at "+ends.Format(time.RFC3339), "too many refused requests from %s", from)
	case n == failuresRecorded+1:
		e.Detail += fmt.Sprintf("; until %s further ones are refused and only counted", ends.Format(time.RFC3339))
	}
	if err := s.record(ctx, e); err != nil {
		return err
	}
	return refused
}
