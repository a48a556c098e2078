package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/keyserver"
)

// maxBatch bounds how many changes share a commit, and so how long the first
// of them waits for the last.
const maxBatch = 256

// A change is one change and its event, on their way to the writer.
type change struct {
	ctx   context.Context // of the caller: one that has ended is not begun
	apply func(*tx) error // sees nothing that the caller may change, who may have left
	event keyserver.Event
	done  chan error // buffered: the caller may have left
}

// change applies a change, and stores the event that records it, in one
// commit. On return without error both are durable.
func (s *Store) change(ctx context.Context, e keyserver.Event, apply func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.changing.Done()
	c := &change{ctx: ctx, apply: apply, event: e, done: make(chan error, 1)}
	select {
	case s.writer.changes <- c:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A writer is the one goroutine that changes the database, and its connection.
type writer struct {
	dialect dialect
	db      *sql.DB
	changes chan *change
	stopped chan struct{}

	// Of the goroutine alone:
	conn *sql.Conn // nil before the first change, and after one that broke it
	stmt *statements
}

func startWriter(d dialect, db *sql.DB) *writer {
	w := &writer{dialect: d, db: db, changes: make(chan *change), stopped: make(chan struct{})}
	go w.run()
	return w
}

// close ends the goroutine when it has answered all it took. No change may be
// sent from then on.
func (w *writer) close() error {
	close(w.changes)
	<-w.stopped
	return w.db.Close()
}

func (w *writer) run() {
	defer close(w.stopped)
	defer w.disconnect()
	for c := range w.changes {
		w.commit(w.gather(c))
	}
}

// gather adds to a change all that wait to be sent at this moment. While one
// batch commits the next one comes together behind it.
func (w *writer) gather(c *change) []*change {
	batch := []*change{c}
	for len(batch) < maxBatch {
		select {
		case c, ok := <-w.changes:
			if !ok {
				return batch
			}
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// commit stores a batch and answers its callers: each with its own error, or
// all of those whose change went well with the one that kept the batch from
// being stored.
//
// Hardly ever is a change refused, so the first try does without savepoints,
// which would be half of its statements; a batch in which one is refused is
// taken back and begun again with them.
func (w *writer) commit(batch []*change) {
	results := make([]error, len(batch))
	err := w.transact(batch, results, (*tx).apply)
	if err == errRefused && len(batch) > 1 {
		clear(results)
		err = w.transact(batch, results, (*tx).applyAlone)
	}
	for i, c := range batch {
		if results[i] == nil {
			results[i] = err
		}
		c.done <- results[i]
	}
}

// errRefused ends a transaction in which a change was refused and nothing
// keeps it from the others.
var errRefused = errors.New("a change was refused")

// transact applies a batch in one transaction. It takes no context: the
// transaction belongs to all who share it.
func (w *writer) transact(batch []*change, results []error, apply func(*tx, *change) (refused, err error)) (err error) {
	if err := w.connect(); err != nil {
		return unavailable(fmt.Errorf("connect: %w", err))
	}
	t := &tx{dialect: w.dialect, stmt: w.stmt}
	defer func() {
		if err == nil {
			return
		}
		// Where there is no transaction this is an error: SQLite may have
		// rolled back on its own, or never begun. A new connection has none.
		if _, e := t.exec("ROLLBACK"); e != nil {
			w.disconnect()
		}
	}()
	for _, s := range w.dialect.begin {
		if _, err := t.exec(s); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
	}
	if t.last, err = lastLink(t); err != nil {
		return err
	}
	for i, c := range batch {
		if results[i] = c.ctx.Err(); results[i] != nil {
			continue
		}
		if results[i], err = apply(t, c); err != nil {
			return err
		}
	}
	if _, err := t.exec("COMMIT"); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// connect makes sure that there is a connection.
func (w *writer) connect() error {
	if w.conn != nil {
		return nil
	}
	conn, err := w.db.Conn(context.Background())
	if err != nil {
		return err
	}
	w.conn, w.stmt = conn, newStatements(conn)
	return nil
}

// disconnect gives the connection up, so that the next change gets a new one.
// Its errors say nothing that is of use: it is called for a connection that
// is broken or no longer needed.
func (w *writer) disconnect() {
	if w.conn == nil {
		return
	}
	_ = w.stmt.close()
	_ = w.conn.Raw(func(any) error { return driver.ErrBadConn }) // out of the pool
	_ = w.conn.Close()
	w.conn, w.stmt = nil, nil
}
