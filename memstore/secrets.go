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

func cloneSecret(s keyserver.Secret) keyserver.Secret {
	s.Workspaces, s.Labels = cloneList(s.Workspaces), cloneList(s.Labels)
	s.CreatedAt, s.UpdatedAt = stored(s.CreatedAt), stored(s.UpdatedAt)
	return s
}

func cloneValue(v keyserver.SecretValue) keyserver.SecretValue {
	v.Sealed = bytes.Clone(v.Sealed)
	v.CreatedAt = stored(v.CreatedAt)
	return v
}

// cloneList copies a list; of an empty one it makes nil.
func cloneList[T any](list []T) []T { return append([]T(nil), list...) }

func (s *Store) Revision(ctx context.Context, user keyserver.UserID) (int64, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if _, ok := s.users[user]; !ok {
		return 0, api.ErrNotFound
	}
	return s.revisions[user], nil
}

func (s *Store) Secrets(ctx context.Context, user keyserver.UserID) ([]keyserver.Secret, int64, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer unlock()
	return s.listSecrets(user)
}

// listSecrets is Secrets. The lock is held.
func (s *Store) listSecrets(user keyserver.UserID) ([]keyserver.Secret, int64, error) {
	if _, ok := s.users[user]; !ok {
		return nil, 0, api.ErrNotFound
	}
	var secrets []keyserver.Secret
	for _, secret := range s.secrets[user] {
		secrets = append(secrets, cloneSecret(secret))
	}
	return secrets, s.revisions[user], nil
}

func (s *Store) CurrentValues(ctx context.Context, user keyserver.UserID) ([]keyserver.Secret, []keyserver.SecretValue, int64, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return nil, nil, 0, err
	}
	defer unlock()
	secrets, revision, err := s.listSecrets(user)
	if err != nil {
		return nil, nil, 0, err
	}
	var values []keyserver.SecretValue
	for _, secret := range secrets {
		current := keyserver.SecretValue{Secret: secret.ID, Version: secret.Version}
		for _, v := range s.values[secret.ID] {
			if v.Version == secret.Version {
				current = cloneValue(v)
			}
		}
		values = append(values, current)
	}
	return secrets, values, revision, nil
}

func (s *Store) SecretValues(ctx context.Context, id keyserver.SecretID) ([]keyserver.SecretValue, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var values []keyserver.SecretValue
	for _, v := range s.values[id] {
		values = append(values, cloneValue(v))
	}
	return values, nil
}

func (s *Store) ChangeSecrets(ctx context.Context, user keyserver.UserID, revision int64, change keyserver.SecretChange, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		if _, ok := s.users[user]; !ok {
			return api.ErrNotFound
		}
		if s.revisions[user] != revision {
			return api.ErrConflict
		}
		secrets, err := s.changedSecrets(user, change)
		if err != nil {
			return err
		}
		values, err := s.changedValues(secrets, change)
		if err != nil {
			return err
		}
		for _, id := range change.Delete {
			delete(s.values, id)
		}
		maps.Copy(s.values, values)
		s.secrets[user] = secrets
		s.revisions[user]++
		return nil
	})
}

// changedSecrets are the secrets of a user after a change, in the order of
// Secrets.
func (s *Store) changedSecrets(user keyserver.UserID, change keyserver.SecretChange) ([]keyserver.Secret, error) {
	secrets := slices.Clone(s.secrets[user])
	for _, id := range change.Delete {
		i := slices.IndexFunc(secrets, hasID(id))
		if i < 0 {
			return nil, api.ErrNotFound
		}
		secrets = slices.Delete(secrets, i, i+1)
	}
	for i, secret := range change.Put {
		if slices.ContainsFunc(change.Put[:i], hasID(secret.ID)) || s.isOthers(secret.ID, user) {
			return nil, api.ErrConflict
		}
		secrets = slices.DeleteFunc(secrets, hasID(secret.ID))
		secret = cloneSecret(secret)
		secret.UserID = user
		secrets = append(secrets, secret)
	}
	for i, a := range secrets {
		for _, b := range secrets[:i] {
			if a.Name == b.Name || a.EnvName != "" && a.EnvName == b.EnvName || a.FilePath != "" && a.FilePath == b.FilePath {
				return nil, api.ErrConflict
			}
		}
	}
	slices.SortFunc(secrets, func(a, b keyserver.Secret) int { return cmp.Compare(a.Name, b.Name) })
	return secrets, nil
}

func hasID(id keyserver.SecretID) func(keyserver.Secret) bool {
	return func(s keyserver.Secret) bool { return s.ID == id }
}

// isOthers reports whether a secret belongs to another user.
func (s *Store) isOthers(id keyserver.SecretID, user keyserver.UserID) bool {
	for owner, secrets := range s.secrets {
		if owner != user && slices.ContainsFunc(secrets, hasID(id)) {
			return true
		}
	}
	return false
}

// changedValues are the values, in the order of SecretValues, of each secret
// that a change brings a value for. secrets are there after the change.
func (s *Store) changedValues(secrets []keyserver.Secret, change keyserver.SecretChange) (map[keyserver.SecretID][]keyserver.SecretValue, error) {
	changed := map[keyserver.SecretID][]keyserver.SecretValue{}
	for _, v := range change.Values {
		if !slices.ContainsFunc(secrets, hasID(v.Secret)) {
			return nil, api.ErrNotFound
		}
		list, begun := changed[v.Secret]
		if !begun && !slices.Contains(change.Delete, v.Secret) {
			list = slices.Clone(s.values[v.Secret])
		}
		if slices.ContainsFunc(list, func(o keyserver.SecretValue) bool { return o.Version == v.Version }) {
			return nil, api.ErrConflict
		}
		changed[v.Secret] = append(list, cloneValue(v))
	}
	for id, list := range changed {
		slices.SortFunc(list, func(a, b keyserver.SecretValue) int { return cmp.Compare(b.Version, a.Version) })
		if change.Keep > 0 && len(list) > change.Keep {
			// A copy: what is cut off is not kept behind the rest.
			list = slices.Clone(list[:change.Keep])
		}
		changed[id] = list
	}
	return changed, nil
}
