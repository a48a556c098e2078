package keyserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/keyserver/api"
)

// recipientSize is the length of an X25519 public key.
const recipientSize = 32

// fetchKey answers with one private key of the workspace's user, sealed to the
// recipient. That it was fetched is on record before.
func (s *Server) fetchKey(ctx context.Context, c *call, in api.FetchKeyRequest) ([]byte, error) {
	var p problems
	if len(in.Recipient) != recipientSize {
		p.add("recipient", "must be the %d bytes of an X25519 public key", recipientSize)
	}
	p.fingerprint("fingerprint", in.Fingerprint)
	if err := p.err("no key can be fetched"); err != nil {
		return nil, err
	}
	k, err := s.offeredKey(ctx, c, in.Fingerprint)
	if err == nil {
		err = s.mayFetch(c, k)
	}
	if err != nil {
		return nil, err
	}
	private, err := s.openKey(ctx, c, k)
	if err != nil {
		return nil, err
	}
	defer private.wipe()
	// Sealing computes and recording waits for the disk, for some 0.1 ms each,
	// so they go side by side; the answer needs both.
	var sealed []byte
	var sealing sync.WaitGroup
	sealing.Go(func() { sealed, err = api.SealPrivateKey(in.Recipient, k.Fingerprint, private.reveal()) })
	unrecorded := s.recordFetch(ctx, c, k, "sealed")
	sealing.Wait()
	if unrecorded != nil {
		return nil, unrecorded
	}
	if err != nil { // a point of low order: no secret can be shared with it
		e := c.keyEvent(k)
		e.Result, e.Detail = Failed, e.Detail+": it can't be sealed to the recipient"
		if err := s.record(ctx, e); err != nil {
			return nil, err
		}
		p.add("recipient", "is not an X25519 public key")
		return nil, p.err("no key can be fetched")
	}
	return sealed, nil
}

// fetchPrivateKey answers with the default key as scripts want it.
func (s *Server) fetchPrivateKey(ctx context.Context, c *call, _ none) (api.PrivateKey, error) {
	keys, err := s.offered(ctx, c.user.ID, c.at)
	if err != nil {
		return api.PrivateKey{}, err
	}
	if len(keys) == 0 || keys[0].Name != api.DefaultKey {
		return api.PrivateKey{}, noKey(c)
	}
	k := keys[0]
	if err := s.mayFetch(c, k); err != nil {
		return api.PrivateKey{}, err
	}
	private, err := s.openKey(ctx, c, k)
	if err != nil {
		return api.PrivateKey{}, err
	}
	defer private.wipe()
	text, err := writeOpenSSH(private, comment(c.user, k))
	if err != nil {
		return api.PrivateKey{}, err
	}
	defer clear(text)
	if err := s.recordFetch(ctx, c, k, "as OpenSSH PEM"); err != nil {
		return api.PrivateKey{}, err
	}
	return api.PrivateKey{PublicKey: publicLine(c.user, k), PrivateKey: string(text)}, nil
}

// fingerprint checks one that names a key. What it can't be need not be looked up.
func (p *problems) fingerprint(field, text string) {
	if !strings.HasPrefix(text, "SHA256:") || len(text) > 80 {
		p.add(field, `must be that of a key from the workspace's list, such as "SHA256:…"`)
	}
}

// offeredKey finds the key that is to be used. One that is another user's is
// refused like one that does not exist, and each refusal is recorded.
func (s *Server) offeredKey(ctx context.Context, c *call, fingerprint string) (Key, error) {
	all, err := s.store.Keys(ctx, c.user.ID)
	if err != nil {
		return Key{}, fmt.Errorf("looking for a key: %w", err)
	}
	for _, k := range all {
		switch {
		case k.Fingerprint != fingerprint:
		case k.expired(c.at):
			return Key{}, &denial{refusal(api.ErrNotFound, "list the keys again", "key %s was replaced, and is no longer offered", k.Fingerprint)}
		default:
			return k, nil
		}
	}
	return Key{}, &denial{refusal(api.ErrNotFound, "list the keys again: it may have been replaced or deleted", "%s has no key %s", c.user.Name, shown(fingerprint))}
}

// openKey opens a private key. That one does not open is on record: somebody
// may have changed the store.
func (s *Server) openKey(ctx context.Context, c *call, k Key) (plaintext, error) {
	data, err := s.sealer.dataKey(c.user)
	var private plaintext
	if err == nil {
		private, err = data.openKey(k)
	}
	if err == nil {
		return private, nil
	}
	e := c.keyEvent(k)
	e.Result, e.Detail = Failed, e.Detail+": it does not open"
	return plaintext{}, errors.Join(err, s.record(ctx, e))
}

// recordFetch must succeed before the key leaves.
func (s *Server) recordFetch(ctx context.Context, c *call, k Key, form string) error {
	e := c.keyEvent(k)
	e.Detail += ", " + form
	err := s.store.RecordFetch(ctx, c.user.ID, k.Name, k.Generation, c.workspace.ID, e)
	if errors.Is(err, api.ErrNotFound) {
		return &denial{refusal(api.ErrNotFound, "list the keys again", "key %s was replaced at the same time", k.Fingerprint)}
	}
	if errors.Is(err, api.ErrUnauthenticated) {
		return err
	}
	if err != nil {
		return fmt.Errorf("recording that key %s is fetched: %w: %w: %w", k.Fingerprint, err, errAudit, api.ErrUnavailable)
	}
	return nil
}

// discard wipes a key pair that is not needed any more, also a zero one.
func (pair keyPair) discard() {
	if pair.private.reveal != nil {
		pair.private.wipe()
	}
}
