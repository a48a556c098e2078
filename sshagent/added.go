package sshagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// maxAdded is how many keys clients may add: each may take a page of memory that
// is locked, of which a user has little.
const maxAdded = 256

// An addedKey is a key that a client added. Nothing of it changes but what the
// table's lock guards.
type addedKey struct {
	constraints
	blob   string        // that it is listed and asked for by
	key    Key           // what others see of it
	plain  ssh.PublicKey // what signs; of a certificate, the key it is for
	signer Signer
	came   time.Time // onto the table, which sets it

	// The table's lock guards these.
	ends  time.Time   // its lifetime
	timer *time.Timer // looks after that; nil if it has none
	users int         // who sign with it now
	gone  bool        // it is off the table: the last user closes it
}

// An addedKeys is the table of added keys, in the order in which they came. Its
// lock is not held while a key signs or is closed.
type addedKeys struct {
	log  *slog.Logger
	work sync.WaitGroup // one for each key that is not closed

	mu     sync.Mutex
	keys   []*addedKey
	open   int // keys that are not closed
	closed bool
}

var (
	errTooMany   = fmt.Errorf("there are %d added keys already", maxAdded)
	errInvisible = errors.New("a key that this connection may not see has the same public key")
)

// add puts a key on the table: behind the others, or in the place of one with
// the same public key if visible says that the client may see that. If there is
// an error, the key stays the caller's to close.
func (t *addedKeys) add(key *addedKey, visible func(*addedKey) bool) error {
	t.mu.Lock()
	i := t.index(key.blob)
	var old *addedKey
	switch {
	case t.closed:
		t.mu.Unlock()
		return ErrServerClosed
	case i < 0 && len(t.keys) >= maxAdded:
		t.mu.Unlock()
		return errTooMany
	case i >= 0 && !visible(t.keys[i]):
		t.mu.Unlock()
		return errInvisible
	case i < 0:
		t.keys = append(t.keys, key)
	default:
		old, t.keys[i] = t.keys[i], key
	}
	key.came = time.Now()
	t.open++
	t.work.Add(1)
	if key.mortal {
		key.ends = time.Now().Add(key.lifetime)
		key.timer = time.AfterFunc(untilLook(key.lifetime), func() { t.expire(key) })
	}
	closing := t.retire(old)
	t.mu.Unlock()
	t.close(closing)
	return nil
}

// index is where on the table a key is, -1 if nowhere. The lock is held.
func (t *addedKeys) index(blob string) int {
	return slices.IndexFunc(t.keys, func(k *addedKey) bool { return k.blob == blob })
}

// retire notes that a key, which may be nil, is off the table, and returns it if
// the caller is to close it. The lock is held.
func (t *addedKeys) retire(key *addedKey) *addedKey {
	if key == nil {
		return nil
	}
	key.gone = true
	if key.timer != nil {
		key.timer.Stop()
	}
	if key.users > 0 {
		return nil
	}
	return key
}

// close closes a key that is off the table and that nobody uses, if there is one.
func (t *addedKeys) close(key *addedKey) {
	if key == nil {
		return
	}
	defer t.work.Done()
	if err := guard(t.log, "forgetting an added key", key.signer.Close); err != nil {
		t.log.Error("forgetting an added key", "key", fingerprint(key.blob), "err", err)
	}
	t.mu.Lock()
	t.open--
	t.mu.Unlock()
}

// find returns the key of a blob, nil if there is none.
func (t *addedKeys) find(blob string) *addedKey {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := t.index(blob); i >= 0 {
		return t.keys[i]
	}
	return nil
}

// list returns the keys in their order.
func (t *addedKeys) list() []*addedKey {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.keys)
}

// use calls f while the key is not closed, and reports whether it was there.
func (t *addedKeys) use(key *addedKey, f func()) bool {
	t.mu.Lock()
	if key.gone {
		t.mu.Unlock()
		return false
	}
	key.users++
	t.mu.Unlock()
	defer func() {
		var closing *addedKey
		t.mu.Lock()
		key.users--
		if key.gone && key.users == 0 {
			closing = key
		}
		t.mu.Unlock()
		t.close(closing)
	}()
	f()
	return true
}

// remove takes a key off the table, and reports whether it was there.
func (t *addedKeys) remove(key *addedKey) bool {
	t.mu.Lock()
	i := slices.Index(t.keys, key)
	var closing *addedKey
	if i >= 0 {
		t.keys = slices.Delete(t.keys, i, i+1)
		closing = t.retire(key)
	}
	t.mu.Unlock()
	t.close(closing)
	return i >= 0
}

// untilLook is when to look whether a lifetime has ended of which so much is left.
// A timer stands still while the machine sleeps, or is a snapshot, so one does not
// do for all of it: the clock on the wall is asked after a while.
func untilLook(left time.Duration) time.Duration { return min(left, max(time.Minute, left/64)) }

// left is how much of a lifetime is left, by whichever clock has less.
func left(ends time.Time) time.Duration {
	now := time.Now()
	return min(ends.Sub(now), ends.Round(0).Sub(now.Round(0)))
}

// expire removes a key if its lifetime has ended, or looks again.
func (t *addedKeys) expire(key *addedKey) {
	t.mu.Lock()
	rest := left(key.ends)
	if rest > 0 {
		if !key.gone {
			key.timer.Reset(untilLook(rest))
		}
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	if t.remove(key) {
		t.log.Info("key removed: its lifetime is over", "key", fingerprint(key.blob))
	}
}

// forget removes all keys, and returns how many there were. Those that nobody
// uses are closed when it returns.
func (t *addedKeys) forget() int {
	t.mu.Lock()
	keys := t.keys
	t.keys = nil
	var closing []*addedKey
	for _, k := range keys {
		if k := t.retire(k); k != nil {
			closing = append(closing, k)
		}
	}
	t.mu.Unlock()
	for _, k := range closing {
		t.close(k)
	}
	return len(keys)
}

// shutdown forgets all keys for good, and waits until the last is closed.
func (t *addedKeys) shutdown(ctx context.Context) error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.forget()
	return waitFor(ctx, &t.work)
}

func (t *addedKeys) held() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open
}

// waitFor waits for the work until ctx ends.
func waitFor(ctx context.Context, work *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
