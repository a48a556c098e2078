package workspace

import (
	"math/rand/v2"
	"time"
)

// A retry is a timer for what is tried again, with waits that double. Its C is
// ready when it is time.
type retry struct {
	C           <-chan time.Time
	least, most time.Duration
	timer       *time.Timer
	tries       int
}

func newRetry(least, most time.Duration) *retry {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &retry{C: t.C, least: least, most: most, timer: t}
}

// again sets the timer after one more failure.
func (r *retry) again() {
	r.timer.Reset(backoff(r.tries, r.least, r.most))
	r.tries++
}

// done stops the timer: there is nothing to try.
func (r *retry) done() {
	r.timer.Stop()
	r.tries = 0
}

// backoff is how long to wait before try n, from 0: least, doubled n times, most
// at most, and of that a random part between half and all, lest many who failed
// together come back together.
func backoff(n int, least, most time.Duration) time.Duration {
	d := most
	if n < 30 && least<<n < most {
		d = least << n
	}
	return d/2 + rand.N(d/2+1)
}
