package keyserver_test

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver"
)

func signed() keyserver.Event {
	return keyserver.Event{
		At: time.UnixMicro(1772366400123456), Actor: "user:alice", ActorID: "u", Action: "key.sign", Target: "alice/default",
		TargetID: "u", Remote: "192.0.2.1", Result: keyserver.OK, Detail: `login as "git"`,
	}
}

// An event of before there were facts has the hash that it was stored with: it was
// computed by another program.
func TestChainOfOldEvents(t *testing.T) {
	e := signed()
	e.Chain(keyserver.Event{})
	const want = "b6fb6d396335e5402ee428466441489689e359e1114efe53546f5ca4d9abe4c5"
	if got := hex.EncodeToString(e.Hash[:]); got != want {
		t.Errorf("an event without facts has the hash %s; want %s", got, want)
	}
}

// Facts can't be changed, added, taken away or be moved to another field unseen.
func TestChainHoldsFacts(t *testing.T) {
	e := signed()
	e.Facts = `{"kind":"login"}`
	e.Chain(keyserver.Event{})
	if !e.Follows(keyserver.Event{}) {
		t.Fatal("an event with facts does not follow what Chain put it behind")
	}
	for name, change := range map[string]func(*keyserver.Event){
		"changed": func(e *keyserver.Event) { e.Facts = `{"kind":"other"}` },
		"taken":   func(e *keyserver.Event) { e.Facts = "" },
		"moved":   func(e *keyserver.Event) { e.Detail, e.Facts = e.Detail+e.Facts, "" },
		"shifted": func(e *keyserver.Event) { e.Detail, e.Facts = e.Detail+e.Facts[:1], e.Facts[1:] },
	} {
		other := e
		if change(&other); other.Follows(keyserver.Event{}) {
			t.Errorf("an event whose facts were %s follows all the same", name)
		}
	}
	plain := signed()
	plain.Chain(keyserver.Event{})
	if plain.Facts = "{}"; plain.Follows(keyserver.Event{}) {
		t.Error("an event to which facts were added follows all the same")
	}
}
