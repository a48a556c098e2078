package keyserver

import (
	"context"
	"sync"
)

// userLocks let one request at a time change what a user has many of. The store
// keeps two servers from overwriting each other; this keeps the many writers of
// one user, in one server, from making each other try again for ever.
type userLocks struct {
	mu   sync.Mutex
	held map[UserID]*userLock
}

type userLock struct {
	turn  chan struct{} // holds one element while somebody has the lock
	users int           // who have it or wait for it
}

func newUserLocks() *userLocks { return &userLocks{held: map[UserID]*userLock{}} }

// lock waits for its turn. unlock gives it on.
func (l *userLocks) lock(ctx context.Context, user UserID) (unlock func(), err error) {
	l.mu.Lock()
	u := l.held[user]
	if u == nil {
		u = &userLock{turn: make(chan struct{}, 1)}
		l.held[user] = u
	}
	u.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if u.users--; u.users == 0 {
			delete(l.held, user)
		}
	}
	select {
	case u.turn <- struct{}{}:
		return func() { <-u.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
