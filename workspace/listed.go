package workspace

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
)

// keyLookEvery is how late it is seen at most that a key's time is over which ended while
// the machine slept: timers stand still then.
const keyLookEvery = time.Minute

// An offer is how a key serves, what it signs, and until when.
type offer struct {
	name    string
	mode    api.KeyMode
	policy  api.KeyPolicy
	expires time.Time // when it is not offered any more; zero: that is not known
	over    bool      // its time, by policy or expires, was over when that was last looked at
}

// times are those from which on the server has another answer about the key.
func (o offer) times() (times []time.Time) {
	if o.policy.UsableUntil != nil {
		times = append(times, *o.policy.UsableUntil)
	}
	if !o.expires.IsZero() {
		times = append(times, o.expires)
	}
	return times
}

// expired says why the key must not be used any more, even if it is listed still: the
// server's clock may be behind.
func (o offer) expired(now time.Time) error {
	if o.expires.IsZero() || now.Before(o.expires) {
		return nil
	}
	return &api.Error{
		Kind:    api.ErrForbidden,
		Message: "a rotation has replaced the key, which was offered until " + o.expires.UTC().Format(time.RFC3339),
		Detail:  "use the key that has replaced it; if that time is not over, mend the clock of this machine",
	}
}

// at is the offer as it is at a time.
func (o offer) at(now time.Time) offer {
	o.over = false
	for _, t := range o.times() {
		o.over = o.over || !now.Before(t)
	}
	return o
}

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
	offers := make(map[string]offer, len(offered))
	for _, k := range offered {
		public, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(k.PublicKey))
		if err != nil {
			s.log.Warn("left out a key that the server lists", "name", k.Name, "generation", k.Generation, "err", err)
			continue
		}
		keys = append(keys, sshagent.Key{Public: public, Comment: comment})
		o := offer{name: k.Name, mode: k.Mode, policy: k.Policy}
		if k.ExpiresAt != nil {
			o.expires = *k.ExpiresAt
		}
		offers[string(public.Marshal())] = o.at(time.Now())
	}
	return s.learn(number, keys, offers)
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
func (s *Source) learn(number int64, keys []sshagent.Key, offers map[string]offer) ([]sshagent.Key, error) {
	s.mu.Lock()
	if number < s.learned {
		s.mu.Unlock()
		return s.latest()
	}
	withdrawn := !keeps(offers, s.offers)
	s.learned, s.known, s.offers = number, keys, offers
	s.mu.Unlock()
	s.refusals.drop(func(r keptRefusal) bool {
		o, ok := offers[r.public]
		return !r.Added && (!ok || !reflect.DeepEqual(o.policy, r.policy))
	})
	s.withdraw(withdrawn)
	return keys, nil
}

// keeps reports whether all that was offered is offered still, and the same.
func keeps(offers, old map[string]offer) bool {
	for blob, o := range old {
		if now, ok := offers[blob]; !ok || !reflect.DeepEqual(now, o) {
			return false
		}
	}
	return true
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
	offers := make(map[string]offer, len(s.offers))
	for blob, o := range s.offers {
		offers[blob] = o.at(now)
	}
	over = !keeps(offers, s.offers)
	s.offers = offers
	s.mu.Unlock()
	s.withdraw(over)
	return over
}

// untilLook is when to look again.
func (s *Source) untilLook() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait, now := keyLookEvery, time.Now()
	for _, o := range s.offers {
		for _, t := range o.times() {
			if left := t.Sub(now); left > 0 {
				wait = min(wait, left)
			}
		}
	}
	return wait
}
