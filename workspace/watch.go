package workspace

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

const (
	watchLeast = 200 * time.Millisecond // before the first try to reach the server again
	watchMost  = 30 * time.Second       // before any later one
	pollEvery  = 30 * time.Second       // a server that can't be watched

	// A watch that lasted this long had begun well: the next wait is short again.
	watchedWell = 5 * time.Second
)

// errStopped is why a workspace is refused that the server has stopped.
var errStopped = &api.Error{Kind: api.ErrUnauthenticated, Message: "the server has ended this workspace, or its token"}

// A watchServer is what watching asks of an [api.Client].
type watchServer interface {
	Watch(ctx context.Context, after int64, handle func(api.WatchEvent) error) error
}

// A listener hears what the server tells.
type listener interface {
	revision() int64           // that is known already; 0: none is
	told(api.WatchEvent) error // errStopped if it was told that; see watch
	unwatched(error)           // a watch was not to be had, or has ended
}

// watch has l follow what the server tells, until ctx ends. That a watch has begun is told
// with the revision that was known: the server tells of it if there is another one by then.
func watch(ctx context.Context, server watchServer, l listener) {
	for tries := 0; ; tries++ {
		began := time.Now()
		known := l.revision()
		err := server.Watch(ctx, known, func(e api.WatchEvent) error {
			if e.Kind == "" {
				e.Revision = known
			}
			return l.told(e)
		})
		if ctx.Err() != nil {
			return
		}
		l.unwatched(err)
		wait := backoff(tries, watchLeast, watchMost)
		switch {
		case isRefusal(err):
		case errors.Is(err, api.ErrNotFound):
			wait = pollEvery
		case time.Since(began) >= watchedWell:
			tries = 0
			wait = backoff(0, watchLeast, watchMost)
		}
		if !pause(ctx, wait) {
			return
		}
	}
}
