package storetest

import (
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
		k.addSecrets(s, s)
		k.report(delivery(w, 1))
		fetch := event(s)
		fetch.Actor, fetch.ActorID, fetch.Target, fetch.TargetID, fetch.Remote, fetch.Result, fetch.Detail, fetch.Facts = s, s, s, u, s, keyserver.Result(s), s, s
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
		npm := secret(s, s)
		k.same(fmt.Sprintf("Secrets(%q)", s), k.secrets(s), []keyserver.Secret{npm})
		k.same(fmt.Sprintf("SecretValues(%q)", s), k.values(npm.ID), []keyserver.SecretValue{value(npm.ID, 1)})
		k.same(fmt.Sprintf("Deliveries(%q)", s), k.deliveries(s), []keyserver.Delivery{delivery(w, 1)})
		k.same(fmt.Sprintf("Tokens(%q)", s), must(k.store.Tokens(k.ctx, w.UserID, w.ID))(k.T, "Tokens"), []keyserver.Token{of(w, token(s, s))})
	}
	sorted := slices.Sorted(slices.Values(strange))
	for i, u := range must(k.store.Users(k.ctx, "", len(strange)))(k.T, "Users") {
		k.same("Users in the order of bytes", u.Name, sorted[i])
	}
	k.addUser("all of them")
	k.addSecrets("all of them", strange...)
	for i, s := range k.secrets("all of them") {
		k.same("Secrets in the order of bytes", s, secret("all of them", sorted[i]))
	}
	k.changes("DeleteUser", func(e keyserver.Event) error { return k.store.DeleteUser(k.ctx, "user-all of them", e) })
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
		k.timesOfSecrets(name, c.given, c.want)
	}
	k.chain()
}

// timesOfSecrets is what times does, for what a user may have besides.
func (k *kit) timesOfSecrets(owner string, given, want time.Time) {
	k.Helper()
	npm, w := secret(owner, "npm"), workspace(owner, "dev")
	v, d := value(npm.ID, 1), delivery(w, 1)
	set := func(at time.Time) {
		npm.CreatedAt, npm.UpdatedAt, v.CreatedAt, d.ReportedAt, w.CreatedAt = at, at, at, at, at
	}
	set(given)
	k.changes("ChangeSecrets", k.changing(owner, keyserver.SecretChange{Put: []keyserver.Secret{npm}, Values: []keyserver.SecretValue{v}}))
	k.changes("CreateWorkspace", func(e keyserver.Event) error {
		return k.store.CreateWorkspace(k.ctx, w, of(w, token(owner, "dev")), e)
	})
	k.report(d)
	set(want)
	k.same("Secrets", k.secrets(owner), []keyserver.Secret{npm})
	k.same("SecretValues", k.values(npm.ID), []keyserver.SecretValue{v})
	k.same("Deliveries", k.deliveries(owner), []keyserver.Delivery{d})
	k.same("Workspaces", must(k.store.Workspaces(k.ctx, w.UserID))(k.T, "Workspaces"), []keyserver.Workspace{w})
	for _, at := range []time.Time{k.secrets(owner)[0].CreatedAt, k.secrets(owner)[0].UpdatedAt, k.values(npm.ID)[0].CreatedAt, k.deliveries(owner)[0].ReportedAt} {
		if at != want {
			k.Errorf("stored at %#v: %#v; want %#v", given, at, want)
		}
	}
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
	empty := keyserver.SecretChange{Put: []keyserver.Secret{{}}, Values: []keyserver.SecretValue{{}}}
	if err := k.store.ChangeSecrets(k.ctx, "u", 1, empty, keyserver.Event{}); err != nil {
		k.Fatalf("ChangeSecrets with next to nothing in it: %v", err)
	}
	secrets, values, revision, err := k.store.CurrentValues(k.ctx, "u")
	k.same("CurrentValues", must(secrets, err)(k.T, "CurrentValues"), []keyserver.Secret{{UserID: "u"}})
	k.same("values", values, []keyserver.SecretValue{{}})
	k.same("revision", revision, int64(2))
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

func closeTwice(k *kit) {
	k.addUser("alice")
	for i := range 2 {
		if err := k.store.Close(); err != nil {
			k.Fatalf("Close, call %d: %v", i+1, err)
		}
	}
}
