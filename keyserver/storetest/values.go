package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var valueTests = []test{
	{"strings are bytes", stringsAreBytes},
	{"times keep microseconds", times},
	{"values may be empty", emptyValues},
	{"values may be large", largeValues},
	{"what is given is copied", givenIsCopied},
	{"what is returned is a copy", returnedIsCopied},
	{"closing twice is fine", closeTwice},
}

// strange are strings that SQL, collations, paths or C have their own ideas
// about. No two are the same.
var strange = []string{
	"a/b", "..", "100%", "_", "%", "o'brien", `"; DROP TABLE users; --`, "\x00", "a\x00", "a\x00b", "a", "A", "ä", "a\u0308",
	"\xff\xfe", "\xc3", " ", " a", "a ", "1", "01", "1.0", "NULL", "$1", "?", "\\", "\n", "straße", "STRASSE",
	strings.Repeat("x", 255), strings.Repeat("x", 254) + "y",
}

func stringsAreBytes(k *kit) {
	for _, s := range strange {
		k.addUser(s)
		u := keyserver.UserID("user-" + s)
		named := key(s, s, 1)
		named.Algorithm = api.Algorithm(s)
		k.changes("CreateKey", func(e keyserver.Event) error { return k.store.CreateKey(k.ctx, named, e) })
		w := k.addWorkspace(s, s)
		fetch := event(s)
		fetch.Actor, fetch.ActorID, fetch.Target, fetch.TargetID, fetch.Remote, fetch.Result, fetch.Detail = s, s, s, u, s, keyserver.Result(s), s
		if err := k.store.RecordFetch(k.ctx, u, s, 1, w.ID, fetch); err != nil {
			k.Fatalf("RecordFetch(%q): %v", s, err)
		}
		fetch.Chain(must(k.store.Events(k.ctx, k.lastEvent().Seq-2, 1))(k.T, "Events")[0])
		k.same("LastEvent", k.lastEvent(), fetch)
	}
	for _, s := range strange {
		k.same(fmt.Sprintf("UserNamed(%q)", s), must(k.store.UserNamed(k.ctx, s))(k.T, "UserNamed"), user(s))
		k.same(fmt.Sprintf("User(%q)", s), must(k.store.User(k.ctx, user(s).ID))(k.T, "User"), user(s))
		keys := slices.DeleteFunc(k.keys(s), func(key keyserver.Key) bool { return key.Name != s })
		want := key(s, s, 1)
		want.Algorithm, want.LastFetchedAt, want.LastFetchedBy = api.Algorithm(s), event("").At, workspace(s, s).ID
		k.same(fmt.Sprintf("Keys(%q)", s), keys, []keyserver.Key{want})
		w := workspace(s, s)
		k.same(fmt.Sprintf("Workspace(%q)", s), must(k.store.Workspace(k.ctx, w.ID))(k.T, "Workspace"), w)
		k.same(fmt.Sprintf("Tokens(%q)", s), must(k.store.Tokens(k.ctx, w.UserID, w.ID))(k.T, "Tokens"), []keyserver.Token{of(w, token(s, s))})
	}
	sorted := slices.Sorted(slices.Values(strange))
	for i, u := range must(k.store.Users(k.ctx, "", len(strange)))(k.T, "Users") {
		k.same("Users in the order of bytes", u.Name, sorted[i])
	}
	// Each is one of its own when it goes, too.
	for i, s := range strange {
		k.changes(fmt.Sprintf("DeleteUser(%q)", s), func(e keyserver.Event) error { return k.store.DeleteUser(k.ctx, user(s).ID, e) })
		k.same("users left", len(must(k.store.Users(k.ctx, "", len(strange)))(k.T, "Users")), len(strange)-i-1)
	}
	k.chain()
}

func times(k *kit) {
	zone := time.FixedZone("UTC+5:45", 5*3600+45*60)
	for i, c := range []struct{ given, want time.Time }{
		{time.Time{}, time.Time{}},
		{time.Date(2026, 7, 1, 12, 0, 0, 123456789, time.UTC), time.Date(2026, 7, 1, 12, 0, 0, 123456000, time.UTC)},
		{time.Date(2026, 7, 1, 12, 0, 0, 123456000, zone), time.Date(2026, 7, 1, 6, 15, 0, 123456000, time.UTC)},
		{time.Unix(0, 0), time.Unix(0, 0).UTC()},
		{time.Date(1969, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999999000, time.UTC)},
		{time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)},
	} {
		name := fmt.Sprint("user ", i)
		u, first, t, e := user(name), key(name, api.DefaultKey, 1), token(name, "first"), event("user.create")
		set := func(at time.Time) {
			u.CreatedAt, u.UpdatedAt, t.CreatedAt, t.ExpiresAt, t.RevokedAt, e.At = at, at, at, at, at, at
			first.CreatedAt, first.UpdatedAt, first.ExpiresAt, first.LastFetchedAt = at, at, at, at
		}
		set(c.given)
		if err := k.store.CreateUser(k.ctx, u, first, t, e); err != nil {
			k.Fatalf("CreateUser at %v: %v", c.given, err)
		}
		set(c.want)
		// Compared with ==: the zone counts, and so does what IsZero says.
		got := must(k.store.User(k.ctx, u.ID))(k.T, "User")
		if got.CreatedAt != c.want || got.UpdatedAt != c.want {
			k.Errorf("User stored at %#v: CreatedAt %#v, UpdatedAt %#v; want %#v", c.given, got.CreatedAt, got.UpdatedAt, c.want)
		}
		k.same("Keys", k.keys(name), []keyserver.Key{first})
		if got := must(k.store.TokenByHash(k.ctx, t.Hash))(k.T, "TokenByHash"); got != t {
			k.Errorf("TokenByHash =\n%#v\nwant\n%#v", got, t)
		}
		if got := k.lastEvent().At; got != c.want {
			k.Errorf("LastEvent stored at %#v is at %#v; want %#v", c.given, got, c.want)
		}
	}
	k.chain()
}

