// Package memstore is a [keyserver.Store] in memory, for tests and for
// latchkeyd --dev: what it promises to survive, it forgets with its process.
package memstore

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// A Store keeps everything in memory. New makes it.
type Store struct {
	mu         sync.RWMutex // guards all below
	check      []byte       // nil: Init was not called
	users      map[keyserver.UserID]keyserver.User
	keys       map[keyserver.UserID][]keyserver.Key // in the order of Keys
	workspaces map[keyserver.WorkspaceID]keyserver.Workspace
	tokens     map[keyserver.TokenID]keyserver.Token
	revisions  map[keyserver.UserID]int64
	secrets    map[keyserver.UserID][]keyserver.Secret        // in the order of Secrets
	values     map[keyserver.SecretID][]keyserver.SecretValue // in the order of SecretValues
	deliveries map[keyserver.WorkspaceID]keyserver.Delivery
	knownHosts []keyserver.KnownHost                     // in the order of KnownHosts
	hostsAt    int64                                     // the revision of knownHosts
	loginKeys  map[keyserver.UserID][]keyserver.LoginKey // in the order of LoginKeys
	hostKeys   map[keyserver.WorkspaceID][]byte          // sealed
	events     []keyserver.Event                         // Seq is the index plus 1
}

var _ keyserver.Store = (*Store)(nil)

// New makes an empty store.
func New() *Store {
	return &Store{
		users:      map[keyserver.UserID]keyserver.User{},
		keys:       map[keyserver.UserID][]keyserver.Key{},
		workspaces: map[keyserver.WorkspaceID]keyserver.Workspace{},
		tokens:     map[keyserver.TokenID]keyserver.Token{},
		revisions:  map[keyserver.UserID]int64{},
		secrets:    map[keyserver.UserID][]keyserver.Secret{},
		values:     map[keyserver.SecretID][]keyserver.SecretValue{},
		deliveries: map[keyserver.WorkspaceID]keyserver.Delivery{},
		loginKeys:  map[keyserver.UserID][]keyserver.LoginKey{},
		hostKeys:   map[keyserver.WorkspaceID][]byte{},
	}
}

// Close does nothing.
func (s *Store) Close() error { return nil }

// change runs apply and, if it returns no error, stores the event. As nothing
// takes back what apply has done, it refuses before it changes anything.
func (s *Store) change(ctx context.Context, e keyserver.Event, apply func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.holds(e.By) {
		return api.ErrUnauthenticated
	}
	if err := apply(); err != nil {
		return err
	}
	s.append(e)
	return nil
}

// holds reports whether a credential is what it was. The lock is held.
func (s *Store) holds(c keyserver.Credential) bool {
	if c == (keyserver.Credential{}) {
		return true
	}
	t, ok := s.tokens[c.Token]
	return ok && t.RevokedAt.IsZero() && s.users[t.UserID].Version == c.UserVersion
}

// append stores an event. The lock is held.
func (s *Store) append(e keyserver.Event) {
	var last keyserver.Event
	if n := len(s.events); n > 0 {
		last = s.events[n-1]
	}
	e.At = stored(e.At)
	e.Chain(last)
	e.By = keyserver.Credential{}
	s.events = append(s.events, e)
}

// read locks the store for reading.
func (s *Store) read(ctx context.Context) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	return s.mu.RUnlock, nil
}

// stored is t as a store keeps it: in microseconds and UTC.
func stored(t time.Time) time.Time { return time.UnixMicro(t.UnixMicro()).UTC() }

func (s *Store) MasterKeyCheck(ctx context.Context) ([]byte, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if s.check == nil {
		return nil, api.ErrNotFound
	}
	return bytes.Clone(s.check), nil
}

func (s *Store) Init(ctx context.Context, check []byte, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		if s.check != nil {
			return api.ErrConflict
		}
		s.check = append([]byte{}, check...)
		return nil
	})
}

func (s *Store) Record(ctx context.Context, e keyserver.Event) error {
	e.By = keyserver.Credential{} // a refusal's may be the reason of the refusal
	return s.change(ctx, e, func() error { return nil })
}

func (s *Store) Events(ctx context.Context, after int64, limit int) ([]keyserver.Event, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	rest := s.events[min(max(after, 0), int64(len(s.events))):]
	return append([]keyserver.Event(nil), rest[:min(max(limit, 0), len(rest))]...), nil
}

func (s *Store) LastEvent(ctx context.Context) (keyserver.Event, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return keyserver.Event{}, err
	}
	defer unlock()
	if len(s.events) == 0 {
		return keyserver.Event{}, api.ErrNotFound
	}
	return s.events[len(s.events)-1], nil
}
