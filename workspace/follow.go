package workspace

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A follower keeps what the daemon holds of keys and of known hosts as the server has it:
// what was rotated, deleted, restricted or revoked must not count until a client asks.
//
// It hears what the server tells from the listener that takes secrets, or is the listener
// itself in a daemon that takes none. Whatever it hears, it asks for both of them again:
// what that was only says how soon, and whether who may log in by SSH is another one now.
type follower struct {
	keys   *Source
	hosts  func(context.Context) error // asks for the known hosts
	logins func(within time.Duration)  // has it asked who may log in by SSH
	alarm  *alarm                      // ask the server
	last   int64                       // the revision that was told last, for who watches
}

func newFollower(keys *Source, hosts func(context.Context) error, logins func(within time.Duration)) *follower {
	return &follower{keys: keys, hosts: hosts, logins: logins, alarm: newAlarm()}
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) {
	again := newRetry(watchLeast, watchMost)
	defer again.done()
	defer f.alarm.off()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.alarm.C:
		case <-again.C:
		case <-time.After(f.keys.untilLook()):
			if !f.keys.look() {
				continue
			}
		}
		f.alarm.off()
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

// hear has the server asked about what it has told. A change of the user's own must count
// at once. A change of the known hosts, and that a watch has begun (what was set at the
// server's start may be something else), all workspaces of the server hear at the same time.
func (f *follower) hear(e api.WatchEvent) {
	before := f.last
	f.last = e.Revision
	switch {
	case e.Kind == "":
		f.ask(unhurried)
	case e.Kind == api.WatchChanged && e.Revision == before: // the known hosts alone
		f.alarm.within(unhurried)
	default:
		f.ask(spread)
	}
}

// ask has the server asked for all that it may have changed.
func (f *follower) ask(within time.Duration) {
	f.alarm.within(within)
	f.logins(within)
}

func (f *follower) revision() int64 { return f.last }

func (f *follower) told(e api.WatchEvent) error {
	f.hear(e)
	if e.Kind == api.WatchStopped {
		return errStopped
	}
	return nil
}

// unwatched asks a server that has answered, but does not tell what it has to say.
func (f *follower) unwatched(err error) {
	switch {
	case isRefusal(err):
		f.ask(spread)
	case errors.Is(err, api.ErrNotFound):
		f.hear(api.WatchEvent{})
	}
}
