// Package lograte bounds how often a log says what others can have it say as often as
// they like.
package lograte

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// PerMinute is how many lines a Limit lets through in a minute.
const PerMinute = 60

// A Limit is for lines of one kind. Its zero value is ready, and its methods may be
// called by several goroutines at once.
type Limit struct {
	mu     sync.Mutex
	minute time.Time // when it began
	told   int       // in it
	left   int       // out, since the last that was told
}

// Log writes a line, and behind its facts how many were left out before it, if any
// were. It reports whether it did.
func (l *Limit) Log(log *slog.Logger, level slog.Level, message string, facts ...any) bool {
	ctx := context.Background()
	if !log.Enabled(ctx, level) {
		return false
	}
	left, ok := l.next()
	if !ok {
		return false
	}
	if left > 0 {
		facts = append(facts, "left_out_before", left)
	}
	log.Log(ctx, level, message, facts...)
	return true
}

func (l *Limit) next() (left int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.minute) >= time.Minute {
		l.minute, l.told = now, 0
	}
	if l.told == PerMinute {
		l.left++
		return 0, false
	}
	l.told++
	left, l.left = l.left, 0
	return left, true
}
