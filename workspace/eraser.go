package workspace

import (
	"sync"
	"time"
)

// erasePause is for how long a key must not have signed before what its
// signatures have left on the heap is erased. git signs once or twice for a
// command, and waits for the network in between.
const erasePause = 500 * time.Millisecond

// An eraser erases what signers leave on the heap, soon after they have signed:
// the garbage collector alone may come by hours later, if nobody asks for
// anything more. Until then a signer's key may stay expanded: the same bytes lie
// about as garbage anyway, a copy for each signature, and making one copy is
// much faster than making many.
type eraser struct {
	pause   time.Duration // erasePause, but for tests
	collect func()        // harden.Collect, but for tests

	mu    sync.Mutex
	timer *time.Timer           // nil: there is nothing to erase
	used  map[*signer]time.Time // since when they rest; the zero time if they are being erased
}

func newEraser(collect func()) *eraser {
	return &eraser{pause: erasePause, collect: collect, used: make(map[*signer]time.Time)}
}

// note says that a signer has just begun to use its key, or has just done so.
func (e *eraser) note(s *signer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.used[s] = time.Now()
	if e.timer == nil {
		e.timer = time.AfterFunc(e.pause, e.erase)
	}
}

// forget says that a signer is closed: who closes it has its leavings erased.
func (e *eraser) forget(s *signer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.used, s)
}

// readable is how many keys have left something on the heap that is not erased.
func (e *eraser) readable() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.used)
}

// erase erases the keys that have rested for long enough, and comes again for
// the others.
func (e *eraser) erase() {
	e.mu.Lock()
	now := time.Now()
	var resting []*signer
	for s, since := range e.used {
		if now.Sub(since) >= e.pause {
			resting = append(resting, s)
			e.used[s] = time.Time{}
			s.expanded.Store(nil)
		}
	}
	e.mu.Unlock()
	if len(resting) > 0 {
		e.collect()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range resting {
		if e.used[s].IsZero() { // else it has signed meanwhile
			delete(e.used, s)
		}
	}
	if e.timer = nil; len(e.used) > 0 {
		e.timer = time.AfterFunc(e.pause, e.erase)
	}
}
