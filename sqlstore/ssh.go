package sqlstore

import (
	"context"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

const loginKeyColumns = `user_id, name, public_key, fingerprint, created_at`

func loginKeyFields(k *keyserver.LoginKey) []any {
	return []any{(*string)(&k.UserID), &k.Name, &k.PublicKey, &k.Fingerprint, moment{&k.CreatedAt}}
}

func (s *Store) LoginKeys(ctx context.Context, user keyserver.UserID) ([]keyserver.LoginKey, error) {
	keys, err := list(ctx, s, loginKeyFields, `SELECT `+loginKeyColumns+` FROM login_keys WHERE user_id = $1 ORDER BY name`, blob(user))
	return keys, doing(err, "login keys of user %s", user)
}

func (s *Store) CreateLoginKey(ctx context.Context, k keyserver.LoginKey, e keyserver.Event) error {
	user := blob(k.UserID)
	args := []any{user, blob(k.Name), blob(k.PublicKey), blob(k.Fingerprint), micros(k.CreatedAt)}
	err := s.change(ctx, e, func(tx *tx) error {
		if _, err := tx.exec(`INSERT INTO login_keys (`+loginKeyColumns+`) VALUES ($1, $2, $3, $4, $5)`, args...); err != nil {
			return err
		}
		return tx.revise(user)
	})
	return doing(err, "create login key %q of user %s", k.Name, k.UserID)
}

func (s *Store) DeleteLoginKey(ctx context.Context, user keyserver.UserID, name string, e keyserver.Event) error {
	owner, args := blob(user), []any{blob(user), blob(name)}
	err := s.change(ctx, e, func(tx *tx) error {
		if err := tx.execOne(`DELETE FROM login_keys WHERE user_id = $1 AND name = $2`, args...); err != nil {
			return err
		}
		return tx.revise(owner)
	})
	return doing(err, "delete login key %q of user %s", name, user)
}

func (s *Store) SealedHostKey(ctx context.Context, id keyserver.WorkspaceID) ([]byte, error) {
	sealed, err := one(ctx, s, func(b *[]byte) []any { return []any{b} }, `SELECT sealed_host_key FROM workspaces WHERE id = $1 AND host_key <> x''`, blob(id))
	return sealed, doing(err, "host key of workspace %s", id)
}

func (s *Store) CreateHostKey(ctx context.Context, id keyserver.WorkspaceID, public, sealed []byte, e keyserver.Event) error {
	workspace, args := blob(id), []any{blob(id), blob(public), blob(sealed)}
	err := s.change(ctx, e, func(tx *tx) error {
		rows, err := tx.exec(`UPDATE workspaces SET host_key = $2, sealed_host_key = $3 WHERE id = $1 AND host_key = x''`, args...)
		if err != nil || rows != 0 {
			return err
		}
		var found int
		if err := tx.row(`SELECT 1 FROM workspaces WHERE id = $1`, []any{workspace}, &found); err != nil {
			return err
		}
		return api.ErrConflict
	})
	return doing(err, "create the host key of workspace %s", id)
}
