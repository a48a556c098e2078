package workspace

import (
	"math/rand/v2"
	"sync"
	"time"
)

// An alarm goes off at a random moment of a span, lest all who were told something at once
// ask the server at once. Its C is ready then. Any goroutine may set it.
type alarm struct {
	C     <-chan time.Time
	timer *time.Timer

	mu   sync.Mutex
	span time.Duration // 0: it is not set
}

func newAlarm() *alarm {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &alarm{C: t.C, timer: t}
}

// within sets the alarm. One that is set for a span as short stays: many who set it often
// would have it early.
func (a *alarm) within(span time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.span == 0 || span < a.span {
		a.span = span
		a.timer.Reset(rand.N(span))
	}
}

// off has the alarm not go off until it is set again. It comes before the question for
// which it was set: what is told from then on needs another one.
func (a *alarm) off() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.span = 0
	a.timer.Stop()
}
