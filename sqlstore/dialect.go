package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A dialect is what databases do differently.
type dialect struct {
	// begin starts a transaction in which no other writer, of this process or
	// another one, can be: the end of the chain of events that it reads is the
	// end until it commits.
	begin []string

	// violation names the constraint that a statement's error says was broken.
	violation func(error) violation

	goose      goose.Dialect
	migrations fs.FS
}

// A violation is the kind of constraint that a statement broke.
type violation int

const (
	noViolation violation = iota
	notUnique
	noParent // a foreign key refers to nothing
)

// kind gives an error of a statement its kind in the contract of
// [keyserver.Store].
func (d dialect) kind(err error) error {
	switch {
	case err == nil:
		return nil
	case d.violation(err) == notUnique:
		return api.ErrConflict
	case d.violation(err) == noParent:
		return api.ErrNotFound
	}
	return unavailable(err)
}

// unavailable marks an error that is not the caller's doing.
func unavailable(err error) error {
	if err == nil || errors.Is(err, api.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
}

// migrate brings the schema up to date, each step in a transaction of its own.
// A database in which a newer program has made steps that this one does not
// know is left alone.
func (d dialect) migrate(ctx context.Context, db *sql.DB) error {
	p, err := goose.NewProvider(d.goose, db, d.migrations,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	has, knows, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if has > knows {
		return fmt.Errorf("its schema has version %d, but this program knows only versions up to %d: it was used by a newer Latchkey", has, knows)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring the schema from version %d to %d: %w", has, knows, err)
	}
	return nil
}
