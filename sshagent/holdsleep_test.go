package sshagent

import (
	"testing"
	"time"
	"unsafe"
)

// sleepMachine plays that the machine sleeps for d: the clock on the wall goes on, by
// which alone it is in a bubble what time it is, and timers do not.
func (b *bubble) sleepMachine(d time.Duration) {
	k := b.keyring()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, h := range k.holds {
		h.since, h.ends = h.since.Add(-d), h.ends.Add(-d)
	}
}

// Time in which the machine sleeps is idle time: when it wakes, the key is gone before
// it signs, and soon if nobody asks.
func TestIdleWhileTheMachineSleeps(t *testing.T) {
	const idle = 4 * time.Minute // of which maxAge leaves all
	inBubble(t, idle, func(t *testing.T, b *bubble) {
		sign := func(when string, fetched, closed int) {
			t.Helper()
			if err := b.sign(); err != nil {
				t.Fatal(err)
			}
			b.want(when, fetched, closed)
		}
		sign("after a signature", 1, 0)
		b.sleepMachine(idle - 1)
		sign("after a sleep that leaves some idle time", 1, 0)
		b.sleepMachine(idle)
		sign("after a sleep as long as the idle time", 2, 1)
		b.sleepMachine(idle)
		time.Sleep(time.Minute)
		b.want("a minute after waking", 2, 2)
		sign("after that", 3, 2)
		b.sleepMachine(time.Minute)
		time.Sleep(idle - time.Minute - 1)
		b.want("before the idle time ends, of which a part was slept", 3, 2)
		time.Sleep(1)
		b.want("when it ends", 3, 3)
	})
}

// slept is a time noted before the machine slept for d: against the clock on the wall
// it is so much earlier, and not against the monotonic one.
func slept(t *testing.T, at time.Time, d time.Duration) time.Time {
	t.Helper()
	before := at.Add(-d)
	*(*int64)(unsafe.Add(unsafe.Pointer(&before), unsafe.Sizeof(uint64(0)))) += int64(d) // time.Time.ext
	if wall, monotonic := at.Round(0).Sub(before.Round(0)), at.Sub(before); wall != d || monotonic != 0 {
		t.Fatalf("time.Time is not as this test knows it: %v on the wall, %v monotonic; want %v and 0", wall, monotonic, d)
	}
	return before
}

// A key grows old and idle by whichever clock is faster.
func TestHoldIsOver(t *testing.T) {
	k, now := newKeyring(time.Hour, nil), time.Now()
	earlier := func(d time.Duration) time.Time { return now.Round(0).Add(-d) } // as after the clock was set
	for name, tt := range map[string]struct {
		hold hold
		want bool
	}{
		"young, in use":                {hold{since: now, users: 1}, false},
		"young, for all but a minute":  {hold{since: slept(t, now, maxAge-time.Minute), users: 1}, false},
		"old by the time slept":        {hold{since: slept(t, now, maxAge), users: 1}, true},
		"old":                          {hold{since: now.Add(-maxAge), users: 1}, true},
		"old by the clock on the wall": {hold{since: earlier(maxAge), users: 1}, true},
		"being fetched":                {hold{fetching: true, users: 1}, false},
		"idle, with a minute left":     {hold{since: now, ends: slept(t, now.Add(time.Hour), time.Hour-time.Minute)}, false},
		"idle by the time slept":       {hold{since: now, ends: slept(t, now.Add(time.Hour), time.Hour)}, true},
		"in use after its idle time":   {hold{since: now, ends: now.Add(-time.Hour), users: 1}, false},
	} {
		if got := k.over(&tt.hold); got != tt.want {
			t.Errorf("a key that is %s is over: %t; want %t", name, got, tt.want)
		}
	}
}
