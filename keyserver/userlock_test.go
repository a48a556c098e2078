package keyserver

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// A user's lock is one writer's at a time; other users' do not wait for it, who
// gives up does not get it, and nothing is kept of it afterwards.
func TestUserLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newUserLocks()
		lock := func(ctx context.Context, user UserID) func() {
			unlock, err := l.lock(ctx, user)
			if err != nil {
				t.Error(err)
			}
			return unlock
		}
		first := lock(t.Context(), "alice")
		lock(t.Context(), "bob")()
		got := false
		go func() {
			unlock := lock(t.Context(), "alice")
			got = true
			unlock()
		}()
		ctx, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error, 1)
		go func() {
			_, err := l.lock(ctx, "alice")
			gaveUp <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) || got {
			t.Errorf("while the lock is held: %v, another one got it %t; want neither to", err, got)
		}
		first()
		synctest.Wait()
		if !got || len(l.held) != 0 {
			t.Errorf("afterwards: got it %t, kept %d; want it, and nothing kept", got, len(l.held))
		}
	})
}
