package workspace

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey/latchkey/keyserver/api"
)

// deliver writes the files of the current snapshot. What could not be done is
// tried again without a change at the server: a file that the user had there may
// have been moved away.
func (s *secretSync) deliver() {
	if s.current == nil {
		s.delivering.done()
		return
	}
	items := slices.Clone(s.plan.items)
	again := false
	for _, r := range s.files.Deliver(s.current.contents(s.plan)) {
		if r.State != api.Delivered {
			again = true
			s.log.Warn("the file of a secret is not as it should be", "secret", r.Secret, "path", r.Path, "state", string(r.State), "detail", r.Detail)
		}
		items = append(items, api.DeliveryItem{
			Secret: r.Secret, Target: api.FileTarget, Where: r.Path, Version: r.Version, State: r.State, Detail: r.Detail,
		})
	}
	s.mu.Lock()
	s.items = items
	s.mu.Unlock()
	if again {
		s.delivering.again()
	} else {
		s.delivering.done()
	}
}

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
	err := s.server.ReportDelivery(ctx, r)
	switch {
	case isRefusal(err):
		if s.reporting.tries == 0 {
			s.doubt(fmt.Errorf("reporting the delivery of secrets: %w", err))
		}
		s.reporting.again()
		return
	case errors.Is(err, api.ErrNotFound), errors.Is(err, api.ErrInvalid), errors.Is(err, api.ErrTooLarge):
		// The same report would end the same way.
		s.log.Warn("the server does not take the report of what became of secrets", "err", err)
	case err != nil:
		s.reporting.again()
		return
	}
	s.reporting.done()
	s.reported = r
}

// drop removes what there is of secrets, here and in files, because the server
// refuses the workspace. It is asked again from time to time: a user that was
// disabled may be enabled.
func (s *secretSync) drop(err error) {
	s.fetching.done()
	s.appealing.again()
	if s.current == nil && s.link.refusal != nil {
		return // it has said so before
	}
	s.log.Warn("the server refuses this workspace: its keys and secrets are removed", "err", err)
	s.removeFiles()
	if err := s.cache.remove(); err != nil {
		s.log.Warn("the cached secrets are still there", "err", err)
	}
	s.mu.Lock()
	if s.current != nil {
		s.advance()
	}
	old := s.current
	s.current, s.plan, s.items = nil, plan{}, nil
	s.link.refusal, s.link.behind = err, true
	closeErr := old.close()
	s.mu.Unlock()
	if closeErr != nil {
		s.log.Warn("memory of secrets was not given back", "err", closeErr)
	}
	s.reported = api.DeliveryReport{}
	s.delivering.done()
	s.reporting.done()
	s.collecting.Reset(collectAfter)
	s.refused(err)
}

func (s *secretSync) removeFiles() {
	for _, r := range s.files.Remove() {
		if r.State != api.Delivered {
			s.log.Warn("the file of a secret stays", "secret", r.Secret, "path", r.Path, "state", string(r.State), "detail", r.Detail)
		}
	}
}

// stop removes the files and wipes the values, after run has returned. The cache
// stays: it is for the next start.
func (s *secretSync) stop() {
	s.removeFiles()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.current.close(); err != nil {
		s.log.Warn("memory of secrets was not given back", "err", err)
	}
	s.current, s.plan, s.items = nil, plan{}, nil
	s.collect()
}
