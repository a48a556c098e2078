package sshagent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// maxAge is how long a private key is used, however busy it is: then it is
// fetched anew. Whoever may not have it any more, because the key was rotated or
// the workspace's token revoked, is found out by then.
const maxAge = 5 * time.Minute

// A keyring holds the private keys that were fetched, each for an idle time
// after its last use, and for maxAge at most; time in which the machine sleeps counts.
// Its lock is not held while a key is fetched, signs, or is closed.
type keyring struct {
	idle time.Duration
	log  *slog.Logger
	work sync.WaitGroup // one for each hold that is not done with

	mu     sync.Mutex
	holds  map[string]*hold // by the public key's blob; the dropped ones are not in it
	open   int              // signers that are not closed
	closed bool
}

// A hold is a private key from the moment that somebody wants it until it is
// closed. It is fetched once and closed once.
type hold struct {
	blob    string
	cancel  context.CancelFunc // ends the fetch
	fetched chan struct{}      // closed when signer and err are set
	signer  Signer
	err     error

	// The keyring's lock guards these.
	fetching bool
	since    time.Time   // of the fetch
	users    int         // who wait for it or sign with it
	uses     int         // how often it was taken, so that a late timer knows it is late
	ends     time.Time   // the idle time
	timer    *time.Timer // looks after that
}

func newKeyring(idle time.Duration, log *slog.Logger) *keyring {
	return &keyring{idle: idle, log: log, holds: make(map[string]*hold)}
}

// take returns the hold of a key, which may still be under way: see wait. If
// there is none, fetch is called in a goroutine of its own; its context ends
// when nobody waits for it any more. The caller releases the hold.
func (k *keyring) take(blob string, fetch func(context.Context) (Signer, error)) (*hold, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, ErrServerClosed
	}
	h := k.holds[blob]
	if h != nil && k.over(h) {
		k.drop(h) // who signs with it now is the last
		if h.users == 0 {
			h.timer.Stop()
			go k.close(h)
		}
		h = nil
	}
	if h == nil {
		ctx, cancel := context.WithCancel(context.Background())
		h = &hold{blob: blob, cancel: cancel, fetched: make(chan struct{}), fetching: true}
		k.holds[blob] = h
		k.work.Add(1)
		go k.fetch(ctx, h, fetch)
	}
	h.users++
	h.uses++
	if h.timer != nil {
		h.timer.Stop()
	}
	return h, nil
}

// over reports whether a hold has had its time. The lock is held.
func (k *keyring) over(h *hold) bool {
	return !h.fetching && (left(h.since.Add(maxAge)) <= 0 || h.users == 0 && left(h.ends) <= 0)
}

// ready reports whether wait returns at once.
func (h *hold) ready() bool {
	select {
	case <-h.fetched:
		return true
	default:
		return false
	}
}

// wait waits until the key is there, or why it is not.
func (h *hold) wait(ctx context.Context) error {
	select {
	case <-h.fetched:
		return h.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (k *keyring) fetch(ctx context.Context, h *hold, fetch func(context.Context) (Signer, error)) {
	var signer Signer
	err := guard(k.log, "fetching the private key", func() (err error) {
		signer, err = fetch(ctx)
		if err == nil && signer == nil {
			err = errors.New("the source gave no private key")
		}
		return err
	})
	h.cancel()

	k.mu.Lock()
	h.signer, h.err, h.fetching, h.since = signer, err, false, time.Now()
	if err != nil {
		k.drop(h) // the next one who asks tries again
	} else {
		k.open++
	}
	close(h.fetched)
	done := h.users == 0 && k.settle(h)
	k.mu.Unlock()
	if done {
		k.close(h)
	}
}

// release ends one use of a hold.
func (k *keyring) release(h *hold) {
	k.mu.Lock()
	h.users--
	done := h.users == 0 && k.settle(h)
	k.mu.Unlock()
	if done {
		k.close(h)
	}
}

// settle decides what becomes of a hold that nobody uses, and reports whether
// the caller has to close it. The lock is held.
func (k *keyring) settle(h *hold) bool {
	switch {
	case h.fetching: // for nobody: the one who fetches closes it
		k.drop(h)
		h.cancel()
		return false
	case k.holds[h.blob] == h && k.idle > 0:
		uses := h.uses
		h.ends = time.Now().Add(k.idle)
		h.timer = time.AfterFunc(untilLook(k.idle), func() { k.expire(h, uses) })
		return false
	}
	k.drop(h)
	return true
}

// drop takes a hold off the table. The lock is held.
func (k *keyring) drop(h *hold) {
	if k.holds[h.blob] == h {
		delete(k.holds, h.blob)
	}
}

// expire closes a hold if its idle time has ended, or looks again.
func (k *keyring) expire(h *hold, uses int) {
	k.mu.Lock()
	over := k.holds[h.blob] == h && h.uses == uses // else it was forgotten, or taken again
	if rest := left(h.ends); over && rest > 0 {
		h.timer.Reset(untilLook(rest))
		over = false
	}
	if over {
		k.drop(h)
	}
	k.mu.Unlock()
	if over {
		k.close(h)
	}
}

// close closes a hold that is off the table and that nobody uses.
func (k *keyring) close(h *hold) {
	defer k.work.Done()
	if h.err != nil {
		return // there is nothing to close
	}
	if err := guard(k.log, "forgetting a private key", h.signer.Close); err != nil {
		k.log.Error("forgetting a private key", "key", fingerprint(h.blob), "err", err)
	}
	k.mu.Lock()
	k.open--
	k.mu.Unlock()
}

// forget drops all holds, and closes those that nobody uses before it returns.
func (k *keyring) forget() {
	k.mu.Lock()
	var unused []*hold
	for _, h := range k.holds {
		k.drop(h)
		if h.users == 0 { // so it is not being fetched either
			h.timer.Stop()
			unused = append(unused, h)
		}
	}
	k.mu.Unlock()
	for _, h := range unused {
		k.close(h)
	}
}

// shutdown forgets all keys for good, and waits until the last is closed.
func (k *keyring) shutdown(ctx context.Context) error {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.forget()
	return waitFor(ctx, &k.work)
}

func (k *keyring) held() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.open
}
