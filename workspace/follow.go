package workspace

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A follower keeps what the daemon holds of keys and of known hosts as the server has it:
// what was rotated, deleted, restricted or revoked must not count until a client asks.
type follower struct {
	keys  *Source
	hosts func(context.Context) error // asks for the known hosts
	heard func()                      // called when the server tells something
	wake  chan struct{}               // holds one: ask the server
}

func newFollower(keys *Source, hosts func(context.Context) error) *follower {
	f := &follower{keys: keys, hosts: hosts, wake: make(chan struct{}, 1)}
	f.heard = f.ask
	return f
}

// ask has the server asked soon.
func (f *follower) ask() {
	select {
	case f.wake <- struct{}{}:
	default: // somebody has asked already
	}
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) {
	again := newRetry(watchLeast, watchMost)
	defer again.done()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
			if !pause(ctx, rand.N(spread)) {
				return
			}
			select {
			case <-f.wake: // what was told meanwhile is asked for along with it
			default:
			}
		case <-again.C:
		case <-time.After(f.keys.untilLook()):
			if !f.keys.look() {
				continue
			}
		}
		if f.refresh(ctx) {
			again.done()
		} else {
			again.again()
		}
	}
}

// refresh asks for all of it, and reports whether the server has answered. A refusal is
// an answer: when it is over, the watch begins again.
func (f *follower) refresh(ctx context.Context) bool {
	err := f.keys.refresh(ctx)
	if err == nil {
		err = f.hosts(ctx)
	}
	return err == nil || isRefusal(err)
}

// A follower is the listener itself where nothing else is to be heard of: it knows no
// revision, and asks whenever it is told anything, also that a watch has begun. What was
// set at the server's start may be something else then.

func (f *follower) revision() int64 { return 0 }

func (f *follower) told(e api.WatchEvent) error {
	f.heard()
	if e.Kind == api.WatchStopped {
		return errStopped
	}
	return nil
}

// unwatched asks a server that has answered, but does not tell what it has to say.
func (f *follower) unwatched(err error) {
	if isRefusal(err) || errors.Is(err, api.ErrNotFound) {
		f.heard()
	}
}
