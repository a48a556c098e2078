package keyserver

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

const (
	auditPage    = 100  // events in an answer, unless asked otherwise
	maxAuditPage = 1000 // at most
	recordTime   = 10 * time.Second
)

// A denial is a refusal that is recorded before it is answered.
type denial struct{ err error }

func (d *denial) Error() string { return d.err.Error() }
func (d *denial) Unwrap() error { return d.err }

// record stores an event that must be there before the answer is, also when
// the caller has gone: nobody avoids the audit log by hanging up.
func (s *Server) record(ctx context.Context, e Event) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	if err := s.store.Record(ctx, e); err != nil {
		return fmt.Errorf("recording %s: %w: %w: %w", e.Action, err, errAudit, api.ErrUnavailable)
	}
	return nil
}

func (s *Server) listAudit(ctx context.Context, c *call, _ none) ([]api.Event, error) {
	var p problems
	q := c.http.URL.Query()
	after := queryNumber(&p, q, "after", 0, 0, 1<<62)
	limit := queryNumber(&p, q, "limit", auditPage, 1, maxAuditPage)
	if err := p.err("the audit log can't be listed"); err != nil {
		return nil, err
	}
	events, err := s.store.Events(ctx, after, int(limit))
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	out := make([]api.Event, len(events))
	for i, e := range events {
		out[i] = e.Wire()
	}
	return out, nil
}

func queryNumber(p *problems, q url.Values, name string, byDefault, lowest, highest int64) int64 {
	text := q.Get(name)
	if text == "" {
		return byDefault
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < lowest || n > highest {
		p.add(name, "must be a number from %d to %d", lowest, highest)
	}
	return n
}

// ErrAuditChain is what VerifyAudit ends with where an event was removed,
// inserted or changed.
var ErrAuditChain = errors.New("the audit log was changed")

// VerifyAudit walks the audit log from its first event and checks the chain. It
// returns how many events follow each other; behind the last of these is what
// an ErrAuditChain speaks of. A log whose newest events were cut off is
// shorter, but whole: keep the count and the last hash elsewhere.
func VerifyAudit(ctx context.Context, audit AuditStore) (events int64, err error) {
	var prev Event
	for {
		page, err := audit.Events(ctx, prev.Seq, maxAuditPage)
		if err != nil {
			return prev.Seq, fmt.Errorf("reading the audit log: %w", err)
		}
		if len(page) == 0 {
			return prev.Seq, nil
		}
		for _, e := range page {
			if !e.Follows(prev) {
				return prev.Seq, fmt.Errorf("event %d does not follow event %d: %w", e.Seq, prev.Seq, ErrAuditChain)
			}
			prev = e
		}
	}
}