func emptyValues(k *kit) {
	u := keyserver.User{ID: "u", Name: "n"}
	first := keyserver.Key{UserID: "u", Name: "k", Generation: 1}
	t := keyserver.Token{ID: "t", UserID: "u"}
	if err := k.store.CreateUser(k.ctx, u, first, t, keyserver.Event{}); err != nil {
		k.Fatalf("CreateUser with next to nothing in it: %v", err)
	}
	k.same("User", must(k.store.User(k.ctx, "u"))(k.T, "User"), u)
	k.same("Keys", must(k.store.Keys(k.ctx, "u"))(k.T, "Keys"), []keyserver.Key{first})
	k.same("TokenByHash", must(k.store.TokenByHash(k.ctx, [32]byte{}))(k.T, "TokenByHash"), t)
	if err := k.store.Init(k.ctx, nil, keyserver.Event{}); err != nil {
		k.Fatalf("Init with nothing: %v", err)
	}
	k.same("MasterKeyCheck", len(must(k.store.MasterKeyCheck(k.ctx))(k.T, "MasterKeyCheck")), 0)
	k.refuses("Init after Init with nothing", api.ErrConflict, func(e keyserver.Event) error { return k.store.Init(k.ctx, []byte("x"), e) })
	k.chain()
}

func largeValues(k *kit) {
	const large = 1 << 20
	all := make([]byte, large)
	for i := range all {
		all[i] = byte(i * 7)
	}
	k.addUser("alice")
	big := key("alice", "big", 1)
	big.Sealed, big.PublicKey, big.Generation = all, all, 1
	k.changes("CreateKey", func(e keyserver.Event) error { return k.store.CreateKey(k.ctx, big, e) })
	k.same("Keys", k.keys("alice")[0], big)
	e := event("user.update")
	e.Detail = string(all)
	u := user("alice")
	if err := k.store.UpdateUser(k.ctx, u, e); err != nil {
		k.Fatalf("UpdateUser with %d bytes of detail: %v", large, err)
	}
	k.same("bytes of detail", k.lastEvent().Detail == e.Detail, true)

	const last = 1<<63 - 2
	u = user("bob")
	u.Version = last
	k.changes("CreateUser", func(e keyserver.Event) error {
		return k.store.CreateUser(k.ctx, u, key("bob", api.DefaultKey, last), token("bob", "first"), e)
	})
	k.changes("UpdateUser", func(e keyserver.Event) error { return k.store.UpdateUser(k.ctx, u, e) })
	k.same("Version", must(k.store.User(k.ctx, u.ID))(k.T, "User").Version, int64(last+1))
	k.rotate("bob", api.DefaultKey, last+1, time.Time{})
	k.chain()
}

func givenIsCopied(k *kit) {
	u, first, check := user("alice"), key("alice", api.DefaultKey, 1), []byte("check")
	second, other := key("alice", api.DefaultKey, 2), key("alice", "other", 1)
	steps := []func(keyserver.Event) error{
		func(e keyserver.Event) error {
			return k.store.CreateUser(k.ctx, u, first, token("alice", "first"), e)
		},
		func(e keyserver.Event) error { return k.store.Init(k.ctx, check, e) },
		func(e keyserver.Event) error { return k.store.CreateKey(k.ctx, other, e) },
		func(e keyserver.Event) error {
			return k.store.RotateKey(k.ctx, second, epoch.Add(1000*time.Hour), e)
		},
	}
	for _, step := range steps {
		k.changes("step", step)
	}
	before := k.dump()
	for _, b := range [][]byte{u.DataKey, first.Sealed, first.PublicKey, check, second.Sealed, second.PublicKey, other.Sealed, other.PublicKey} {
		clear(b)
	}
	if after := k.dump(); after != before {
		k.Fatalf("the caller changed what it had given, and the store changed; before:\n%s\nafter:\n%s", before, after)
	}
}

func returnedIsCopied(k *kit) {
	k.addUser("alice")
	k.changes("Init", func(e keyserver.Event) error { return k.store.Init(k.ctx, []byte("check"), e) })
	before := k.dump()
	clear(must(k.store.User(k.ctx, "user-alice"))(k.T, "User").DataKey)
	clear(must(k.store.UserNamed(k.ctx, "alice"))(k.T, "UserNamed").DataKey)
	clear(must(k.store.Users(k.ctx, "", 1))(k.T, "Users")[0].DataKey)
	clear(must(k.store.MasterKeyCheck(k.ctx))(k.T, "MasterKeyCheck"))
	keys := k.keys("alice")
	clear(keys[0].Sealed)
	clear(keys[0].PublicKey)
	clear(keys)
	clear(must(k.store.Tokens(k.ctx, "user-alice", ""))(k.T, "Tokens"))
	clear(must(k.store.Events(k.ctx, 0, 10))(k.T, "Events"))
	if after := k.dump(); after != before {
		k.Fatalf("the caller changed what it was given, and the store changed; before:\n%s\nafter:\n%s", before, after)
	}
	if bytes.Contains([]byte(before), []byte("DataKey:[0")) {
		k.Fatal("the data key was empty from the start")
	}
}

func closeTwice(k *kit) {
	k.addUser("alice")
	for i := range 2 {
		if err := k.store.Close(); err != nil {
			k.Fatalf("Close, call %d: %v", i+1, err)
		}
	}
}
