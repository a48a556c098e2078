package sqlstore

import (
	"context"

	"github.com/latchkey/latchkey/keyserver"
)

const selectWorkspace = `SELECT id, user_id, name, created_at FROM workspaces`

func workspaceFields(w *keyserver.Workspace) []any {
	return []any{(*string)(&w.ID), (*string)(&w.UserID), &w.Name, moment{&w.CreatedAt}}
}

func (s *Store) CreateWorkspace(ctx context.Context, w keyserver.Workspace, t keyserver.Token, e keyserver.Event) error {
	workspace := []any{blob(w.ID), blob(w.UserID), blob(w.Name), micros(w.CreatedAt)}
	token := tokenArgs(t)
	err := s.change(ctx, e, func(tx *tx) error {
		if _, err := tx.exec(`INSERT INTO workspaces (id, user_id, name, created_at) VALUES ($1, $2, $3, $4)`, workspace...); err != nil {
			return err
		}
		_, err := tx.exec(insertToken, token...)
		return err
	})
	return doing(err, "create workspace %q of user %s", w.Name, w.UserID)
}

func (s *Store) Workspace(ctx context.Context, id keyserver.WorkspaceID) (keyserver.Workspace, error) {
	w, err := one(ctx, s, workspaceFields, selectWorkspace+` WHERE id = $1`, blob(id))
	return w, doing(err, "workspace %s", id)
}

func (s *Store) Workspaces(ctx context.Context, user keyserver.UserID) ([]keyserver.Workspace, error) {
	ws, err := list(ctx, s, workspaceFields, selectWorkspace+` WHERE user_id = $1 ORDER BY name`, blob(user))
	return ws, doing(err, "workspaces of user %s", user)
}

func (s *Store) DeleteWorkspace(ctx context.Context, id keyserver.WorkspaceID, e keyserver.Event) error {
	workspace, at := blob(id), micros(e.At)
	err := s.change(ctx, e, func(tx *tx) error {
		var user []byte
		if err := tx.row(`SELECT user_id FROM workspaces WHERE id = $1`, []any{workspace}, &user); err != nil {
			return err
		}
		// Named by the user too, for the index.
		if _, err := tx.exec(`UPDATE tokens SET revoked_at = COALESCE(revoked_at, $3)
			WHERE user_id = $1 AND workspace_id = $2`, blob(user), workspace, at); err != nil {
			return err
		}
		return tx.execOne(`DELETE FROM workspaces WHERE id = $1`, workspace)
	})
	return doing(err, "delete workspace %s", id)
}
