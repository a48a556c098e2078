package keyserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (s *Server) createWorkspace(ctx context.Context, c *call, in api.CreateWorkspaceRequest) (api.CreatedWorkspace, error) {
	var p problems
	p.name("name", in.Name)
	p.seconds("expires_in_seconds", in.ExpiresInSeconds, maxExpiry)
	p.names("labels", in.Labels)
	s.requirements(&p, "requirements", in.Requirements)
	p.keyMode("key_mode", in.KeyMode)
	if err := p.err("the workspace can't be made"); err != nil {
		return api.CreatedWorkspace{}, err
	}
	if c.owner.Disabled {
		return api.CreatedWorkspace{}, disabled(c.owner)
	}
	w := Workspace{
		ID: WorkspaceID(newID()), UserID: c.owner.ID, Name: in.Name, Version: 1, CreatedAt: c.at,
		Labels: in.Labels, RefuseSecrets: in.RefuseSecrets, Requirements: in.Requirements,
		KeyMode: in.KeyMode,
	}
	text, t := newToken(api.WorkspaceToken, c.owner.ID, w.ID, "made with the workspace", c.at, time.Duration(in.ExpiresInSeconds)*time.Second)
	e := c.event(c.owner.Name + "/" + w.Name)
	e.Detail = "with token " + string(t.ID)
	if len(w.Labels)+len(w.Requirements) > 0 || w.RefuseSecrets || w.KeyMode == api.SignMode {
		e.Detail += "; " + workspaceDetail(w)
	}
	switch err := s.store.CreateWorkspace(ctx, w, t, e); {
	case errors.Is(err, api.ErrConflict):
		return api.CreatedWorkspace{}, taken("name", "%s has a workspace %s already", c.owner.Name, w.Name)
	case errors.Is(err, api.ErrNotFound):
		return api.CreatedWorkspace{}, refusal(api.ErrNotFound, "", "there is no user %s", c.owner.Name)
	case err != nil:
		return api.CreatedWorkspace{}, fmt.Errorf("storing workspace %s: %w", w.Name, err)
	}
	return api.CreatedWorkspace{Workspace: wireWorkspace(w), Token: api.CreatedToken{TokenInfo: wireToken(t), Token: text}}, nil
}

func (s *Server) listWorkspaces(ctx context.Context, c *call, _ none) ([]api.Workspace, error) {
	all, err := s.store.Workspaces(ctx, c.owner.ID)
	if err != nil {
		return nil, fmt.Errorf("listing workspaces: %w", err)
	}
	return wireAll(all, wireWorkspace), nil
}

func (s *Server) deleteWorkspace(ctx context.Context, c *call, _ none) (none, error) {
	w, err := s.ownedWorkspace(ctx, c)
	if err != nil {
		return none{}, err
	}
	err = s.store.DeleteWorkspace(ctx, w.ID, c.event(c.owner.Name+"/"+w.Name))
	if errors.Is(err, api.ErrNotFound) {
		return none{}, noWorkspace(c)
	}
	if err != nil {
		return none{}, fmt.Errorf("deleting workspace %s: %w", w.Name, err)
	}
	return none{}, nil
}

// ownedWorkspace finds the owner's workspace that the path names, by name or ID.
func (s *Server) ownedWorkspace(ctx context.Context, c *call) (Workspace, error) {
	named := c.path("workspace")
	if isUUID(named) {
		w, err := s.store.Workspace(ctx, WorkspaceID(strings.ToLower(named)))
		if errors.Is(err, api.ErrNotFound) || err == nil && w.UserID != c.owner.ID {
			return Workspace{}, noWorkspace(c)
		}
		if err != nil {
			return Workspace{}, fmt.Errorf("looking for a workspace: %w", err)
		}
		return w, nil
	}
	all, err := s.store.Workspaces(ctx, c.owner.ID)
	if err != nil {
		return Workspace{}, fmt.Errorf("looking for a workspace: %w", err)
	}
	for _, w := range all {
		if w.Name == named {
			return w, nil
		}
	}
	return Workspace{}, noWorkspace(c)
}

func noWorkspace(c *call) error {
	return refusal(api.ErrNotFound, "", "%s has no workspace %s", c.owner.Name, shown(c.path("workspace")))
}

func (s *Server) showSelf(_ context.Context, c *call, _ none) (api.WorkspaceSelf, error) {
	return api.WorkspaceSelf{User: wireUser(c.user), Workspace: wireWorkspace(c.workspace)}, nil
}
