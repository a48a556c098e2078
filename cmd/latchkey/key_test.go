package main

import (
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// Of two ends the earlier one binds.
func TestExpires(t *testing.T) {
	soon, later := time.Unix(1000, 0), time.Unix(2000, 0)
	for _, test := range []struct{ replaced, usable, want *time.Time }{
		{nil, nil, nil}, {&soon, nil, &soon}, {nil, &soon, &soon}, {&soon, &later, &soon}, {&later, &soon, &soon},
	} {
		if got := expires(api.Key{ExpiresAt: test.replaced, Policy: api.KeyPolicy{UsableUntil: test.usable}}); got != test.want {
			t.Errorf("a key that is offered until %v and usable until %v expires at %v; want %v", test.replaced, test.usable, got, test.want)
		}
	}
}

// A key whose time is over is not one whose time ends just now.
func TestExpiry(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for _, test := range []struct {
		after time.Duration
		want  string
	}{{time.Hour, "in 60 minutes"}, {0, "expired just now"}, {-time.Second, "expired just now"}, {-3 * time.Hour, "expired 3 hours ago"}} {
		if got := expiry(api.Key{ExpiresAt: new(now.Add(test.after))}, now); got != test.want {
			t.Errorf("with %s to go the list says %q; want %q", test.after, got, test.want)
		}
	}
	if got := expiry(api.Key{}, now); got != "" {
		t.Errorf("of a key that never expires the list says %q", got)
	}
}
