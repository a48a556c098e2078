package workspace

import (
	"slices"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace/secretfile"
)

// deliver writes the files of the current snapshot. What could not be done is
// tried again without a change at the server: a file that the user had there may
// have been moved away. Without a snapshot, what could not be removed when the
// server refused the workspace is removed.
func (s *secretSync) deliver() {
	if s.current == nil {
		s.retryFiles(s.removeAll())
		return
	}
	var items []api.DeliveryItem
	for _, item := range s.plan.items {
		items = append(items, presentable(item))
	}
	again := false
	results := s.files.Deliver(s.current.contents(s.plan))
	s.warn("the file of a secret is not as it should be", results)
	for _, r := range results {
		again = again || r.State != api.Delivered
		items = append(items, presentable(api.DeliveryItem{
			Secret: r.Secret, Target: api.FileTarget, Where: r.Path, Version: r.Version, State: r.State, Detail: r.Detail,
		}))
	}
	s.mu.Lock()
	s.items = items
	s.mu.Unlock()
	s.retryFiles(again)
}

// presentable is an item as it can be reported and shown, whatever the server
// wanted or the system has said.
func presentable(item api.DeliveryItem) api.DeliveryItem {
	item.Where = api.OneLine(item.Where, api.MaxFilePath)
	item.Detail = api.OneLine(item.Detail, api.MaxDetail)
	return item
}

func (s *secretSync) retryFiles(again bool) {
	if again {
		s.delivering.again()
	} else {
		s.delivering.done()
	}
}

// warn logs which files are not as they should be, and what has not been said of
// them the last time: one that somebody has changed may stay so for days.
func (s *secretSync) warn(message string, results []secretfile.Result) {
	warned := map[string]string{}
	for _, r := range results {
		if r.State == api.Delivered {
			continue
		}
		file, what := r.Secret+" "+r.Path, message+" "+string(r.State)+" "+r.Detail
		warned[file] = what
		if s.warned[file] != what {
			s.log.Warn(message, "secret", r.Secret, "path", r.Path, "state", string(r.State), "detail", r.Detail)
		}
	}
	s.warned = warned
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
	// First what programs are given: who sees a file go may ask for the rest. Who waits
	// for a change is told when all is gone.
	s.mu.Lock()
	old := s.current
	s.current, s.plan, s.items = nil, plan{}, nil
	s.link.refusal, s.link.behind = err, true
	closeErr := old.close()
	s.mu.Unlock()
	if closeErr != nil {
		s.log.Warn("memory of secrets was not given back", "err", closeErr)
	}
	again := s.removeAll()
	if old != nil {
		s.mu.Lock()
		s.advance()
		s.mu.Unlock()
	}
	s.reported = api.DeliveryReport{}
	s.delivering.done()
	s.retryFiles(again)
	s.reporting.done()
	s.collecting.Reset(collectAfter)
	s.refused(err)
}

// removeAll removes files and the cache. It reports whether something is left
// that may be gone the next time: not what the user has changed.
func (s *secretSync) removeAll() (again bool) {
	again = s.removeFiles()
	if err := s.cache.remove(); err != nil {
		s.log.Warn("the cached secrets are still there", "err", err)
		again = true
	}
	return again
}

// removeFiles is removeAll for files.
func (s *secretSync) removeFiles() (again bool) {
	results := s.files.Remove()
	s.warn("the file of a secret stays", results)
	return slices.ContainsFunc(results, func(r secretfile.Result) bool { return r.State != api.Delivered && r.State != api.Changed })
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
