package workspace

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace/secretfile"
)

const (
	spread         = 100 * time.Millisecond // over which the workspaces of one user ask after a change
	unhurried      = 3 * time.Second        // over which all ask after what every one of them is told
	secretsTimeout = 10 * time.Second       // for one request
	collectAfter   = time.Second            // after a fetch: many changes, one collection
)

// A fileStore writes the files of secrets: a [secretfile.Files].
type fileStore interface {
	Deliver([]secretfile.File) []secretfile.Result
	Remove() []secretfile.Result
}

// A secretSync keeps what a workspace has of its user's secrets as the server
// has it: it fetches, writes files, answers what variables there are, and
// reports. One goroutine, that of run, does it all; others read what mu guards.
type secretSync struct {
	server  secretServer
	files   fileStore
	cache   *secretCache // nil: none
	home    string
	log     *slog.Logger
	refused func(error)          // called when the server has refused the workspace
	heard   func(api.WatchEvent) // called with what the server tells, with a zero one if it may have something to tell
	collect func()               // erases what a fetch has left behind

	wake       chan struct{} // holds one: ask the server
	ended      chan struct{} // closed when nothing changes any more
	fetching   *retry
	appealing  *retry // refused: ask whether that still holds
	delivering *retry
	reporting  *retry
	collecting *time.Timer
	reported   api.DeliveryReport // what the server has accepted last
	scanning   scanSet
	warned     map[string]string // what the log says of files, see warn

	mu         sync.Mutex
	current    *snapshot // nil: none yet, or refused since; closed under mu only
	plan       plan      // of current
	items      []api.DeliveryItem
	generation int64
	changed    chan struct{} // closed, and made anew, with each generation
	link       link
}

func newSecretSync(server secretServer, files fileStore, home string, log *slog.Logger) *secretSync {
	collecting := time.NewTimer(time.Hour)
	collecting.Stop()
	return &secretSync{
		server: server, files: files, home: home, log: log, refused: func(error) {}, heard: func(api.WatchEvent) {}, collect: harden.Collect,
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
		fetching: newRetry(watchLeast, watchMost), appealing: newRetry(time.Second, watchMost),
		delivering: newRetry(5*time.Second, time.Minute), reporting: newRetry(time.Second, time.Minute),
		collecting: collecting,
		// Other than that of an earlier daemon, so that who waits notices.
		generation: time.Now().UnixMicro(), changed: make(chan struct{}),
		link: link{away: time.Now(), behind: true},
	}
}

// start does what must be done before the workspace is ready: it asks the server
// once, or takes what the cache has.
func (s *secretSync) start(ctx context.Context) {
	s.fetch(ctx)
	s.mu.Lock()
	none, refused := s.current == nil, s.link.refusal != nil
	s.mu.Unlock()
	if !none || refused || s.cache == nil {
		return
	}
	cached, err := s.cache.load()
	if err != nil {
		s.log.Warn("the secrets in the cache are not used", "err", err)
		return
	}
	if cached != nil {
		s.log.Info("secrets are from the cache", "as_of", cached.at)
		s.apply(cached)
	}
}

// run follows the server until ctx ends. Files stay then: see stop.
func (s *secretSync) run(ctx context.Context) {
	var watching sync.WaitGroup
	watching.Go(func() { watch(ctx, s.server, s) })
	defer watching.Wait()
	defer close(s.ended)
	confirm, stopConfirming := s.cache.confirmations()
	defer stopConfirming()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			if pause(ctx, rand.N(spread)) {
				s.fetch(ctx)
			}
		case <-s.fetching.C:
			s.fetch(ctx)
		case <-s.appealing.C:
			s.fetch(ctx)
		case <-confirm: // what is in the cache must not grow old while the server is there
			s.fetch(ctx)
		case <-s.delivering.C:
			s.deliver()
			s.report(ctx)
		case <-s.reporting.C:
			s.report(ctx)
		case <-s.collecting.C:
			s.collect()
		}
	}
}

// pause waits, and reports whether ctx lasted.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// ask has the server asked soon.
func (s *secretSync) ask() {
	select {
	case s.wake <- struct{}{}:
	default: // somebody has asked already
	}
}

// doubt has the server asked soon, because it has refused the workspace in
// another answer. What that one said may be over by the time it is heard, so only
// what a fetch says counts.
func (s *secretSync) doubt(err error) {
	s.mu.Lock()
	known := s.link.refusal != nil
	s.mu.Unlock()
	if !known {
		s.log.Info("the server has refused a request of this workspace: it is asked again", "err", err)
	}
	s.ask()
}

// fetch asks the server and makes of its answer what there is.
func (s *secretSync) fetch(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, secretsTimeout)
	defer cancel()
	next, err := fetchSnapshot(ctx, s.server, s.keep)
	switch {
	case isRefusal(err):
		s.drop(err)
		return
	case errors.Is(err, api.ErrNotFound) && s.revision() == 0:
		// An older server knows of no secrets, and has none. One that had some is
		// no older server, whatever has answered in its place.
		next = &snapshot{at: time.Now()}
	case errors.Is(err, context.Canceled):
		return
	case err != nil:
		s.lost(err)
		s.setLink(func(l *link) { l.behind = true })
		s.fetching.again()
		return
	}
	s.fetching.done()
	s.appealing.done()
	s.reached()
	s.apply(next)
	s.report(ctx)
}

// keep puts what was fetched into the cache, if there is one and it is time.
func (s *secretSync) keep(next *snapshot, opened []byte) {
	if s.cache == nil || s.current.same(next) && s.cache.fresh() {
		return
	}
	if err := s.cache.save(opened); err != nil {
		s.log.Warn("the secrets are not in the cache", "err", err)
	}
}

// apply makes a snapshot the current one, files first: who is told of a new
// generation finds them there.
func (s *secretSync) apply(next *snapshot) {
	same := s.current.same(next)
	s.mu.Lock()
	old := s.current
	s.current, s.plan = next, next.plan(s.home)
	s.mu.Unlock()
	s.deliver()
	s.mu.Lock()
	if !same {
		s.advance()
	}
	if old != next {
		if err := old.close(); err != nil {
			s.log.Warn("memory of secrets was not given back", "err", err)
		}
	}
	s.mu.Unlock()
	s.collecting.Reset(collectAfter)
	if !same {
		s.log.Info("secrets delivered", "revision", next.revision, "secrets", len(next.secrets), "variables", len(s.plan.variables), "files", len(s.plan.files), "memory", next.memory())
	}
}

// advance begins the next generation. mu is held.
func (s *secretSync) advance() {
	s.generation++
	go s.scanning.drop() // which may be waiting for mu
	close(s.changed)
	s.changed = make(chan struct{})
}
