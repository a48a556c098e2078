package sqlstore

import (
	"context"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func (s *Store) Revision(ctx context.Context, user keyserver.UserID) (int64, error) {
	revision, err := one(ctx, s, func(v *int64) []any { return []any{v} }, `SELECT revision FROM users WHERE id = $1`, blob(user))
	return revision, doing(err, "revision of user %s", user)
}

// A secretRow is a user's revision and one of their secrets. A user who has
// none has one row, without a secret: one statement finds both, as they are at
// one moment.
type secretRow struct {
	revision int64
	found    bool
	secret   keyserver.Secret
	value    keyserver.SecretValue
}

const secretRowColumns = `users.revision, secrets.id IS NOT NULL, secrets.id, secrets.user_id, secrets.name,
	secrets.description, secrets.env_name, secrets.file_path, secrets.enabled, secrets.workspaces, secrets.labels,
	secrets.version, secrets.size, secrets.created_at, secrets.updated_at`

const ofUser = ` WHERE users.id = $1 ORDER BY secrets.name`

func secretRowFields(r *secretRow) []any {
	s := &r.secret
	return []any{
		&r.revision, &r.found, optional[string]{(*string)(&s.ID)}, optional[string]{(*string)(&s.UserID)}, optional[string]{&s.Name},
		optional[string]{&s.Description}, optional[string]{&s.EnvName}, optional[string]{&s.FilePath}, optional[bool]{&s.Enabled},
		scanTexts(&s.Workspaces), scanTexts(&s.Labels),
		optional[int64]{&s.Version}, optional[int64]{&s.Size}, moment{&s.CreatedAt}, moment{&s.UpdatedAt},
	}
}

func (s *Store) Secrets(ctx context.Context, user keyserver.UserID) ([]keyserver.Secret, int64, error) {
	rows, err := list(ctx, s, secretRowFields, `SELECT `+secretRowColumns+`
		FROM users LEFT JOIN secrets ON secrets.user_id = users.id`+ofUser, blob(user))
	secrets, _, revision, err := split(rows, err)
	return secrets, revision, doing(err, "secrets of user %s", user)
}

func (s *Store) CurrentValues(ctx context.Context, user keyserver.UserID) ([]keyserver.Secret, []keyserver.SecretValue, int64, error) {
	fields := func(r *secretRow) []any {
		v := &r.value
		return append(secretRowFields(r), optional[int64]{&v.Size}, moment{&v.CreatedAt}, optional[int64]{&v.RolledBackTo}, &v.Sealed)
	}
	rows, err := list(ctx, s, fields, `SELECT `+secretRowColumns+`, v.size, v.created_at, v.rolled_back_to, v.sealed
		FROM users LEFT JOIN secrets ON secrets.user_id = users.id
		LEFT JOIN secret_values v ON v.secret_id = secrets.id AND v.version = secrets.version`+ofUser, blob(user))
	secrets, values, revision, err := split(rows, err)
	return secrets, values, revision, doing(err, "values of the secrets of user %s", user)
}

// split takes rows apart: api.ErrNotFound if there is none, for want of the user.
func split(rows []secretRow, err error) (secrets []keyserver.Secret, values []keyserver.SecretValue, revision int64, _ error) {
	if err != nil {
		return nil, nil, 0, err
	}
	if len(rows) == 0 {
		return nil, nil, 0, api.ErrNotFound
	}
	for _, r := range rows {
		if r.found {
			r.value.Secret, r.value.Version = r.secret.ID, r.secret.Version
			secrets, values = append(secrets, r.secret), append(values, r.value)
		}
	}
	return secrets, values, rows[0].revision, nil
}

func (s *Store) SecretValues(ctx context.Context, id keyserver.SecretID) ([]keyserver.SecretValue, error) {
	fields := func(v *keyserver.SecretValue) []any {
		return []any{(*string)(&v.Secret), &v.Version, &v.Size, moment{&v.CreatedAt}, &v.RolledBackTo, &v.Sealed}
	}
	values, err := list(ctx, s, fields, `SELECT secret_id, version, size, created_at, rolled_back_to, sealed
		FROM secret_values WHERE secret_id = $1 ORDER BY version DESC`, blob(id))
	return values, doing(err, "values of secret %s", id)
}
