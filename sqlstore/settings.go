package sqlstore

import (
	"context"

	"github.com/latchkey/latchkey/keyserver"
)

// masterKeyCheck is the name of the setting that Init stores.
const masterKeyCheck = "master_key_check"

func (s *Store) MasterKeyCheck(ctx context.Context) ([]byte, error) {
	check, err := one(ctx, s, func(v *[]byte) []any { return []any{v} }, `SELECT value FROM settings WHERE name = $1`, blob(masterKeyCheck))
	return check, doing(err, "check value of the master key")
}

func (s *Store) Init(ctx context.Context, check []byte, e keyserver.Event) error {
	args := []any{blob(masterKeyCheck), blob(check)}
	err := s.change(ctx, e, func(tx *tx) error {
		_, err := tx.exec(`INSERT INTO settings (name, value) VALUES ($1, $2)`, args...)
		return err
	})
	return doing(err, "store the check value of the master key")
}
