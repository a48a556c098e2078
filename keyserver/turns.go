package keyserver

import (
	"context"
	"runtime"
	"sync"

	"github.com/latchkey/latchkey/keyserver/api"
)

// maxTokenTurns is how many RSA signatures one token may wait for at the same
// time. A git that fetches from many remotes at once asks for some ten.
const maxTokenTurns = 32

// turns bounds the signatures with RSA, each of which computes for some
// milliseconds: they take half of the processors, and no workspace keeps the
// others waiting for more than its share.
type turns struct {
	free chan struct{} // holds one element for each that computes

	mu      sync.Mutex
	waiting map[TokenID]int // those that compute, too
}

func newTurns() *turns {
	return &turns{free: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), waiting: map[TokenID]int{}}
}

// take waits for a turn. done ends it.
func (t *turns) take(ctx context.Context, token TokenID) (done func(), err error) {
	t.mu.Lock()
	if t.waiting[token] >= maxTokenTurns {
		t.mu.Unlock()
		return nil, refusal(api.ErrTooMany, "try again in a moment; keys of the kind ed25519 have no such bound", "%d signatures with RSA are under way for this workspace already", maxTokenTurns)
	}
	t.waiting[token]++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.waiting[token]--; t.waiting[token] == 0 {
			delete(t.waiting, token)
		}
	}
	select {
	case t.free <- struct{}{}:
		return func() {
			<-t.free
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, refusal(api.ErrUnavailable, "try again in a moment", "the server is busy")
	}
}
