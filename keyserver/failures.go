package keyserver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Each refused login is one durable record, so someone without any token could
// fill the disk. What one address may have recorded is bounded; beyond it, only
// the number is kept, and recorded when the time is over.
const (
	failuresRecorded = 60 // from one address, in a window
	failureWindow    = time.Minute
	failureAddresses = 4096 // counted one by one; all others share one count
)

// otherAddresses is the name of the count that the others share.
const otherAddresses = "other addresses"

// failures counts refused logins by address.
type failures struct {
	mu      sync.Mutex
	windows map[string]*failureCount
	due     time.Time // no window ends before
}

type failureCount struct {
	ends    time.Time
	n       int64
	counted int64 // of n: not recorded
}

func newFailures() *failures { return &failures{windows: map[string]*failureCount{}} }

// add counts a failure, and returns how many there are in the address's window
// and when that ends.
func (f *failures) add(address string, now time.Time) (n int64, ends time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := network(address)
	w := f.windows[key]
	if w == nil && len(f.windows) >= failureAddresses {
		key = otherAddresses
		w = f.windows[key]
	}
	if w == nil {
		w = &failureCount{ends: now.Add(failureWindow)}
		f.windows[key] = w
		if f.due.IsZero() || w.ends.Before(f.due) {
			f.due = w.ends
		}
	}
	w.n++
	if w.n > failuresRecorded+1 {
		w.counted++
	}
	return w.n, w.ends
}

// ended takes out the windows that have ended, and returns how many failures in
// them were not recorded.
func (f *failures) ended(now time.Time) map[string]failureCount {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.due.IsZero() || now.Before(f.due) {
		return nil
	}
	f.due = time.Time{}
	var counted map[string]failureCount
	for key, w := range f.windows {
		switch {
		case now.Before(w.ends):
			if f.due.IsZero() || w.ends.Before(f.due) {
				f.due = w.ends
			}
			continue
		case w.counted > 0:
			if counted == nil {
				counted = map[string]failureCount{}
			}
			counted[key] = *w
		}
		delete(f.windows, key)
	}
	return counted
}

// putBack keeps what could not be recorded for the next try.
func (f *failures) putBack(key string, c failureCount) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.windows[key]; w != nil {
		w.counted += c.counted
	} else {
		f.windows[key] = &c
	}
	f.due = c.ends
}

// network is what is counted as one address: of IPv6, the /64 that one
// customer has.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Is4() {
		return address
	}
	p, err := a.Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}

// recordCounted records the failures that were only counted, in the windows
// that have ended.
func (s *Server) recordCounted(ctx context.Context) error {
	return s.recordCountedAt(ctx, s.now())
}

func (s *Server) recordCountedAt(ctx context.Context, now time.Time) error {
	var errs []error
	for key, c := range s.failures.ended(now) {
		e := Event{
			At: s.now(), Actor: "unknown", Action: "login", Remote: key, Result: Denied,
			Detail: fmt.Sprintf("%d further requests until %s were refused and only counted", c.counted, c.ends.Format(time.RFC3339)),
		}
		if err := s.record(ctx, e); err != nil {
			s.failures.putBack(key, c)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Close records what of refused logins was counted but not recorded yet. The
// handler must have ended. The store stays open: it is the caller's.
func (s *Server) Close(ctx context.Context) error {
	return s.recordCountedAt(ctx, s.now().Add(failureWindow))
}
