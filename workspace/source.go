package workspace

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/singleflight"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/internal/lograte"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
)

// How long the server may take. A client whose user's own keys must get their
// try is waiting, so a list that was had before is used early.
const (
	listTimeout      = 10 * time.Second
	knownListTimeout = 2 * time.Second
	fetchTimeout     = 10 * time.Second
)

// A Source offers the keys that the server lists for the workspace.
//
// Each listing asks the server, so that a rotation, or a token that was revoked,
// counts at once; listings that come together share one request. A private key is
// withdrawn when a listing, or the time, makes another thing of it: see follower. If the server
// is away, the keys it listed last are offered still: one whose private key is
// held can sign, and for one whose key is not, ssh goes on to the user's own
// keys. If the server refuses the workspace, nothing is offered any more.
type Source struct {
	server keyServer
	log    *slog.Logger

	refused   func(error) // if not nil, called when the server refuses the workspace
	withdrawn func()      // if not nil, called when a key that may be held must not be any more

	again time.Duration // knownListTimeout, but for tests

	lists  singleflight.Group
	held   atomic.Int64
	eraser *eraser

	proofs   proofs
	refusals refusals
	failures lograte.Limit // of what clients ask for

	mu      sync.Mutex
	known   []sshagent.Key   // as listed last; nil: not listed, or refused since
	terms   map[string]terms // of the known ones, by the public key's blob
	asked   int64            // requests, which are numbered
	learned int64            // the one that known is of, or its being nil
	err     error            // of the last request
}

var _ sshagent.Source = (*Source)(nil)

// A keyServer is what a Source asks of an [api.Client].
type keyServer interface {
	OfferedKeys(context.Context) ([]api.Key, error)
	FetchKey(context.Context, api.FetchKeyRequest) (sealed []byte, err error)
	Sign(context.Context, api.SignRequest) (signature []byte, err error)
}

// NewSource returns a Source that asks with client. log may be nil.
func NewSource(client *api.Client, log *slog.Logger) *Source { return newSource(client, log) }

func newSource(server keyServer, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Source{server: server, log: log, again: knownListTimeout, eraser: newEraser(harden.Collect)}
}

// Held is how many private keys are in memory: about to be fetched, and not yet
// wiped with all that their use has left behind.
func (s *Source) Held() int { return int(s.held.Load()) }

// Keys lists the public keys that the server offers, in its order.
func (s *Source) Keys(ctx context.Context) ([]sshagent.Key, error) {
	// The request goes on if the caller who began it leaves: others wait for it.
	shared := context.WithoutCancel(ctx)
	done := s.lists.DoChan("", func() (any, error) { return s.list(shared) })
	select {
	case r := <-done:
		keys, _ := r.Val.([]sshagent.Key)
		return keys, r.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("listing keys: %w", ctx.Err())
	}
}

func (s *Source) list(ctx context.Context) ([]sshagent.Key, error) {
	s.mu.Lock()
	known := s.known != nil
	s.mu.Unlock()
	timeout := listTimeout
	if known {
		timeout = s.again
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	keys, err := s.relist(ctx)
	if err != nil && known && !isRefusal(err) {
		s.failures.Log(s.log, slog.LevelWarn, "offering the keys listed last: the server is away", "err", err)
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.known, nil
	}
	return keys, err
}

// refresh lists the keys again, and does not share a request that may have been
// answered before what is to be learned.
func (s *Source) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	_, err := s.relist(ctx)
	return err
}

// listed are the terms of a key, if it was listed last.
func (s *Source) listed(public ssh.PublicKey) (terms, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.terms[string(public.Marshal())]
	return t, ok
}

