package memstore

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func cloneLoginKey(k keyserver.LoginKey) keyserver.LoginKey {
	k.PublicKey = bytes.Clone(k.PublicKey)
	k.CreatedAt = stored(k.CreatedAt)
	return k
}

func (s *Store) LoginKeys(ctx context.Context, user keyserver.UserID) ([]keyserver.LoginKey, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var keys []keyserver.LoginKey
	for _, k := range s.loginKeys[user] {
		keys = append(keys, cloneLoginKey(k))
	}
	return keys, nil
}

func (s *Store) CreateLoginKey(ctx context.Context, k keyserver.LoginKey, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		if _, ok := s.users[k.UserID]; !ok {
			return api.ErrNotFound
		}
		keys := s.loginKeys[k.UserID]
		if slices.ContainsFunc(keys, func(o keyserver.LoginKey) bool { return o.Name == k.Name || o.Fingerprint == k.Fingerprint }) {
			return api.ErrConflict
		}
		keys = append(slices.Clone(keys), cloneLoginKey(k))
		slices.SortFunc(keys, func(a, b keyserver.LoginKey) int { return cmp.Compare(a.Name, b.Name) })
		s.loginKeys[k.UserID] = keys
		s.revisions[k.UserID]++
		return nil
	})
}

func (s *Store) DeleteLoginKey(ctx context.Context, user keyserver.UserID, name string, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		keys := s.loginKeys[user]
		left := slices.DeleteFunc(slices.Clone(keys), func(k keyserver.LoginKey) bool { return k.Name == name })
		if len(left) == len(keys) {
			return api.ErrNotFound
		}
		s.loginKeys[user] = left
		s.revisions[user]++
		return nil
	})
}

func (s *Store) SealedHostKey(ctx context.Context, id keyserver.WorkspaceID) ([]byte, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	sealed, ok := s.hostKeys[id]
	if !ok {
		return nil, api.ErrNotFound
	}
	return bytes.Clone(sealed), nil
}

func (s *Store) CreateHostKey(ctx context.Context, id keyserver.WorkspaceID, public, sealed []byte, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		w, ok := s.workspaces[id]
		if !ok {
			return api.ErrNotFound
		}
		if len(w.HostKey) != 0 {
			return api.ErrConflict
		}
		w.HostKey = bytes.Clone(public)
		s.workspaces[id] = w
		s.hostKeys[id] = bytes.Clone(sealed)
		return nil
	})
}
