package sshagent

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
)

const (
	// A wrong password costs the next one this much more time each, up to the
	// longest: as OpenSSH's agent does.
	unlockDelay    = 100 * time.Millisecond
	maxUnlockDelay = 10 * time.Second
)

var (
	errLocked        = errors.New("the agent is locked")
	errNotLocked     = errors.New("the agent is not locked")
	errNoPassword    = errors.New("an empty password")
	errWrongPassword = errors.New("wrong password")
)

// A padlock locks the agent with a password (RFC 9987, section 5.7). One
// client tries at a time, however many there are, and only they wait.
type padlock struct {
	closed atomic.Bool
	trying chan struct{} // has room for the one who tries

	// Only the one who tries uses these.
	salt, hash []byte
	wrong      int       // passwords since it was opened last
	notBefore  time.Time // when the next may be tried
}

func newPadlock() *padlock { return &padlock{trying: make(chan struct{}, 1)} }

// lock locks. It fails if it is locked.
func (p *padlock) lock(ctx context.Context, password []byte) error {
	if len(password) == 0 {
		return errNoPassword
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	defer p.end()
	if p.closed.Load() {
		return errLocked
	}
	p.salt = make([]byte, 16)
	rand.Read(p.salt) // never fails: see crypto/rand
	p.hash = slowHash(password, p.salt)
	p.closed.Store(true)
	return nil
}

// unlock unlocks. After a wrong password it answers late, and lets no other be
// tried until then, by whomever.
func (p *padlock) unlock(ctx context.Context, password []byte) error {
	if !p.closed.Load() {
		return errNotLocked
	}
	err := p.try(ctx, password)
	if wrong, ok := errors.AsType[*wrongPassword](err); ok {
		if err := sleepUntil(ctx, wrong.until); err != nil {
			return err
		}
		return errWrongPassword
	}
	return err
}

type wrongPassword struct{ until time.Time }

func (*wrongPassword) Error() string { return errWrongPassword.Error() }

func (p *padlock) try(ctx context.Context, password []byte) error {
	if err := p.begin(ctx); err != nil {
		return err
	}
	defer p.end()
	if err := sleepUntil(ctx, p.notBefore); err != nil {
		return err
	}
	if !p.closed.Load() {
		return errNotLocked
	}
	if subtle.ConstantTimeCompare(slowHash(password, p.salt), p.hash) != 1 {
		p.wrong++
		p.notBefore = time.Now().Add(min(time.Duration(p.wrong)*unlockDelay, maxUnlockDelay))
		return &wrongPassword{p.notBefore}
	}
	clear(p.hash)
	p.wrong, p.notBefore = 0, time.Time{}
	p.closed.Store(false)
	return nil
}

func (p *padlock) begin(ctx context.Context) error {
	select {
	case p.trying <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *padlock) end() { <-p.trying }

// slowHash makes it dear to guess a password, should the hash get out. With
// 4 MiB it takes about ten milliseconds; more memory would stay the process's.
func slowHash(password, salt []byte) []byte {
	return argon2.IDKey(password, salt, 4, 4<<10, 1, 32)
}

func sleepUntil(ctx context.Context, t time.Time) error {
	wait := time.Until(t)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
