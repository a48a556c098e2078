package sqlstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

const keyColumns = `user_id, name, generation, algorithm, public_key, fingerprint, sealed, imported,
	created_at, updated_at, expires_at, last_fetched_at, last_fetched_by`

const insertKey = `INSERT INTO keys (` + keyColumns + `)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`

func keyArgs(k keyserver.Key) []any {
	return []any{blob(k.UserID), blob(k.Name), k.Generation, blob(k.Algorithm), blob(k.PublicKey), blob(k.Fingerprint), blob(k.Sealed), flag(k.Imported),
		micros(k.CreatedAt), micros(k.UpdatedAt), micros(k.ExpiresAt), micros(k.LastFetchedAt), blob(k.LastFetchedBy)}
}

// A key's settings are in a table of their own: they are the same for all of
// its generations, and most keys have none.
const selectKeys = `SELECT k.user_id, k.name, k.generation, k.algorithm, k.public_key, k.fingerprint, k.sealed, k.imported,
		k.created_at, k.updated_at, k.expires_at, k.last_fetched_at, k.last_fetched_by,
		s.mode, s.hosts, s.namespaces, s.refuse_forwarded, s.usable_until, s.version
	FROM keys k LEFT JOIN key_settings s ON s.user_id = k.user_id AND s.name = k.name
	WHERE k.user_id = $1 ORDER BY k.name, k.generation DESC`

func keyFields(k *keyserver.Key) []any {
	set := &k.Settings
	return []any{(*string)(&k.UserID), &k.Name, &k.Generation, (*string)(&k.Algorithm), &k.PublicKey, &k.Fingerprint, &k.Sealed, &k.Imported,
		moment{&k.CreatedAt}, moment{&k.UpdatedAt}, moment{&k.ExpiresAt}, moment{&k.LastFetchedAt}, (*string)(&k.LastFetchedBy),
		optional[string]{(*string)(&set.Mode)}, scanHosts(&set.Hosts), scanTexts(&set.Namespaces), optional[bool]{&set.RefuseForwarded},
		moment{&set.UsableUntil}, optional[int64]{&set.Version}}
}

func (s *Store) Keys(ctx context.Context, user keyserver.UserID) ([]keyserver.Key, error) {
	keys, err := list(ctx, s, keyFields, selectKeys, blob(user))
	return keys, doing(err, "keys of user %s", user)
}

func (s *Store) CreateKey(ctx context.Context, k keyserver.Key, e keyserver.Event) error {
	args, user := keyArgs(k), blob(k.UserID)
	err := s.change(ctx, e, func(tx *tx) error {
		// The unique columns hold the generation as well: they would let
		// generation 1 in beside the others.
		if _, _, err := currentKey(tx, args[0], args[1]); err == nil {
			return fmt.Errorf("the name is taken: %w", api.ErrConflict)
		} else if !errors.Is(err, api.ErrNotFound) {
			return err
		}
		if _, err := tx.exec(insertKey, args...); err != nil {
			return err
		}
		return tx.revise(user)
	})
	return doing(err, "create key %q of user %s", k.Name, k.UserID)
}

func (s *Store) RotateKey(ctx context.Context, next keyserver.Key, oldExpires time.Time, e keyserver.Event) error {
	args, user := keyArgs(next), blob(next.UserID)
	name, now, fingerprint := args[1], micros(next.UpdatedAt), []byte(next.Fingerprint)
	err := s.change(ctx, e, func(tx *tx) error {
		generation, offered, err := currentKey(tx, user, name)
		if err != nil {
			return err
		}
		if next.Generation != generation+1 {
			return fmt.Errorf("its generation is %d: %w", generation, api.ErrConflict)
		}
		if bytes.Equal(offered, fingerprint) {
			return fmt.Errorf("it is the same key: %w", api.ErrConflict)
		}
		if oldExpires.IsZero() {
			err = tx.execOne(`DELETE FROM keys WHERE user_id = $1 AND name = $2 AND generation = $3`, user, name, generation)
		} else {
			err = tx.execOne(`UPDATE keys SET expires_at = $4 WHERE user_id = $1 AND name = $2 AND generation = $3`, user, name, generation, micros(oldExpires))
		}
		if err != nil {
			return err
		}
		if _, err := tx.exec(`DELETE FROM keys WHERE user_id = $1 AND name = $2 AND expires_at <= $3`, user, name, now); err != nil {
			return err
		}
		if _, err := tx.exec(insertKey, args...); err != nil {
			return err
		}
		return tx.revise(user)
	})
	return doing(err, "rotate key %q of user %s to generation %d", next.Name, next.UserID, next.Generation)
}

