package sqlstore

import (
	"context"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

const selectUser = `SELECT id, name, role, disabled, data_key, version, created_at, updated_at FROM users`

func userFields(u *keyserver.User) []any {
	return []any{(*string)(&u.ID), &u.Name, (*string)(&u.Role), &u.Disabled, &u.DataKey, &u.Version, moment{&u.CreatedAt}, moment{&u.UpdatedAt}}
}

func (s *Store) CreateUser(ctx context.Context, u keyserver.User, k keyserver.Key, t keyserver.Token, e keyserver.Event) error {
	user := []any{blob(u.ID), blob(u.Name), blob(u.Role), flag(u.Disabled), blob(u.DataKey), u.Version, micros(u.CreatedAt), micros(u.UpdatedAt)}
	key, token := keyArgs(k), tokenArgs(t)
	err := s.change(ctx, e, func(tx *tx) error {
		if _, err := tx.exec(`INSERT INTO users (id, name, role, disabled, data_key, version, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, user...); err != nil {
			return err
		}
		if _, err := tx.exec(insertKey, key...); err != nil {
			return err
		}
		_, err := tx.exec(insertToken, token...)
		return err
	})
	return doing(err, "create user %q", u.Name)
}

func (s *Store) User(ctx context.Context, id keyserver.UserID) (keyserver.User, error) {
	u, err := one(ctx, s, userFields, selectUser+` WHERE id = $1`, blob(id))
	return u, doing(err, "user %s", id)
}

func (s *Store) UserNamed(ctx context.Context, name string) (keyserver.User, error) {
	u, err := one(ctx, s, userFields, selectUser+` WHERE name = $1`, blob(name))
	return u, doing(err, "user %q", name)
}

func (s *Store) Users(ctx context.Context, after string, limit int) ([]keyserver.User, error) {
	users, err := list(ctx, s, userFields, selectUser+` WHERE name > $1 ORDER BY name LIMIT $2`, blob(after), max(limit, 0))
	return users, doing(err, "list users")
}

func (s *Store) UpdateUser(ctx context.Context, u keyserver.User, e keyserver.Event) error {
	id := blob(u.ID)
	args := []any{id, u.Version, blob(u.Role), flag(u.Disabled), micros(u.UpdatedAt)}
	err := s.change(ctx, e, func(tx *tx) error {
		rows, err := tx.exec(`UPDATE users SET role = $3, disabled = $4, updated_at = $5,
				version = version + 1, revision = revision + 1
			WHERE id = $1 AND version = $2`, args...)
		if err != nil || rows != 0 {
			return err
		}
		var version int64
		if err := tx.row(`SELECT version FROM users WHERE id = $1`, []any{id}, &version); err != nil {
			return err
		}
		return api.ErrConflict
	})
	return doing(err, "update user %q, version %d", u.Name, u.Version)
}

func (s *Store) DeleteUser(ctx context.Context, id keyserver.UserID, e keyserver.Event) error {
	args := []any{blob(id)}
	err := s.change(ctx, e, func(tx *tx) error {
		return tx.execOne(`DELETE FROM users WHERE id = $1`, args...)
	})
	return doing(err, "delete user %s", id)
}