// Signer fetches a private key. Its Close returns when no copy is left. A key
// that stays at the server signs there.
func (s *Source) Signer(ctx context.Context, public ssh.PublicKey) (sshagent.Signer, error) {
	fingerprint := ssh.FingerprintSHA256(public)
	if t, _ := s.listed(public); t.mode == api.SignMode {
		s.log.Info("the server signs", "key", fingerprint)
		return &remoteSigner{source: s, public: public}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	s.held.Add(1)
	forgotten := func() {
		s.eraser.collect()
		s.held.Add(-1)
	}
	kept, err := s.fetch(ctx, public)
	if err != nil {
		forgotten()
		s.failures.Log(s.log, slog.LevelWarn, "private key not fetched", "key", fingerprint, "err", err)
		return nil, fmt.Errorf("fetching the private key %s: %w", fingerprint, err)
	}
	s.log.Info("private key fetched", "key", fingerprint, "memory", kept.Memory())
	return newSigner(public, kept, s.eraser, func() {
		forgotten()
		s.log.Info("private key forgotten", "key", fingerprint)
	}), nil
}

// fetch returns a private key in the form of keep. The answer is read, and kept
// for a while, by goroutines of net/http, outside of harden.Do; it is sealed.
func (s *Source) fetch(ctx context.Context, public ssh.PublicKey) (kept *harden.Shielded, err error) {
	return fetchPrivate(public, func(r api.FetchKeyRequest) ([]byte, error) {
		number := s.number()
		sealed, err := s.server.FetchKey(ctx, r)
		s.noteUse(number, err)
		return sealed, err
	})
}

// fetchPrivate asks for the private key of public, and returns it in the form of
// keep.
func fetchPrivate(public ssh.PublicKey, ask func(api.FetchKeyRequest) (sealed []byte, err error)) (kept *harden.Shielded, err error) {
	request := api.FetchKeyRequest{Fingerprint: ssh.FingerprintSHA256(public)}
	var recipient *api.Recipient
	harden.Do(func() {
		if recipient, err = api.NewRecipient(); err == nil {
			request.Recipient = recipient.PublicKey()
		}
	})
	if err != nil {
		return nil, err
	}
	sealed, err := ask(request)
	if err != nil {
		return nil, err
	}
	if len(sealed) > api.MaxSealed {
		return nil, fmt.Errorf("the server sent %d bytes: %w", len(sealed), api.ErrTooLarge)
	}
	harden.Do(func() { kept, err = open(recipient, public, sealed) })
	return kept, err
}

// open must be called in harden.Do.
func open(recipient *api.Recipient, public ssh.PublicKey, sealed []byte) (*harden.Shielded, error) {
	der, err := recipient.Open(ssh.FingerprintSHA256(public), sealed)
	if err != nil {
		return nil, err
	}
	key, err := keep(der, public)
	if err != nil {
		return nil, err
	}
	return harden.Shield(key)
}

// number is that of a request which begins now. Of two requests, the later one counts,
// whichever is answered first.
func (s *Source) number() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.asked
}

// noteUse is note for the use of one key. That it is not allowed, by the key's
// mode or policy, says nothing about the workspace.
func (s *Source) noteUse(number int64, err error) {
	if !errors.Is(err, api.ErrForbidden) {
		s.note(number, err)
	}
}

// note remembers how a request ended, and acts on a refusal. It reports whether the
// request counts: it does not if it began before the one that has taught what holds.
func (s *Source) note(number int64, err error) (counts bool) {
	s.mu.Lock()
	if number < s.learned {
		s.mu.Unlock()
		return false
	}
	s.err = err
	if isRefusal(err) {
		s.learned = number
		s.offerNothing()
	}
	s.mu.Unlock()
	if err == nil {
		s.refusals.drop(func(r keptRefusal) bool { return r.away })
	}
	if isRefusal(err) && s.refused != nil {
		s.refused(err)
	}
	return true
}

// refuse offers nothing any more, as the server has said elsewhere that the
// workspace is refused. What was asked for before that does not count.
func (s *Source) refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	s.err, s.learned = err, s.asked
	s.offerNothing()
}

// offerNothing forgets what was listed, and so what was kept back of that. mu is held.
func (s *Source) offerNothing() {
	s.known, s.terms = nil, nil
	s.refusals.drop(func(r keptRefusal) bool { return !r.Added })
}

// isRefusal reports whether the server has said that the workspace may not have
// keys, rather than that it can't answer now.
func isRefusal(err error) bool {
	return errors.Is(err, api.ErrUnauthenticated) || errors.Is(err, api.ErrForbidden)
}

// isAway reports whether the server has not answered.
func isAway(err error) bool {
	return errors.Is(err, api.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// samePublic compares the wire forms of two public keys.
func samePublic(a, b ssh.PublicKey) bool {
	return subtle.ConstantTimeCompare(a.Marshal(), b.Marshal()) == 1
}
