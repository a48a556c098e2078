package storetest

import (
	"fmt"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var keyTests = []test{
	{"lists are by name, newest generation first", listKeys},
	{"what is taken is a conflict", takenKey},
	{"a rotation follows the current generation", rotateGenerations},
	{"a rotation removes or keeps the old one", rotateKeepsOld},
	{"a rotation removes what has expired", rotateExpired},
	{"a rotation brings another key", rotateFingerprint},
	{"deleting a name deletes its generations", deleteKey},
	{"a fetch is noted on one generation", recordFetch},
}

func (k *kit) keys(owner string) []keyserver.Key {
	k.Helper()
	return must(k.store.Keys(k.ctx, keyserver.UserID("user-"+owner)))(k.T, "Keys("+owner+")")
}

// names is which generations of which keys a user has, in the store's order.
func (k *kit) names(owner string) string {
	k.Helper()
	var names []string
	for _, key := range k.keys(owner) {
		names = append(names, fmt.Sprintf("%s/%d", key.Name, key.Generation))
	}
	return fmt.Sprint(names)
}

func (k *kit) addKey(owner, name string) {
	k.Helper()
	k.changes("CreateKey("+name+")", func(e keyserver.Event) error {
		return k.store.CreateKey(k.ctx, key(owner, name, 1), e)
	})
}

// rotate stores the next generation; zero: the old one is removed.
func (k *kit) rotate(owner, name string, generation int64, oldExpires time.Time) keyserver.Key {
	k.Helper()
	next := key(owner, name, generation)
	k.changes(fmt.Sprintf("RotateKey(%s to %d)", name, generation), func(e keyserver.Event) error {
		return k.store.RotateKey(k.ctx, next, oldExpires, e)
	})
	return next
}

func listKeys(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	for _, name := range []string{"z", "B", "a"} {
		k.addKey("alice", name)
	}
	later := epoch.Add(1000 * time.Hour)
	k.rotate("alice", "a", 2, later)
	k.rotate("alice", "a", 3, later)
	k.same("Keys", k.names("alice"), "[B/1 a/3 a/2 a/1 default/1 z/1]")
	k.same("Keys of another user", k.names("bob"), "[default/1]")
}

func takenKey(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	k.addKey("alice", "deploy")
	create := func(what string, want error, change func(*keyserver.Key)) {
		k.Helper()
		given := key("alice", "new", 1)
		change(&given)
		k.refuses("CreateKey with "+what, want, func(e keyserver.Event) error { return k.store.CreateKey(k.ctx, given, e) })
	}
	create("a taken name", api.ErrConflict, func(key *keyserver.Key) { key.Name = "deploy" })
	create("the fingerprint of another key", api.ErrConflict, func(key *keyserver.Key) { key.Fingerprint = "SHA256:alice/deploy/1" })
	create("a user who is not there", api.ErrNotFound, func(key *keyserver.Key) { key.UserID = "user-nobody" })
	k.rotate("alice", "deploy", 2, time.Time{})
	create("a taken name whose generation 1 is gone", api.ErrConflict, func(key *keyserver.Key) { key.Name = "deploy" })

	// Names and keys are each user's own.
	other := key("bob", "deploy", 1)
	other.Fingerprint = "SHA256:alice/deploy/2"
	k.changes("CreateKey with another user's name and fingerprint", func(e keyserver.Event) error {
		return k.store.CreateKey(k.ctx, other, e)
	})
	k.same("Keys", k.keys("bob")[1], other)
}

func rotateGenerations(k *kit) {
	k.addUser("alice")
	k.addKey("alice", "deploy")
	k.rotate("alice", api.DefaultKey, 2, time.Time{})
	for _, c := range []struct {
		owner, name string
		generation  int64
		want        error
	}{
		{"alice", api.DefaultKey, 1, api.ErrConflict},
		{"alice", api.DefaultKey, 2, api.ErrConflict},
		{"alice", api.DefaultKey, 4, api.ErrConflict},
		{"alice", api.DefaultKey, 0, api.ErrConflict},
		{"alice", api.DefaultKey, -1, api.ErrConflict},
		{"alice", "deploy", 3, api.ErrConflict},
		{"alice", "other", 1, api.ErrNotFound},
		{"alice", "other", 2, api.ErrNotFound},
		{"alice", "other", 9, api.ErrNotFound}, // what INSERT … ON CONFLICT DO UPDATE … WHERE would take
		{"nobody", api.DefaultKey, 1, api.ErrNotFound},
		{"nobody", api.DefaultKey, 9, api.ErrNotFound},
	} {
		next := key(c.owner, c.name, c.generation)
		next.Fingerprint += " again"
		k.refuses(fmt.Sprintf("RotateKey(%s/%s to %d)", c.owner, c.name, c.generation), c.want, func(e keyserver.Event) error {
			return k.store.RotateKey(k.ctx, next, time.Time{}, e)
		})
	}
	next := k.rotate("alice", api.DefaultKey, 3, time.Time{})
	k.same("Keys", k.keys("alice")[0], next)
}

func rotateKeepsOld(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	k.addKey("alice", "deploy")
	first := k.keys("alice")[0]
	later := epoch.Add(24 * time.Hour)

	second := k.rotate("alice", api.DefaultKey, 2, later)
	first.ExpiresAt = later
	k.same("Keys after a rotation that keeps the old one", k.keys("alice")[:2], []keyserver.Key{second, first})
	third := k.rotate("alice", api.DefaultKey, 3, time.Time{})
	k.same("Keys after a rotation that does not", k.keys("alice")[:2], []keyserver.Key{third, first})
	k.same("Keys in all", k.names("alice"), "[default/3 default/1 deploy/1]")
	k.same("Keys of another user", k.names("bob"), "[default/1]")
}

func rotateExpired(k *kit) {
	k.addUser("alice")
	k.addKey("alice", "deploy")
	at := func(generation int64) time.Time { return key("alice", "", generation).UpdatedAt }
	k.rotate("alice", "deploy", 2, at(3)) // another name's: not touched below
	k.rotate("alice", api.DefaultKey, 2, at(3).Add(time.Microsecond))
	k.rotate("alice", api.DefaultKey, 3, at(4))
	k.same("Keys before anything has expired", k.names("alice"), "[default/3 default/2 default/1 deploy/2 deploy/1]")
	k.rotate("alice", api.DefaultKey, 4, at(9))
	k.same("Keys when two have expired, one just now", k.names("alice"), "[default/4 default/3 deploy/2 deploy/1]")
	k.rotate("alice", api.DefaultKey, 5, at(4))
	k.same("Keys when the old one has expired at once", k.names("alice"), "[default/5 default/3 deploy/2 deploy/1]")
}

func rotateFingerprint(k *kit) {
	k.addUser("alice")
	k.addKey("alice", "deploy")
	at := func(generation int64) time.Time { return key("alice", "", generation).UpdatedAt }
	k.rotate("alice", api.DefaultKey, 2, at(4))
	try := func(fingerprint string) (string, func(e keyserver.Event) error) {
		next := key("alice", api.DefaultKey, 3)
		next.Fingerprint = fingerprint
		return "RotateKey to " + fingerprint, func(e keyserver.Event) error { return k.store.RotateKey(k.ctx, next, time.Time{}, e) }
	}
	for _, has := range []string{"SHA256:alice/default/2", "SHA256:alice/default/1", "SHA256:alice/deploy/1"} {
		what, change := try(has)
		k.refuses(what, api.ErrConflict, change)
	}
	k.rotate("alice", api.DefaultKey, 3, time.Time{})
	back := key("alice", api.DefaultKey, 4)
	back.Fingerprint = "SHA256:alice/default/1"
	k.changes("RotateKey back to a key that has expired", func(e keyserver.Event) error {
		return k.store.RotateKey(k.ctx, back, time.Time{}, e)
	})
	k.same("Keys", k.keys("alice")[0], back)
}

func deleteKey(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	k.addKey("alice", "deploy")
	k.addKey("bob", "deploy")
	k.rotate("alice", "deploy", 2, epoch.Add(1000*time.Hour))
	remove := func(owner, name string) func(keyserver.Event) error {
		return func(e keyserver.Event) error {
			return k.store.DeleteKey(k.ctx, keyserver.UserID("user-"+owner), name, e)
		}
	}
	k.refuses("DeleteKey(no such name)", api.ErrNotFound, remove("alice", "other"))
	k.refuses("DeleteKey(no such user)", api.ErrNotFound, remove("nobody", "deploy"))
	k.changes("DeleteKey", remove("alice", "deploy"))
	k.refuses("DeleteKey again", api.ErrNotFound, remove("alice", "deploy"))
	k.same("Keys", k.names("alice"), "[default/1]")
	k.same("Keys of another user", k.names("bob"), "[default/1 deploy/1]")
	k.addKey("alice", "deploy")
	k.changes("DeleteKey of the default one", remove("alice", api.DefaultKey))
	k.same("Keys", k.names("alice"), "[deploy/1]")
}

func recordFetch(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	k.rotate("alice", api.DefaultKey, 2, epoch.Add(1000*time.Hour))
	fetch := func(owner, name string, generation int64) func(keyserver.Event) error {
		return func(e keyserver.Event) error {
			return k.store.RecordFetch(k.ctx, keyserver.UserID("user-"+owner), name, generation, "workspace-1", e)
		}
	}
	want := k.keys("alice")
	for i, generation := range []int64{2, 1} {
		k.changes("RecordFetch", fetch("alice", api.DefaultKey, generation))
		want[i].LastFetchedAt, want[i].LastFetchedBy = event("").At, "workspace-1"
		k.same("Keys", k.keys("alice"), want)
	}
	k.same("Keys of another user", k.keys("bob")[0], key("bob", api.DefaultKey, 1))

	next := k.rotate("alice", api.DefaultKey, 3, time.Time{})
	k.same("a new generation", k.keys("alice")[0], next)
	k.refuses("RecordFetch(removed generation)", api.ErrNotFound, fetch("alice", api.DefaultKey, 2))
	k.refuses("RecordFetch(generation to come)", api.ErrNotFound, fetch("alice", api.DefaultKey, 4))
	k.refuses("RecordFetch(no such name)", api.ErrNotFound, fetch("alice", "other", 1))
	k.refuses("RecordFetch(no such user)", api.ErrNotFound, fetch("nobody", api.DefaultKey, 1))
}
