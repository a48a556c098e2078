package workspace

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/sshagent"
)

// keyLookEvery is how late it is seen at most that a key's time is over which ended while
// the machine slept: timers stand still then.
const keyLookEvery = time.Minute

// relist asks the server for the keys, and learns them.
func (s *Source) relist(ctx context.Context) ([]sshagent.Key, error) {
	number := s.number()
	offered, err := s.server.OfferedKeys(ctx)
	if !s.note(number, err) {
		return s.latest()
	}
	if err != nil {
		return nil, fmt.Errorf("listing keys: %w", err)
	}
	keys := make([]sshagent.Key, 0, len(offered))
	listed := make(map[string]terms, len(offered))
	for _, k := range offered {
		public, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(k.PublicKey))
		if err != nil {
			s.log.Warn("left out a key that the server lists", "name", k.Name, "generation", k.Generation, "err", err)
			continue
		}
		keys = append(keys, sshagent.Key{Public: public, Comment: comment})
		t := terms{name: k.Name, mode: k.Mode, policy: k.Policy}
		if k.ExpiresAt != nil {
			t.expires = *k.ExpiresAt
		}
		listed[string(public.Marshal())] = t.at(time.Now())
	}
	return s.learn(number, keys, listed)
}

// latest is what the last request that counts has taught.
func (s *Source) latest() ([]sshagent.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil && s.err != nil {
		return nil, fmt.Errorf("listing keys: %w", s.err)
	}
	return s.known, nil
}

// learn notes what was listed by a request, and returns what is listed now: not this if
// a later request was answered earlier.
func (s *Source) learn(number int64, keys []sshagent.Key, listed map[string]terms) ([]sshagent.Key, error) {
	s.mu.Lock()
	if number < s.learned {
		s.mu.Unlock()
		return s.latest()
	}
	withdrawn := !keeps(listed, s.terms)
	s.learned, s.known, s.terms = number, keys, listed
	s.mu.Unlock()
	s.refusals.drop(func(r keptRefusal) bool {
		if r.Added {
			return false
		}
		t, ok := listed[string(r.public.Marshal())]
		return !ok || !reflect.DeepEqual(t.policy, r.policy)
	})
	s.withdraw(withdrawn)
	return keys, nil
}

// withdraw has the private keys forgotten that are held, if one of them must not be any
// more. Which one is not told: the others are fetched again when they are wanted.
func (s *Source) withdraw(withdrawn bool) {
	if withdrawn && s.withdrawn != nil {
		s.log.Info("what the server offers has changed: forgetting the private keys that are held")
		s.withdrawn()
	}
}

// look has the keys forgotten whose time is over, and reports whether there is one that
// was not over before.
func (s *Source) look() (over bool) {
	s.mu.Lock()
	now := time.Now()
	listed := make(map[string]terms, len(s.terms))
	for blob, t := range s.terms {
		listed[blob] = t.at(now)
	}
	over = !keeps(listed, s.terms)
	s.terms = listed
	s.mu.Unlock()
	s.withdraw(over)
	return over
}

// untilLook is when to look again.
func (s *Source) untilLook() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait, now := keyLookEvery, time.Now()
	for _, t := range s.terms {
		for _, end := range t.times() {
			if left := end.Sub(now); left > 0 {
				wait = min(wait, left)
			}
		}
	}
	return wait
}
