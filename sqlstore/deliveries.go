package sqlstore

import (
	"context"

	"github.com/latchkey/latchkey/keyserver"
)

func deliveryFields(d *keyserver.Delivery) []any {
	return []any{(*string)(&d.WorkspaceID), &d.Revision, moment{&d.ReportedAt}, scanItems(&d.Items)}
}

func (s *Store) ReportDelivery(ctx context.Context, d keyserver.Delivery, e keyserver.Event) error {
	args := []any{blob(d.WorkspaceID), d.Revision, micros(d.ReportedAt), items(d.Items)}
	err := s.change(ctx, e, func(tx *tx) error {
		_, err := tx.exec(`INSERT INTO deliveries (workspace_id, revision, reported_at, items) VALUES ($1, $2, $3, $4)
			ON CONFLICT (workspace_id) DO UPDATE
			SET revision = excluded.revision, reported_at = excluded.reported_at, items = excluded.items`, args...)
		return err
	})
	return doing(err, "store the report of workspace %s", d.WorkspaceID)
}

func (s *Store) Deliveries(ctx context.Context, user keyserver.UserID) ([]keyserver.Delivery, error) {
	all, err := list(ctx, s, deliveryFields, `SELECT d.workspace_id, d.revision, d.reported_at, d.items
		FROM workspaces w JOIN deliveries d ON d.workspace_id = w.id
		WHERE w.user_id = $1 ORDER BY d.workspace_id`, blob(user))
	return all, doing(err, "reports of the workspaces of user %s", user)
}
