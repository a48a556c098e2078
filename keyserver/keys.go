package keyserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// maxKeys bounds the keys of a user, replaced generations included. No server
// lets ssh try more than a few.
const maxKeys = 100

// stored seals a key pair as one generation of a key.
func (pair keyPair) stored(data dataKey, name string, generation int64, created, updated time.Time) (Key, error) {
	sealed, err := data.sealKey(name, generation, pair.private)
	if err != nil {
		return Key{}, err
	}
	return Key{
		UserID: data.user, Name: name, Generation: generation, Algorithm: pair.algorithm,
		PublicKey: pair.public, Fingerprint: pair.fingerprint, Sealed: sealed,
		Imported: pair.imported, CreatedAt: created, UpdatedAt: updated,
	}, nil
}

// offered lists a user's keys that have not expired: the default key first,
// then the others by name, replaced generations last.
func (s *Server) offered(ctx context.Context, user UserID, at time.Time) ([]Key, error) {
	all, err := s.store.Keys(ctx, user)
	if err != nil {
		return nil, fmt.Errorf("listing keys: %w", err)
	}
	keys := slices.DeleteFunc(all, func(k Key) bool { return k.expired(at) })
	rank := func(k Key) int {
		switch {
		case !k.ExpiresAt.IsZero():
			return 2
		case k.Name != api.DefaultKey:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(keys, func(a, b Key) int { return rank(a) - rank(b) })
	return keys, nil
}

func (k Key) expired(at time.Time) bool { return !k.ExpiresAt.IsZero() && !at.Before(k.ExpiresAt) }

func (s *Server) listKeys(ctx context.Context, c *call, _ none) ([]api.Key, error) {
	keys, err := s.offered(ctx, c.owner.ID, c.at)
	if err != nil {
		return nil, err
	}
	return wireAll(keys, func(k Key) api.Key { return s.wireKey(c, k) }), nil
}

func (s *Server) showKey(ctx context.Context, c *call, _ none) (api.Key, error) {
	k, _, err := s.currentKey(ctx, c)
	if err != nil {
		return api.Key{}, err
	}
	return s.wireKey(c, k), nil
}

// keyName is the key that the path names: the default one on routes that name none.
func (c *call) keyName() string {
	if name := c.path("key"); name != "" {
		return name
	}
	return api.DefaultKey
}

// currentKey finds the key that the path names, among all of the owner's.
func (s *Server) currentKey(ctx context.Context, c *call) (k Key, all []Key, err error) {
	all, err = s.offered(ctx, c.owner.ID, c.at)
	if err != nil {
		return Key{}, nil, err
	}
	for _, k := range all {
		if k.Name == c.keyName() && k.ExpiresAt.IsZero() {
			return k, all, nil
		}
	}
	return Key{}, nil, noKey(c)
}

func noKey(c *call) error {
	return refusal(api.ErrNotFound, "", "%s has no key %s", c.owner.Name, shown(c.keyName()))
}

func (s *Server) createKey(ctx context.Context, c *call, in api.CreateKeyRequest) (api.Key, error) {
	var p problems
	p.name("name", in.Name)
	switch {
	case in.PrivateKey != "" && in.Algorithm != "":
		p.add("algorithm", "can't be chosen: private_key brings its own")
	case in.Algorithm == "":
		in.Algorithm = s.algorithm
	default:
		p.algorithm("algorithm", in.Algorithm)
	}
	pair, err := s.keyPair(ctx, &p, in.Algorithm, in.PrivateKey, in.Passphrase)
	if err != nil {
		return api.Key{}, err
	}
	if err := p.err("the key can't be made"); err != nil {
		pair.discard()
		return api.Key{}, err
	}
	defer pair.discard()
	all, err := s.offered(ctx, c.owner.ID, c.at)
	if err != nil {
		return api.Key{}, err
	}
	if err := conflict(c.owner, all, in.Name, pair.fingerprint); err != nil {
		return api.Key{}, err
	}
	k, err := s.sealFor(c.owner, pair, in.Name, 1, c.at, c.at)
	if err != nil {
		return api.Key{}, err
	}
	switch err := s.store.CreateKey(ctx, k, c.keyEvent(k)); {
	case errors.Is(err, api.ErrConflict):
		return api.Key{}, taken("name", "%s has a key of that name, or the same key, already", c.owner.Name)
	case errors.Is(err, api.ErrNotFound):
		return api.Key{}, refusal(api.ErrNotFound, "", "there is no user %s", c.owner.Name)
	case err != nil:
		return api.Key{}, fmt.Errorf("storing key %s: %w", k.Name, err)
	}
	return s.wireKey(c, k), nil
}

// conflict says why a key can't be added to those that there are, nil if it can.
func conflict(owner User, all []Key, name, fingerprint string) error {
	for _, k := range all {
		if k.Name == name {
			return taken("name", "%s has a key %s already", owner.Name, name)
		}
	}
	return duplicate(owner, all, fingerprint)
}

func duplicate(owner User, all []Key, fingerprint string) error {
	for _, k := range all {
		if k.Fingerprint == fingerprint {
			e := refusal(api.ErrConflict, "", "%s has this key already: %s, generation %d", owner.Name, k.Name, k.Generation)
			e.Validations = []api.Validation{{Field: "private_key", Detail: "is there already, as " + k.Name}}
			return e
		}
	}
	if len(all) >= maxKeys {
		return refusal(api.ErrConflict, "delete a key, or wait until replaced ones expire", "%s has %d keys, which is the most", owner.Name, len(all))
	}
	return nil
}

func (s *Server) rotateKey(ctx context.Context, c *call, in api.RotateKeyRequest) (api.Key, error) {
	current, all, err := s.currentKey(ctx, c)
	if err != nil {
		return api.Key{}, err
	}
	var p problems
	switch {
	case in.PrivateKey != "" && in.Algorithm != "":
		p.add("algorithm", "can't be chosen: private_key brings its own")
	case in.Algorithm == "":
		in.Algorithm = current.Algorithm
	default:
		p.algorithm("algorithm", in.Algorithm)
	}
	p.seconds("keep_old_seconds", in.KeepOldSeconds, maxKeepOld)
	if in.Generation < 0 {
		p.add("generation", "must not be negative")
	}
	if in.Generation > 0 && in.Generation != current.Generation && len(p.list) == 0 {
		return api.Key{}, rotated(current, in.Generation)
	}
	pair, err := s.keyPair(ctx, &p, in.Algorithm, in.PrivateKey, in.Passphrase)
	if err != nil {
		return api.Key{}, err
	}
	defer pair.discard()
	if err := p.err("the key can't be rotated"); err != nil {
		return api.Key{}, err
	}
	if err := duplicate(c.owner, all, pair.fingerprint); err != nil {
		return api.Key{}, err
	}
	next, err := s.sealFor(c.owner, pair, current.Name, current.Generation+1, current.CreatedAt, c.at)
	if err != nil {
		return api.Key{}, err
	}
	next.Settings = current.Settings // as the store has it
	var oldExpires time.Time
	e := c.keyEvent(next)
	if in.KeepOldSeconds > 0 {
		oldExpires = c.at.Add(time.Duration(in.KeepOldSeconds) * time.Second)
		e.Detail += ", the old one kept until " + oldExpires.Format(time.RFC3339)
	}
	switch err := s.store.RotateKey(ctx, next, oldExpires, e); {
	case errors.Is(err, api.ErrConflict):
		return api.Key{}, rotated(current, current.Generation)
	case errors.Is(err, api.ErrNotFound):
		return api.Key{}, noKey(c)
	case err != nil:
		return api.Key{}, fmt.Errorf("storing key %s: %w", next.Name, err)
	}
	return s.wireKey(c, next), nil
}

// rotated is the conflict of a rotation with one that came first.
func rotated(current Key, generation int64) error {
	e := refusal(api.ErrConflict, "look at the key and try again if it is still needed", "key %s was rotated already", current.Name)
	if current.Generation != generation {
		e.Message += fmt.Sprintf(": its generation is %d, not %d", current.Generation, generation)
	}
	e.Validations = []api.Validation{{Field: "generation", Detail: "is not the current one"}}
	return e
}

func (s *Server) deleteKey(ctx context.Context, c *call, _ none) (none, error) {
	if c.keyName() == api.DefaultKey {
		return none{}, refusal(api.ErrConflict, "rotate it instead", "the key %s can't be deleted", api.DefaultKey)
	}
	k, _, err := s.currentKey(ctx, c)
	if err != nil {
		return none{}, err
	}
	err = s.store.DeleteKey(ctx, c.owner.ID, k.Name, c.keyEvent(k))
	if errors.Is(err, api.ErrNotFound) {
		return none{}, noKey(c)
	}
	if err != nil {
		return none{}, fmt.Errorf("deleting key %s: %w", k.Name, err)
	}
	return none{}, nil
}

// sealFor seals a key pair under the owner's data key.
func (s *Server) sealFor(owner User, pair keyPair, name string, generation int64, created, updated time.Time) (Key, error) {
	data, err := s.sealer.dataKey(owner)
	if err != nil {
		return Key{}, err
	}
	return pair.stored(data, name, generation, created, updated)
}

// keyEvent is the record of a call that was about one generation of a key.
func (c *call) keyEvent(k Key) Event {
	e := c.event(c.owner.Name + "/" + k.Name)
	e.Detail = fmt.Sprintf("generation %d, %s, %s", k.Generation, k.Algorithm, k.Fingerprint)
	if k.Imported {
		e.Detail += ", imported"
	}
	return e
}
