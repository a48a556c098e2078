package memstore

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func cloneKey(k keyserver.Key) keyserver.Key {
	k.PublicKey, k.Sealed = bytes.Clone(k.PublicKey), bytes.Clone(k.Sealed)
	k.CreatedAt, k.UpdatedAt = stored(k.CreatedAt), stored(k.UpdatedAt)
	k.ExpiresAt, k.LastFetchedAt = stored(k.ExpiresAt), stored(k.LastFetchedAt)
	k.Settings = cloneSettings(k.Settings)
	return k
}

// newKey is a key of a new name, which has no settings.
func newKey(k keyserver.Key) keyserver.Key {
	k.Settings = keyserver.KeySettings{}
	return cloneKey(k)
}

func cloneSettings(set keyserver.KeySettings) keyserver.KeySettings {
	set.Hosts, set.Namespaces = cloneList(set.Hosts), cloneList(set.Namespaces)
	set.UsableUntil = stored(set.UsableUntil)
	return set
}

// setKeys stores a user's keys in the order of Keys.
func (s *Store) setKeys(user keyserver.UserID, keys []keyserver.Key) {
	slices.SortFunc(keys, func(a, b keyserver.Key) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(b.Generation, a.Generation))
	})
	s.keys[user] = keys
}

func (s *Store) Keys(ctx context.Context, user keyserver.UserID) ([]keyserver.Key, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var keys []keyserver.Key
	for _, k := range s.keys[user] {
		keys = append(keys, cloneKey(k))
	}
	return keys, nil
}

func (s *Store) CreateKey(ctx context.Context, k keyserver.Key, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		if _, ok := s.users[k.UserID]; !ok {
			return api.ErrNotFound
		}
		keys := s.keys[k.UserID]
		if slices.ContainsFunc(keys, func(o keyserver.Key) bool { return o.Name == k.Name || o.Fingerprint == k.Fingerprint }) {
			return api.ErrConflict
		}
		s.setKeys(k.UserID, append(keys, newKey(k)))
		s.revisions[k.UserID]++
		return nil
	})
}

func (s *Store) RotateKey(ctx context.Context, next keyserver.Key, oldExpires time.Time, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		keys := slices.Clone(s.keys[next.UserID])
		// The first one of a name is the current one.
		i := slices.IndexFunc(keys, func(k keyserver.Key) bool { return k.Name == next.Name })
		if i < 0 {
			return api.ErrNotFound
		}
		old := &keys[i]
		next = cloneKey(next)
		next.Settings = old.Settings
		if next.Generation != old.Generation+1 || next.Fingerprint == old.Fingerprint {
			return api.ErrConflict
		}
		old.ExpiresAt = stored(oldExpires)
		generation, now := old.Generation, stored(next.UpdatedAt)
		keys = slices.DeleteFunc(keys, func(k keyserver.Key) bool {
			if k.Name != next.Name {
				return false
			}
			if k.ExpiresAt.IsZero() {
				return k.Generation == generation
			}
			return !k.ExpiresAt.After(now)
		})
		if slices.ContainsFunc(keys, func(k keyserver.Key) bool { return k.Fingerprint == next.Fingerprint }) {
			return api.ErrConflict
		}
		s.setKeys(next.UserID, append(keys, next))
		s.revisions[next.UserID]++
		return nil
	})
}

func (s *Store) UpdateKey(ctx context.Context, user keyserver.UserID, name string, set keyserver.KeySettings, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		keys := slices.Clone(s.keys[user])
		found := false
		for i := range keys {
			if keys[i].Name != name {
				continue
			}
			if keys[i].Settings.Version != set.Version {
				return api.ErrConflict
			}
			found = true
			keys[i].Settings = cloneSettings(set)
			keys[i].Settings.Version++
		}
		if !found {
			return api.ErrNotFound
		}
		s.keys[user] = keys
		s.revisions[user]++
		return nil
	})
}

func (s *Store) DeleteKey(ctx context.Context, user keyserver.UserID, name string, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		keys := s.keys[user]
		left := slices.DeleteFunc(slices.Clone(keys), func(k keyserver.Key) bool { return k.Name == name })
		if len(left) == len(keys) {
			return api.ErrNotFound
		}
		s.keys[user] = left
		s.revisions[user]++
		return nil
	})
}

func (s *Store) RecordFetch(ctx context.Context, user keyserver.UserID, name string, generation int64, by keyserver.WorkspaceID, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		keys := s.keys[user]
		i := slices.IndexFunc(keys, func(k keyserver.Key) bool { return k.Name == name && k.Generation == generation })
		if i < 0 {
			return api.ErrNotFound
		}
		keys[i].LastFetchedAt, keys[i].LastFetchedBy = stored(e.At), by
		return nil
	})
}

func (s *Store) RecordSign(ctx context.Context, user keyserver.UserID, name string, generation, settings int64, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		for _, k := range s.keys[user] {
			switch {
			case k.Name != name || k.Generation != generation:
			case k.Settings.Version != settings:
				return api.ErrConflict
			default:
				return nil
			}
		}
		return api.ErrNotFound
	})
}
