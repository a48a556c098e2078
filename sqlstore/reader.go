package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/latchkey/latchkey/keyserver/api"
)

// Reads look at their context before they begin and between rows, and run
// without it: database/sql and the driver would start a goroutine each to watch
// it, which costs more than finding a record.

// one reads the record that a query finds: api.ErrNotFound if it finds none.
// fields gives the places for its columns.
func one[T any](ctx context.Context, s *Store, fields func(*T) []any, query string, args ...any) (T, error) {
	var v, zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	stmt, err := s.read.prepare(query)
	if err != nil {
		return zero, unavailable(err)
	}
	if err := scanRow(stmt, args, fields(&v)); err != nil {
		return zero, err
	}
	return v, nil
}

// scanRow runs a query for one row: api.ErrNotFound if there is none.
func scanRow(stmt *sql.Stmt, args, dest []any) error {
	err := stmt.QueryRowContext(context.Background(), args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return api.ErrNotFound
	}
	return unavailable(err)
}

// list reads all records that a query finds.
func list[T any](ctx context.Context, s *Store, fields func(*T) []any, query string, args ...any) ([]T, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stmt, err := s.read.prepare(query)
	if err != nil {
		return nil, unavailable(err)
	}
	rows, err := stmt.QueryContext(context.Background(), args...)
	if err != nil {
		return nil, unavailable(err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var v T
		if err := rows.Scan(fields(&v)...); err != nil {
			return nil, unavailable(err)
		}
		all = append(all, v)
	}
	if err := rows.Err(); err != nil {
		return nil, unavailable(err)
	}
	return all, nil
}
