package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"runtime"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/sqlite/*.sql
var sqliteMigrations embed.FS

// applicationID marks our databases, see the first migration and the list of
// known ones in SQLite's magic.txt.
const applicationID = 0x4C61746B

// sqliteDialect says how SQLite is spoken. BEGIN IMMEDIATE takes the write
// lock at once: a transaction that began by reading could not get it later if
// another process had written in between (SQLITE_BUSY_SNAPSHOT).
func sqliteDialect() (dialect, error) {
	migrations, err := fs.Sub(sqliteMigrations, "migrations/sqlite")
	return dialect{
		begin:      []string{"BEGIN IMMEDIATE"},
		violation:  sqliteViolation,
		goose:      goose.DialectSQLite3,
		migrations: migrations,
	}, err
}

func sqliteViolation(err error) violation {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return noViolation
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return notUnique
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return noParent
	}
	return noViolation
}

func openSQLite(ctx context.Context, path string) (_ *Store, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	d, err := sqliteDialect()
	if err != nil {
		return nil, err
	}
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := createFile(path); err != nil {
		return nil, err
	}

	// fdatasync instead of fsync: it leaves out the file's times and nothing
	// else, and halves the cost of a commit. For the whole process, but every
	// database in it is ours. It is an error only where there is no fdatasync.
	_, _ = sqlite.Fdatasync(true)

	writers, err := openPool(path, "synchronous(FULL)", "foreign_keys(1)", "secure_delete(1)")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			writers.Close()
		}
	}()
	writers.SetMaxOpenConns(1)
	if err := prepareFile(ctx, writers); err != nil {
		return nil, err
	}
	if err := d.migrate(ctx, writers); err != nil {
		return nil, err
	}

	readers, err := openPool(path, "query_only(1)")
	if err != nil {
		return nil, err
	}
	// Reading costs processor time and little else: more connections than can
	// run would only take memory.
	n := max(4, runtime.GOMAXPROCS(0))
	readers.SetMaxOpenConns(n)
	readers.SetMaxIdleConns(n)
	return newStore(d, writers, readers), nil
}

// openPool prepares connections to a file; it makes none yet.
func openPool(path string, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"_pragma": {
		// How long to wait for another process's transaction. Ours take
		// milliseconds.
		"busy_timeout(10000)",
		// macOS: fsync alone does not reach the disk. No effect elsewhere.
		"fullfsync(1)", "checkpoint_fullfsync(1)",
		// Not in /tmp: what is stored stays in its directory, and a server may write
		// to no other.
		"temp_store(MEMORY)",
	}}
	q["_pragma"] = append(q["_pragma"], pragmas...)
	u := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}
	return sql.Open("sqlite", u.String())
}

// prepareFile refuses a file that is not ours before anything is written to
// it, and turns on the write-ahead log, in which readers and the writer do not
// wait for each other.
func prepareFile(ctx context.Context, db *sql.DB) error {
	var id, foreign int64
	err := db.QueryRowContext(ctx, `SELECT application_id, (SELECT COUNT(*) FROM sqlite_schema
		WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> 'goose_db_version')
		FROM pragma_application_id`).Scan(&id, &foreign)
	if err != nil {
		return err
	}
	if id != applicationID && foreign != 0 {
		return errors.New("it is a database of another program")
	}
	var mode string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return fmt.Errorf("turn on the write-ahead log: %w", err)
	}
	if mode != "wal" {
		return fmt.Errorf("this file system cannot hold a write-ahead log (the journal mode stays %q)", mode)
	}
	// The first transaction makes the log and its index: what keeps it from
	// being made is clearer here than behind the first migration.
	if _, err := db.ExecContext(ctx, "BEGIN IMMEDIATE; ROLLBACK"); err != nil {
		var e *sqlite.Error
		if errors.As(err, &e) && e.Code() == sqlite3.SQLITE_IOERR_SHMSIZE {
			err = fmt.Errorf("there is no room for its index; is the disk full? %w", err)
		}
		return fmt.Errorf("begin a write-ahead log: %w", err)
	}
	return nil
}
