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
