package workspace

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey/latchkey/keyserver/api"
)

// report tells the server what became of the secrets, unless it knows.
func (s *secretSync) report(ctx context.Context) {
	if s.current == nil || s.current.revision == 0 {
		s.reporting.done()
		return
	}
	r := api.DeliveryReport{Revision: s.current.revision, Items: s.items}
	if r.Items == nil {
		r.Items = []api.DeliveryItem{}
	}
	if r.Revision == s.reported.Revision && slices.Equal(r.Items, s.reported.Items) {
		s.reporting.done()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, secretsTimeout)
	defer cancel()
	switch err := s.send(ctx, r); {
	case errors.Is(err, api.ErrNotFound): // an older server; it would be the next time, too
		s.log.Warn("the server takes no report of what became of secrets", "err", err)
	case err != nil:
		if first := s.reporting.tries == 0; first && isRefusal(err) {
			s.doubt(fmt.Errorf("reporting the delivery of secrets: %w", err))
		} else if first {
			s.log.Warn("the server was not told what became of secrets", "err", err)
		}
		s.reporting.again()
		return
	}
	s.reporting.done()
	s.reported = r
}

// send sends a report, without the items that the server does not take: the
// others shall not be unknown for one of them.
func (s *secretSync) send(ctx context.Context, r api.DeliveryReport) error {
	err := s.server.ReportDelivery(ctx, r)
	var invalid *api.Error
	if !errors.Is(err, api.ErrInvalid) || !errors.As(err, &invalid) {
		return err
	}
	bad := map[int]bool{}
	for _, v := range invalid.Validations {
		var i int
		if n, _ := fmt.Sscanf(v.Field, "items[%d].", &i); n == 1 {
			bad[i] = true
		}
	}
	rest := []api.DeliveryItem{}
	for i, item := range r.Items {
		if !bad[i] {
			rest = append(rest, item)
		}
	}
	if len(rest) == len(r.Items) {
		return err
	}
	s.log.Warn("the server does not take all that became of secrets: it is told the rest", "err", err)
	return s.server.ReportDelivery(ctx, api.DeliveryReport{Revision: r.Revision, Items: rest})
}
