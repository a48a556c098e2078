package workspace

import (
	"reflect"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// Terms are how a key serves that the server lists, what it signs, and until when.
type terms struct {
	name    string
	mode    api.KeyMode
	policy  api.KeyPolicy
	expires time.Time // when it is not offered any more; zero: that is not known
	over    bool      // its time, by policy or expires, was over when that was last looked at
}

// times are those from which on the server has another answer about the key.
func (t terms) times() (times []time.Time) {
	if t.policy.UsableUntil != nil {
		times = append(times, *t.policy.UsableUntil)
	}
	if !t.expires.IsZero() {
		times = append(times, t.expires)
	}
	return times
}

// expired says why the key must not be used any more, even if it is listed still: the
// server's clock may be behind.
func (t terms) expired(now time.Time) error {
	if t.expires.IsZero() || now.Before(t.expires) {
		return nil
	}
	return &api.Error{
		Kind:    api.ErrForbidden,
		Message: "a rotation has replaced the key, which was offered until " + t.expires.UTC().Format(time.RFC3339),
		Detail:  "use the key that has replaced it; if that time is not over, mend the clock of this machine",
	}
}

// at are the terms as they are at a time.
func (t terms) at(now time.Time) terms {
	t.over = false
	for _, end := range t.times() {
		t.over = t.over || !now.Before(end)
	}
	return t
}

// keeps reports whether all that was listed is listed still, on the same terms.
func keeps(now, old map[string]terms) bool {
	for blob, t := range old {
		if same, ok := now[blob]; !ok || !reflect.DeepEqual(same, t) {
			return false
		}
	}
	return true
}
