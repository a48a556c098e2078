package sqlstore

import (
	"context"
	"fmt"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// revise counts a user's revision up.
func (t *tx) revise(user []byte) error {
	return t.execOne(`UPDATE users SET revision = revision + 1 WHERE id = $1`, user)
}

// A secretChange is a keyserver.SecretChange as arguments of statements. The
// first one of each is the secret.
type secretChange struct {
	user   []byte
	remove [][]byte
	put    [][]any
	values [][]any
	keep   int
}

func newSecretChange(user keyserver.UserID, change keyserver.SecretChange) secretChange {
	c := secretChange{user: blob(user), keep: change.Keep}
	for _, id := range change.Delete {
		c.remove = append(c.remove, blob(id))
	}
	for _, s := range change.Put {
		c.put = append(c.put, []any{blob(s.ID), c.user, blob(s.Name), blob(s.Description), blob(s.EnvName), blob(s.FilePath), flag(s.Enabled),
			texts(s.Workspaces), texts(s.Labels), s.Version, s.Size, micros(s.CreatedAt), micros(s.UpdatedAt)})
	}
	for _, v := range change.Values {
		c.values = append(c.values, []any{blob(v.Secret), c.user, v.Version, v.Size, micros(v.CreatedAt), v.RolledBackTo, blob(v.Sealed)})
	}
	return c
}

func (s *Store) ChangeSecrets(ctx context.Context, user keyserver.UserID, revision int64, change keyserver.SecretChange, e keyserver.Event) error {
	c := newSecretChange(user, change)
	err := s.change(ctx, e, func(tx *tx) error {
		var has int64
		if err := tx.row(`SELECT revision FROM users WHERE id = $1`, []any{c.user}, &has); err != nil {
			return err
		}
		if has != revision {
			return fmt.Errorf("the revision is %d: %w", has, api.ErrConflict)
		}
		if err := c.apply(tx); err != nil {
			return err
		}
		return tx.revise(c.user)
	})
	return doing(err, "change the secrets of user %s at revision %d", user, revision)
}

func (c secretChange) apply(tx *tx) error {
	if err := c.applyRemove(tx); err != nil {
		return err
	}
	if err := c.applyPut(tx); err != nil {
		return err
	}
	return c.applyValues(tx)
}

// applyRemove leaves the values to the foreign key.
func (c secretChange) applyRemove(tx *tx) error {
	for _, id := range c.remove {
		if err := tx.execOne(`DELETE FROM secrets WHERE id = $1 AND user_id = $2`, id, c.user); err != nil {
			return err
		}
	}
	return nil
}

// applyPut takes what must be unique away from all secrets that it replaces
// before it gives any of it to one: see the second migration.
func (c secretChange) applyPut(tx *tx) error {
	seen := map[string]bool{}
	for _, args := range c.put {
		id := args[0].([]byte)
		if seen[string(id)] {
			return fmt.Errorf("secret %s is put twice: %w", id, api.ErrConflict)
		}
		seen[string(id)] = true
		if _, err := tx.exec(`UPDATE secrets SET name = NULL, env_name = x'', file_path = x''
			WHERE id = $1 AND user_id = $2`, id, c.user); err != nil {
			return err
		}
	}
	for _, args := range c.put {
		rows, err := tx.exec(`INSERT INTO secrets (id, user_id, name, description, env_name, file_path, enabled,
				workspaces, labels, version, size, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
			ON CONFLICT (id) DO UPDATE SET name = $3, description = $4, env_name = $5, file_path = $6, enabled = $7,
				workspaces = $8, labels = $9, version = $10, size = $11, created_at = $12, updated_at = $13
			WHERE secrets.user_id = $2`, args...)
		if err != nil {
			return err
		}
		if rows == 0 {
			return fmt.Errorf("secret %s is another user's: %w", args[0], api.ErrConflict)
		}
	}
	return nil
}

func (c secretChange) applyValues(tx *tx) error {
	for _, args := range c.values {
		err := tx.execOne(`INSERT INTO secret_values (secret_id, version, size, created_at, rolled_back_to, sealed)
			SELECT id, $3, $4, $5, $6, $7 FROM secrets WHERE id = $1 AND user_id = $2`, args...)
		if err != nil {
			return err
		}
	}
	if c.keep <= 0 {
		return nil
	}
	for _, args := range c.values {
		if _, err := tx.exec(`DELETE FROM secret_values WHERE secret_id = $1 AND version <= (
			SELECT version FROM secret_values WHERE secret_id = $1 ORDER BY version DESC LIMIT 1 OFFSET $2)`, args[0], c.keep); err != nil {
			return err
		}
	}
	return nil
}
