package sqlstore

import (
	"context"
	"errors"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

const eventColumns = `seq, at, actor, actor_id, action, target, target_id, remote, result, detail, facts, hash`

func eventFields(e *keyserver.Event) []any {
	return []any{&e.Seq, moment{&e.At}, &e.Actor, &e.ActorID, &e.Action, &e.Target, (*string)(&e.TargetID), &e.Remote, (*string)(&e.Result), &e.Detail, &e.Facts, digest{&e.Hash}}
}

func insertEvent(tx *tx, e keyserver.Event) error {
	_, err := tx.exec(`INSERT INTO events (`+eventColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		e.Seq, micros(e.At), blob(e.Actor), blob(e.ActorID), blob(e.Action), blob(e.Target), blob(e.TargetID), blob(e.Remote), blob(e.Result), blob(e.Detail), blob(e.Facts), e.Hash[:])
	return err
}

// lastLink is the end of the chain, as much of it as the next event needs: the
// zero event if there is none yet.
func lastLink(tx *tx) (e keyserver.Event, err error) {
	err = tx.row(`SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1`, nil, &e.Seq, digest{&e.Hash})
	if errors.Is(err, api.ErrNotFound) {
		return keyserver.Event{}, nil
	}
	return e, doing(err, "find the last event")
}

func (s *Store) Record(ctx context.Context, e keyserver.Event) error {
	e.By = keyserver.Credential{} // a refusal's may be the reason of the refusal
	err := s.change(ctx, e, func(*tx) error { return nil })
	return doing(err, "record %s", e.Action)
}

func (s *Store) Events(ctx context.Context, after int64, limit int) ([]keyserver.Event, error) {
	events, err := list(ctx, s, eventFields, `SELECT `+eventColumns+` FROM events WHERE seq > $1 ORDER BY seq LIMIT $2`, after, max(limit, 0))
	return events, doing(err, "events after %d", after)
}

func (s *Store) LastEvent(ctx context.Context) (keyserver.Event, error) {
	e, err := one(ctx, s, eventFields, `SELECT `+eventColumns+` FROM events ORDER BY seq DESC LIMIT 1`)
	return e, doing(err, "last event")
}
