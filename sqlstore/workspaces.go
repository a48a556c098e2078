package sqlstore

import (
	"context"
	"fmt"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

const workspaceColumns = `id, user_id, name, version, created_at, labels, refuse_secrets, requirements, key_mode, host_key`

const selectWorkspace = `SELECT ` + workspaceColumns + ` FROM workspaces`

func workspaceFields(w *keyserver.Workspace) []any {
	return []any{(*string)(&w.ID), (*string)(&w.UserID), &w.Name, &w.Version, moment{&w.CreatedAt},
		scanTexts(&w.Labels), &w.RefuseSecrets, scanRequirements(&w.Requirements), (*string)(&w.KeyMode), bytesOrNil{&w.HostKey}}
}

func (s *Store) CreateWorkspace(ctx context.Context, w keyserver.Workspace, t keyserver.Token, e keyserver.Event) error {
	user, token := blob(w.UserID), tokenArgs(t)
	workspace := []any{blob(w.ID), user, blob(w.Name), w.Version, micros(w.CreatedAt), texts(w.Labels), flag(w.RefuseSecrets), requirements(w.Requirements), blob(w.KeyMode), []byte{}}
	err := s.change(ctx, e, func(tx *tx) error {
		if _, err := tx.exec(`INSERT INTO workspaces (`+workspaceColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`, workspace...); err != nil {
			return err
		}
		if _, err := tx.exec(insertToken, token...); err != nil {
			return err
		}
		return tx.revise(user)
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

func (s *Store) UpdateWorkspace(ctx context.Context, w keyserver.Workspace, e keyserver.Event) error {
	id := blob(w.ID)
	args := []any{id, w.Version, texts(w.Labels), flag(w.RefuseSecrets), requirements(w.Requirements), blob(w.KeyMode)}
	err := s.change(ctx, e, func(tx *tx) error {
		var user []byte
		var version int64
		if err := tx.row(`SELECT user_id, version FROM workspaces WHERE id = $1`, []any{id}, &user, &version); err != nil {
			return err
		}
		if version != w.Version {
			return fmt.Errorf("its version is %d: %w", version, api.ErrConflict)
		}
		if err := tx.execOne(`UPDATE workspaces SET labels = $3, refuse_secrets = $4, requirements = $5, key_mode = $6, version = version + 1
			WHERE id = $1 AND version = $2`, args...); err != nil {
			return err
		}
		return tx.revise(user)
	})
	return doing(err, "update workspace %s, version %d", w.ID, w.Version)
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
			WHERE user_id = $1 AND workspace_id = $2`, user, workspace, at); err != nil {
			return err
		}
		if err := tx.execOne(`DELETE FROM workspaces WHERE id = $1`, workspace); err != nil {
			return err
		}
		return tx.revise(user)
	})
	return doing(err, "delete workspace %s", id)
}
