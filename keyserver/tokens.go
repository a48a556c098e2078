package keyserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// deadTokenTime is how long a token that was revoked or has expired is listed.
const deadTokenTime = 30 * 24 * time.Hour

// newToken makes a token and its record. It does not expire if valid is 0.
func newToken(kind api.TokenKind, user UserID, workspace WorkspaceID, description string, at time.Time, valid time.Duration) (text string, t Token) {
	text = api.NewToken(kind)
	t = Token{
		ID: TokenID(newID()), Hash: api.HashToken(text), Kind: kind,
		UserID: user, WorkspaceID: workspace, Description: description, CreatedAt: at,
	}
	if valid > 0 {
		t.ExpiresAt = at.Add(valid)
	}
	return text, t
}

func (s *Server) createToken(ctx context.Context, c *call, in api.CreateTokenRequest) (api.CreatedToken, error) {
	return s.issue(ctx, c, in, Workspace{})
}

func (s *Server) createWorkspaceToken(ctx context.Context, c *call, in api.CreateTokenRequest) (api.CreatedToken, error) {
	w, err := s.ownedWorkspace(ctx, c)
	if err != nil {
		return api.CreatedToken{}, err
	}
	return s.issue(ctx, c, in, w)
}

// issue makes a token for the owner, or for the workspace if it is not zero.
func (s *Server) issue(ctx context.Context, c *call, in api.CreateTokenRequest, w Workspace) (api.CreatedToken, error) {
	var p problems
	p.description("description", in.Description)
	p.seconds("expires_in_seconds", in.ExpiresInSeconds, maxExpiry)
	if err := p.err("the token can't be made"); err != nil {
		return api.CreatedToken{}, err
	}
	if c.owner.Disabled {
		return api.CreatedToken{}, disabled(c.owner)
	}
	kind := api.SessionToken
	if w.ID != "" {
		kind = api.WorkspaceToken
	}
	text, t := newToken(kind, c.owner.ID, w.ID, in.Description, c.at, time.Duration(in.ExpiresInSeconds)*time.Second)
	e := c.event(tokenTarget(c.owner, w, t))
	if !t.ExpiresAt.IsZero() {
		e.Detail = "expires at " + t.ExpiresAt.Format(time.RFC3339)
	}
	err := s.store.CreateToken(ctx, t, e)
	if errors.Is(err, api.ErrNotFound) {
		return api.CreatedToken{}, refusal(api.ErrNotFound, "", "what the token is for was deleted at the same time")
	}
	if err != nil {
		return api.CreatedToken{}, fmt.Errorf("storing a token: %w", err)
	}
	return api.CreatedToken{TokenInfo: wireToken(t), Token: text}, nil
}

func (s *Server) listTokens(ctx context.Context, c *call, _ none) ([]api.TokenInfo, error) {
	return s.tokens(ctx, c, "")
}

func (s *Server) listWorkspaceTokens(ctx context.Context, c *call, _ none) ([]api.TokenInfo, error) {
	w, err := s.ownedWorkspace(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.tokens(ctx, c, w.ID)
}

// tokens lists the tokens that are valid, and those that were until lately.
func (s *Server) tokens(ctx context.Context, c *call, w WorkspaceID) ([]api.TokenInfo, error) {
	all, err := s.store.Tokens(ctx, c.owner.ID, w)
	if err != nil {
		return nil, fmt.Errorf("listing tokens: %w", err)
	}
	lately := c.at.Add(-deadTokenTime)
	out := make([]api.TokenInfo, 0, len(all))
	for _, t := range all {
		dead := !t.RevokedAt.IsZero() && t.RevokedAt.Before(lately) || !t.ExpiresAt.IsZero() && t.ExpiresAt.Before(lately)
		if !dead {
			out = append(out, wireToken(t))
		}
	}
	return out, nil
}

func (s *Server) revokeToken(ctx context.Context, c *call, _ none) (none, error) {
	if c.path("token") == "current" && c.owner.ID == c.user.ID {
		return none{}, s.revoke(ctx, c, Workspace{}, c.token)
	}
	return none{}, s.revokeListed(ctx, c, Workspace{})
}

func (s *Server) revokeWorkspaceToken(ctx context.Context, c *call, _ none) (none, error) {
	w, err := s.ownedWorkspace(ctx, c)
	if err != nil {
		return none{}, err
	}
	return none{}, s.revokeListed(ctx, c, w)
}

// revokeListed revokes the token that the path names, which must be one of the
// owner, or of the workspace if it is not zero.
func (s *Server) revokeListed(ctx context.Context, c *call, w Workspace) error {
	all, err := s.store.Tokens(ctx, c.owner.ID, w.ID)
	if err != nil {
		return fmt.Errorf("looking for a token: %w", err)
	}
	for _, t := range all {
		if strings.EqualFold(string(t.ID), c.path("token")) {
			return s.revoke(ctx, c, w, t)
		}
	}
	return noToken(c)
}

func (s *Server) revoke(ctx context.Context, c *call, w Workspace, t Token) error {
	err := s.store.RevokeToken(ctx, t.ID, c.event(tokenTarget(c.owner, w, t)))
	if errors.Is(err, api.ErrNotFound) {
		return noToken(c)
	}
	if err != nil {
		return fmt.Errorf("revoking a token: %w", err)
	}
	return nil
}

func noToken(c *call) error {
	return refusal(api.ErrNotFound, "give the id that the list of tokens shows", "%s has no token %s", c.owner.Name, shown(c.path("token")))
}

// tokenTarget names a token in the audit log.
func tokenTarget(u User, w Workspace, t Token) string {
	if w.ID != "" {
		return u.Name + "/" + w.Name + "/" + string(t.ID)
	}
	return u.Name + "/" + string(t.ID)
}
