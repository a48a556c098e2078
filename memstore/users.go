package memstore

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func cloneUser(u keyserver.User) keyserver.User {
	u.DataKey = bytes.Clone(u.DataKey)
	u.CreatedAt, u.UpdatedAt = stored(u.CreatedAt), stored(u.UpdatedAt)
	return u
}

func (s *Store) CreateUser(ctx context.Context, u keyserver.User, k keyserver.Key, t keyserver.Token, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		if _, taken := s.users[u.ID]; taken || s.tokenTaken(t) {
			return api.ErrConflict
		}
		if _, taken := s.userNamed(u.Name); taken {
			return api.ErrConflict
		}
		s.users[u.ID] = cloneUser(u)
		s.keys[u.ID] = []keyserver.Key{newKey(k)}
		s.tokens[t.ID] = cloneToken(t)
		s.revisions[u.ID] = 1
		return nil
	})
}

func (s *Store) User(ctx context.Context, id keyserver.UserID) (keyserver.User, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return keyserver.User{}, err
	}
	defer unlock()
	u, ok := s.users[id]
	if !ok {
		return keyserver.User{}, api.ErrNotFound
	}
	return cloneUser(u), nil
}

func (s *Store) UserNamed(ctx context.Context, name string) (keyserver.User, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return keyserver.User{}, err
	}
	defer unlock()
	u, ok := s.userNamed(name)
	if !ok {
		return keyserver.User{}, api.ErrNotFound
	}
	return cloneUser(u), nil
}

// userNamed looks at all users: a store in memory has few.
func (s *Store) userNamed(name string) (keyserver.User, bool) {
	for _, u := range s.users {
		if u.Name == name {
			return u, true
		}
	}
	return keyserver.User{}, false
}

func (s *Store) Users(ctx context.Context, after string, limit int) ([]keyserver.User, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	users := slices.SortedFunc(maps.Values(s.users), func(a, b keyserver.User) int { return cmp.Compare(a.Name, b.Name) })
	users = slices.DeleteFunc(users, func(u keyserver.User) bool { return u.Name <= after })
	users = users[:min(max(limit, 0), len(users))]
	for i := range users {
		users[i] = cloneUser(users[i])
	}
	return users, nil
}

func (s *Store) UpdateUser(ctx context.Context, u keyserver.User, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		old, ok := s.users[u.ID]
		if !ok {
			return api.ErrNotFound
		}
		if old.Version != u.Version {
			return api.ErrConflict
		}
		old.Role, old.Disabled, old.UpdatedAt = u.Role, u.Disabled, stored(u.UpdatedAt)
		old.Version++
		s.users[u.ID] = old
		s.revisions[u.ID]++
		return nil
	})
}

func (s *Store) DeleteUser(ctx context.Context, id keyserver.UserID, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		if _, ok := s.users[id]; !ok {
			return api.ErrNotFound
		}
		delete(s.users, id)
		delete(s.keys, id)
		delete(s.loginKeys, id)
		for _, secret := range s.secrets[id] {
			delete(s.values, secret.ID)
		}
		delete(s.secrets, id)
		delete(s.revisions, id)
		maps.DeleteFunc(s.deliveries, func(w keyserver.WorkspaceID, _ keyserver.Delivery) bool { return s.workspaces[w].UserID == id })
		maps.DeleteFunc(s.hostKeys, func(w keyserver.WorkspaceID, _ []byte) bool { return s.workspaces[w].UserID == id })
		maps.DeleteFunc(s.workspaces, func(_ keyserver.WorkspaceID, w keyserver.Workspace) bool { return w.UserID == id })
		maps.DeleteFunc(s.tokens, func(_ keyserver.TokenID, t keyserver.Token) bool { return t.UserID == id })
		return nil
	})
}
