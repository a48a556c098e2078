package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/latchkey/latchkey/keyserver/api"
)

// one reads the record that a query finds: api.ErrNotFound if it finds none.
// fields gives the places for its columns.
func one[T any](ctx context.Context, s *Store, fields func(*T) []any, query string, args ...any) (T, error) {
	var v, zero T
	stmt, err := s.read.prepare(query)
	if err != nil {
		return zero, readError(ctx, err)
	}
	if err := stmt.QueryRowContext(ctx, args...).Scan(fields(&v)...); err != nil {
		return zero, readError(ctx, err)
	}
	return v, nil
}

// list reads all records that a query finds.
func list[T any](ctx context.Context, s *Store, fields func(*T) []any, query string, args ...any) ([]T, error) {
	stmt, err := s.read.prepare(query)
	if err != nil {
		return nil, readError(ctx, err)
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return nil, readError(ctx, err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var v T
		if err := rows.Scan(fields(&v)...); err != nil {
			return nil, readError(ctx, err)
		}
		all = append(all, v)
	}
	if err := rows.Err(); err != nil {
		return nil, readError(ctx, err)
	}
	return all, nil
}

// readError gives an error of a query its kind in the contract. A context that
// has ended gives its own, whatever it interrupted.
func readError(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	if errors.Is(err, sql.ErrNoRows) {
		return api.ErrNotFound
	}
	return unavailable(err)
}
