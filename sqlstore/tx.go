package sqlstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// A tx is the open transaction of the writer. Its errors have their kind.
type tx struct {
	dialect dialect
	stmt    *statements
	last    keyserver.Event // the end of the chain, as much of it as the next event needs
}

// apply applies one change and stores its event behind the last one. refused
// is the change's own error, err one that ends the transaction.
func (t *tx) apply(c *change) (refused, err error) {
	if err := t.check(c.event.By); err != nil {
		return err, errRefused
	}
	if err := c.apply(t); err != nil {
		return err, errRefused
	}
	e := c.event
	e.Chain(t.last)
	if err := insertEvent(t, e); err != nil {
		return err, errRefused
	}
	t.last = e
	return nil, nil
}

// check refuses a credential that is not what it was.
func (t *tx) check(c keyserver.Credential) error {
	if c == (keyserver.Credential{}) {
		return nil
	}
	var found int
	err := t.row(`SELECT 1 FROM tokens JOIN users ON users.id = tokens.user_id
		WHERE tokens.id = $1 AND tokens.revoked_at IS NULL AND users.version = $2`, []any{blob(c.Token), c.UserVersion}, &found)
	if errors.Is(err, api.ErrNotFound) {
		return api.ErrUnauthenticated
	}
	return err
}

// applyAlone is apply within a savepoint: if the change is refused, what it
// has done is taken back, and the transaction goes on.
func (t *tx) applyAlone(c *change) (refused, err error) {
	if _, err := t.exec("SAVEPOINT change"); err != nil {
		return nil, err
	}
	refused, _ = t.apply(c)
	if refused != nil {
		if _, err := t.exec("ROLLBACK TO SAVEPOINT change"); err != nil {
			return refused, fmt.Errorf("take a change back: %w", err)
		}
	}
	_, err = t.exec("RELEASE SAVEPOINT change")
	return refused, err
}

// exec runs a statement and returns how many rows it changed.
func (t *tx) exec(query string, args ...any) (rows int64, err error) {
	stmt, err := t.stmt.prepare(query)
	if err != nil {
		return 0, unavailable(err)
	}
	res, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, t.dialect.kind(err)
	}
	rows, err = res.RowsAffected()
	return rows, unavailable(err)
}

// execOne runs a statement that is about one record: api.ErrNotFound if it
// changed no row.
func (t *tx) execOne(query string, args ...any) error {
	rows, err := t.exec(query, args...)
	if err == nil && rows == 0 {
		return api.ErrNotFound
	}
	return err
}

// row runs a query for one row: api.ErrNotFound if there is none.
func (t *tx) row(query string, args []any, dest ...any) error {
	stmt, err := t.stmt.prepare(query)
	if err != nil {
		return unavailable(err)
	}
	return scanRow(stmt, args, dest)
}
