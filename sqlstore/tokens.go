package sqlstore

import (
	"context"

	"github.com/latchkey/latchkey/keyserver"
)

const tokenColumns = `hash, id, kind, user_id, workspace_id, description, created_at, expires_at, revoked_at`

const insertToken = `INSERT INTO tokens (` + tokenColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`

func tokenArgs(t keyserver.Token) []any {
	return []any{blob(t.Hash[:]), blob(t.ID), blob(t.Kind), blob(t.UserID), blob(t.WorkspaceID), blob(t.Description),
		micros(t.CreatedAt), micros(t.ExpiresAt), micros(t.RevokedAt)}
}

func tokenFields(t *keyserver.Token) []any {
	return []any{digest{&t.Hash}, (*string)(&t.ID), (*string)(&t.Kind), (*string)(&t.UserID), (*string)(&t.WorkspaceID), &t.Description,
		moment{&t.CreatedAt}, moment{&t.ExpiresAt}, moment{&t.RevokedAt}}
}

func (s *Store) CreateToken(ctx context.Context, t keyserver.Token, e keyserver.Event) error {
	args := tokenArgs(t)
	workspace, user := blob(t.WorkspaceID), blob(t.UserID)
	err := s.change(ctx, e, func(tx *tx) error {
		if len(workspace) != 0 {
			var found int
			if err := tx.row(`SELECT 1 FROM workspaces WHERE id = $1 AND user_id = $2`, []any{workspace, user}, &found); err != nil {
				return err
			}
		}
		if _, err := tx.exec(insertToken, args...); err != nil || len(workspace) == 0 {
			return err
		}
		return tx.revise(user)
	})
	return doing(err, "create token %s of user %s", t.ID, t.UserID)
}

func (s *Store) TokenByHash(ctx context.Context, hash [32]byte) (keyserver.Token, error) {
	t, err := one(ctx, s, tokenFields, `SELECT `+tokenColumns+` FROM tokens WHERE hash = $1`, hash[:])
	return t, doing(err, "token")
}

func (s *Store) Tokens(ctx context.Context, user keyserver.UserID, workspace keyserver.WorkspaceID) ([]keyserver.Token, error) {
	ts, err := list(ctx, s, tokenFields, `SELECT `+tokenColumns+` FROM tokens
		WHERE user_id = $1 AND workspace_id = $2 ORDER BY created_at NULLS FIRST, id`, blob(user), blob(workspace))
	return ts, doing(err, "tokens of user %s", user)
}

func (s *Store) RevokeToken(ctx context.Context, id keyserver.TokenID, e keyserver.Event) error {
	args := []any{blob(id), micros(e.At)}
	err := s.change(ctx, e, func(tx *tx) error {
		if _, err := tx.exec(`UPDATE users SET revision = revision + 1 WHERE id = (
			SELECT user_id FROM tokens WHERE id = $1 AND workspace_id <> x'' AND revoked_at IS NULL)`, args[0]); err != nil {
			return err
		}
		return tx.execOne(`UPDATE tokens SET revoked_at = COALESCE(revoked_at, $2) WHERE id = $1`, args...)
	})
	return doing(err, "revoke token %s", id)
}
