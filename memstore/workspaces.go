package memstore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func cloneWorkspace(w keyserver.Workspace) keyserver.Workspace {
	w.Labels, w.Requirements = cloneList(w.Labels), cloneList(w.Requirements)
	w.HostKey = append([]byte(nil), w.HostKey...)
	w.CreatedAt = stored(w.CreatedAt)
	return w
}

func cloneToken(t keyserver.Token) keyserver.Token {
	t.CreatedAt, t.ExpiresAt, t.RevokedAt = stored(t.CreatedAt), stored(t.ExpiresAt), stored(t.RevokedAt)
	return t
}

// tokenTaken reports whether a token has the ID or the hash of another one.
func (s *Store) tokenTaken(t keyserver.Token) bool {
	for _, other := range s.tokens {
		if other.ID == t.ID || other.Hash == t.Hash {
			return true
		}
	}
	return false
}

func (s *Store) CreateWorkspace(ctx context.Context, w keyserver.Workspace, t keyserver.Token, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		if _, taken := s.workspaces[w.ID]; taken || s.tokenTaken(t) {
			return api.ErrConflict
		}
		for _, other := range s.workspaces {
			if other.UserID == w.UserID && other.Name == w.Name {
				return api.ErrConflict
			}
		}
		if _, ok := s.users[w.UserID]; !ok {
			return api.ErrNotFound
		}
		w = cloneWorkspace(w)
		w.HostKey = nil
		s.workspaces[w.ID] = w
		s.tokens[t.ID] = cloneToken(t)
		s.revisions[w.UserID]++
		return nil
	})
}

func (s *Store) Workspace(ctx context.Context, id keyserver.WorkspaceID) (keyserver.Workspace, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return keyserver.Workspace{}, err
	}
	defer unlock()
	w, ok := s.workspaces[id]
	if !ok {
		return keyserver.Workspace{}, api.ErrNotFound
	}
	return cloneWorkspace(w), nil
}

func (s *Store) Workspaces(ctx context.Context, user keyserver.UserID) ([]keyserver.Workspace, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var ws []keyserver.Workspace
	for _, w := range s.workspaces {
		if w.UserID == user {
			ws = append(ws, cloneWorkspace(w))
		}
	}
	slices.SortFunc(ws, func(a, b keyserver.Workspace) int { return cmp.Compare(a.Name, b.Name) })
	return ws, nil
}

func (s *Store) UpdateWorkspace(ctx context.Context, w keyserver.Workspace, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		old, ok := s.workspaces[w.ID]
		if !ok {
			return api.ErrNotFound
		}
		if old.Version != w.Version {
			return api.ErrConflict
		}
		old.Labels, old.RefuseSecrets, old.Requirements, old.KeyMode = w.Labels, w.RefuseSecrets, w.Requirements, w.KeyMode
		old.Version++
		s.workspaces[w.ID] = cloneWorkspace(old)
		s.revisions[old.UserID]++
		return nil
	})
}

func (s *Store) DeleteWorkspace(ctx context.Context, id keyserver.WorkspaceID, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		w, ok := s.workspaces[id]
		if !ok {
			return api.ErrNotFound
		}
		delete(s.workspaces, id)
		delete(s.deliveries, id)
		delete(s.hostKeys, id)
		s.revisions[w.UserID]++
		for _, t := range s.tokens {
			if t.WorkspaceID == id {
				s.revoke(t, e.At)
			}
		}
		return nil
	})
}

func (s *Store) CreateToken(ctx context.Context, t keyserver.Token, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		if _, ok := s.users[t.UserID]; !ok {
			return api.ErrNotFound
		}
		if w, ok := s.workspaces[t.WorkspaceID]; t.WorkspaceID != "" && (!ok || w.UserID != t.UserID) {
			return api.ErrNotFound
		}
		if s.tokenTaken(t) {
			return api.ErrConflict
		}
		s.tokens[t.ID] = cloneToken(t)
		if t.WorkspaceID != "" {
			s.revisions[t.UserID]++
		}
		return nil
	})
}

func (s *Store) TokenByHash(ctx context.Context, hash [32]byte) (keyserver.Token, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return keyserver.Token{}, err
	}
	defer unlock()
	for _, t := range s.tokens {
		if t.Hash == hash {
			return t, nil
		}
	}
	return keyserver.Token{}, api.ErrNotFound
}

func (s *Store) Tokens(ctx context.Context, user keyserver.UserID, workspace keyserver.WorkspaceID) ([]keyserver.Token, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var ts []keyserver.Token
	for _, t := range s.tokens {
		if t.UserID == user && t.WorkspaceID == workspace {
			ts = append(ts, t)
		}
	}
	slices.SortFunc(ts, func(a, b keyserver.Token) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return ts, nil
}

func (s *Store) RevokeToken(ctx context.Context, id keyserver.TokenID, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		t, ok := s.tokens[id]
		if !ok {
			return api.ErrNotFound
		}
		if t.WorkspaceID != "" && t.RevokedAt.IsZero() {
			s.revisions[t.UserID]++
		}
		s.revoke(t, e.At)
		return nil
	})
}

// revoke marks a token revoked unless it already is.
func (s *Store) revoke(t keyserver.Token, at time.Time) {
	if t.RevokedAt.IsZero() {
		t.RevokedAt = stored(at)
		s.tokens[t.ID] = t
	}
}