// currentKey finds the generation of a name that is current, and its
// fingerprint: api.ErrNotFound if there is no such name.
func currentKey(tx *tx, user, name any) (generation int64, fingerprint []byte, err error) {
	err = tx.row(`SELECT generation, fingerprint FROM keys WHERE user_id = $1 AND name = $2
		ORDER BY generation DESC LIMIT 1`, []any{user, name}, &generation, &fingerprint)
	return generation, fingerprint, err
}

func (s *Store) UpdateKey(ctx context.Context, user keyserver.UserID, name string, set keyserver.KeySettings, e keyserver.Event) error {
	owner := blob(user)
	args := []any{owner, blob(name), blob(set.Mode), hosts(set.Hosts), texts(set.Namespaces), flag(set.RefuseForwarded), micros(set.UsableUntil)}
	err := s.change(ctx, e, func(tx *tx) error {
		if _, _, err := currentKey(tx, args[0], args[1]); err != nil {
			return err
		}
		version, err := settingsVersion(tx, args[0], args[1])
		if err != nil {
			return err
		}
		if version != set.Version {
			return fmt.Errorf("the version of its settings is %d: %w", version, api.ErrConflict)
		}
		if _, err := tx.exec(`INSERT INTO key_settings (user_id, name, mode, hosts, namespaces, refuse_forwarded, usable_until, version)
			VALUES ($1, $2, $3, $4, $5, $6, $7, 1)
			ON CONFLICT (user_id, name) DO UPDATE SET mode = $3, hosts = $4, namespaces = $5, refuse_forwarded = $6, usable_until = $7,
				version = key_settings.version + 1`, args...); err != nil {
			return err
		}
		return tx.revise(owner)
	})
	return doing(err, "update key %q of user %s, version %d", name, user, set.Version)
}

// settingsVersion is that of a key's settings, 0 if it has none.
func settingsVersion(tx *tx, user, name any) (version int64, err error) {
	err = tx.row(`SELECT version FROM key_settings WHERE user_id = $1 AND name = $2`, []any{user, name}, &version)
	if errors.Is(err, api.ErrNotFound) {
		err = nil
	}
	return version, err
}

func (s *Store) DeleteKey(ctx context.Context, user keyserver.UserID, name string, e keyserver.Event) error {
	owner, args := blob(user), []any{blob(user), blob(name)}
	err := s.change(ctx, e, func(tx *tx) error {
		if err := tx.execOne(`DELETE FROM keys WHERE user_id = $1 AND name = $2`, args...); err != nil {
			return err
		}
		if _, err := tx.exec(`DELETE FROM key_settings WHERE user_id = $1 AND name = $2`, args...); err != nil {
			return err
		}
		return tx.revise(owner)
	})
	return doing(err, "delete key %q of user %s", name, user)
}

func (s *Store) RecordFetch(ctx context.Context, user keyserver.UserID, name string, generation int64, by keyserver.WorkspaceID, e keyserver.Event) error {
	args := []any{blob(user), blob(name), generation, micros(e.At), blob(by)}
	err := s.change(ctx, e, func(tx *tx) error {
		return tx.execOne(`UPDATE keys SET last_fetched_at = $4, last_fetched_by = $5
			WHERE user_id = $1 AND name = $2 AND generation = $3`, args...)
	})
	return doing(err, "record the fetch of key %q of user %s, generation %d", name, user, generation)
}

func (s *Store) RecordSign(ctx context.Context, user keyserver.UserID, name string, generation, settings int64, e keyserver.Event) error {
	args := []any{blob(user), blob(name), generation}
	err := s.change(ctx, e, func(tx *tx) error {
		var found int
		if err := tx.row(`SELECT 1 FROM keys WHERE user_id = $1 AND name = $2 AND generation = $3`, args, &found); err != nil {
			return err
		}
		version, err := settingsVersion(tx, args[0], args[1])
		if err == nil && version != settings {
			err = fmt.Errorf("the version of its settings is %d: %w", version, api.ErrConflict)
		}
		return err
	})
	return doing(err, "record a signature with key %q of user %s, generation %d", name, user, generation)
}
