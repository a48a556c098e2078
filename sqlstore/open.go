// Package sqlstore is a [keyserver.Store] in an SQL database: today in SQLite,
// in one file that several processes of one machine may have open at once.
//
// One goroutine writes. It takes the changes that wait at a moment, applies
// each with its event, whole or not at all, commits them together and only
// then answers their callers (writer.go), so that the cost of making a commit
// durable is shared. Readers have connections of their own and wait for no
// writer.
//
// What is special to a database is in its [dialect]; the SQL in all other
// files is for SQLite and PostgreSQL alike.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// A Store keeps everything in one database. Open makes it.
type Store struct {
	writer  *writer
	readers *sql.DB
	read    *statements

	closing  sync.RWMutex // held for reading while a change begins
	closed   bool
	changing sync.WaitGroup // changes whose callers have not been answered
	closeErr error
}

var _ keyserver.Store = (*Store)(nil)

// Open opens the SQLite database in the file at path, in a directory that
// exists, and brings its schema up to date. If there is no such file it makes
// one that only its owner may read. Its errors say what is wrong with the
// file: not a database, a newer program's, not writable.
func Open(ctx context.Context, path string) (*Store, error) {
	s, err := openSQLite(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	return s, nil
}

// newStore serves from two pools of one database. It owns them from then on.
func newStore(d dialect, writers, readers *sql.DB) *Store {
	return &Store{
		writer:  startWriter(d, writers),
		readers: readers,
		read:    newStatements(readers),
	}
}

// Close waits for the changes under way, closes the database and releases what
// belongs to it. A second call returns the first one's error. What is asked of
// the store afterwards is api.ErrUnavailable.
func (s *Store) Close() error {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.closed {
		return s.closeErr
	}
	s.closed = true
	s.changing.Wait()
	s.closeErr = errors.Join(s.read.close(), s.readers.Close(), s.writer.close())
	return s.closeErr
}

// begin reports whether the store is open, and keeps it open until the caller
// calls s.changing.Done.
func (s *Store) begin() error {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed {
		return fmt.Errorf("the store is closed: %w", api.ErrUnavailable)
	}
	s.changing.Add(1)
	return nil
}

// doing puts what was being done before an error, and leaves no error alone.
func doing(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
