package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var userTests = []test{
	{"a new user has a key and a token", newUser},
	{"what is taken is a conflict", takenUser},
	{"who is not there is not found", missingUser},
	{"lists are by name, in pages", listUsers},
	{"an update is for one version", updateUser},
	{"deleting a user deletes all that is theirs", deleteUser},
}

func newUser(k *kit) {
	u := k.addUser("alice")
	k.same("User", must(k.store.User(k.ctx, u.ID))(k.T, "User"), u)
	k.same("UserNamed", must(k.store.UserNamed(k.ctx, "alice"))(k.T, "UserNamed"), u)
	k.same("Keys", must(k.store.Keys(k.ctx, u.ID))(k.T, "Keys"), []keyserver.Key{key("alice", api.DefaultKey, 1)})
	first := token("alice", "first")
	k.same("Tokens", must(k.store.Tokens(k.ctx, u.ID, ""))(k.T, "Tokens"), []keyserver.Token{first})
	k.same("TokenByHash", must(k.store.TokenByHash(k.ctx, first.Hash))(k.T, "TokenByHash"), first)
}

func takenUser(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	for _, c := range []struct {
		what   string
		change func(*keyserver.User, *keyserver.Token)
	}{
		{"the name", func(u *keyserver.User, _ *keyserver.Token) { u.Name = "alice" }},
		{"the id", func(u *keyserver.User, _ *keyserver.Token) { u.ID = "user-alice" }},
		{"the token's id", func(_ *keyserver.User, t *keyserver.Token) { t.ID = token("alice", "first").ID }},
		{"the token's hash", func(_ *keyserver.User, t *keyserver.Token) { t.Hash = token("alice", "first").Hash }},
	} {
		u, t := user("carol"), token("carol", "first")
		c.change(&u, &t)
		key := key("carol", api.DefaultKey, 1)
		key.UserID, t.UserID = u.ID, u.ID
		k.refuses("CreateUser with "+c.what+" of another", api.ErrConflict, func(e keyserver.Event) error {
			return k.store.CreateUser(k.ctx, u, key, t, e)
		})
	}
	k.addUser("carol")
}

func missingUser(k *kit) {
	k.addUser("alice")
	_, err := k.store.User(k.ctx, "user-nobody")
	k.wantError("User(nobody)", err, api.ErrNotFound)
	_, err = k.store.UserNamed(k.ctx, "user-alice")
	k.wantError("UserNamed(an id)", err, api.ErrNotFound)
	k.refuses("UpdateUser(nobody)", api.ErrNotFound, func(e keyserver.Event) error {
		return k.store.UpdateUser(k.ctx, user("nobody"), e)
	})
	k.refuses("DeleteUser(nobody)", api.ErrNotFound, func(e keyserver.Event) error {
		return k.store.DeleteUser(k.ctx, "user-nobody", e)
	})
	k.same("Keys(nobody)", len(must(k.store.Keys(k.ctx, "user-nobody"))(k.T, "Keys")), 0)
	k.same("Tokens(nobody)", len(must(k.store.Tokens(k.ctx, "user-nobody", ""))(k.T, "Tokens")), 0)
	k.same("Workspaces(nobody)", len(must(k.store.Workspaces(k.ctx, "user-nobody"))(k.T, "Workspaces")), 0)
}

func listUsers(k *kit) {
	k.same("Users of an empty store", len(must(k.store.Users(k.ctx, "", 10))(k.T, "Users")), 0)
	// In the order of their bytes, which is no language's.
	sorted := []string{"A", "Z", "a", "a.b", "a/b", "aa", "b", "z", "é", "\xff"}
	for _, i := range []int{3, 9, 0, 7, 5, 1, 8, 2, 6, 4} {
		k.addUser(sorted[i])
	}
	page := func(after string, limit int) []string {
		var names []string
		for _, u := range must(k.store.Users(k.ctx, after, limit))(k.T, "Users") {
			names = append(names, u.Name)
		}
		return names
	}
	for _, c := range []struct {
		after string
		limit int
		want  []string
	}{
		{"", 100, sorted}, {"", 3, sorted[:3]}, {"a", 3, sorted[3:6]}, {"Q", 2, sorted[1:3]},
		{"z", 100, sorted[8:]}, {"\xff", 100, nil}, {"", 0, nil}, {"", -1, nil},
	} {
		if got := page(c.after, c.limit); !slices.Equal(got, c.want) {
			k.Errorf("Users(after %q, limit %d) = %q; want %q", c.after, c.limit, got, c.want)
		}
	}
}

func updateUser(k *kit) {
	k.addUser("bob")
	u := k.addUser("alice")
	given := u
	given.Role, given.Disabled, given.UpdatedAt = api.RoleAdmin, true, epoch.Add(time.Hour)
	want := given
	want.Version = 2
	// Nothing else is stored, whatever the caller has put there.
	given.Name, given.DataKey, given.CreatedAt = "mallory", []byte("another"), epoch.Add(time.Second)
	k.changes("UpdateUser", func(e keyserver.Event) error { return k.store.UpdateUser(k.ctx, given, e) })
	k.same("User", must(k.store.User(k.ctx, u.ID))(k.T, "User"), want)
	k.same("another User", must(k.store.User(k.ctx, "user-bob"))(k.T, "User"), user("bob"))

	for _, version := range []int64{0, 1, 3} {
		old := u
		old.Version = version
		k.refuses(fmt.Sprintf("UpdateUser(version %d) over version 2", version), api.ErrConflict, func(e keyserver.Event) error {
			return k.store.UpdateUser(k.ctx, old, e)
		})
	}
}

func deleteUser(k *kit) {
	u := k.addUser("alice")
	k.addUser("bob")
	k.changes("CreateKey", func(e keyserver.Event) error { return k.store.CreateKey(k.ctx, key("alice", "deploy", 1), e) })
	w := k.addWorkspace("alice", "dev")
	others := k.addWorkspace("bob", "dev")
	s, kept := k.addSecrets("alice", "npm")[0], k.addSecrets("bob", "npm")[0]
	k.report(delivery(w, 1))
	k.report(delivery(others, 1))
	events := len(k.chain())

	k.changes("DeleteUser", func(e keyserver.Event) error { return k.store.DeleteUser(k.ctx, u.ID, e) })
	_, err := k.store.User(k.ctx, u.ID)
	k.wantError("User of a deleted user", err, api.ErrNotFound)
	_, err = k.store.UserNamed(k.ctx, "alice")
	k.wantError("UserNamed of a deleted user", err, api.ErrNotFound)
	_, err = k.store.Workspace(k.ctx, w.ID)
	k.wantError("Workspace of a deleted user", err, api.ErrNotFound)
	for _, id := range []string{"first", "dev"} {
		_, err = k.store.TokenByHash(k.ctx, token("alice", id).Hash)
		k.wantError("TokenByHash of a deleted user", err, api.ErrNotFound)
	}
	k.same("Keys of a deleted user", len(must(k.store.Keys(k.ctx, u.ID))(k.T, "Keys")), 0)
	_, err = k.store.Revision(k.ctx, u.ID)
	k.wantError("Revision of a deleted user", err, api.ErrNotFound)
	k.same("SecretValues of a deleted user", len(k.values(s.ID)), 0)
	k.same("Deliveries of a deleted user", len(k.deliveries("alice")), 0)
	k.same("events", len(k.chain()), events+1)

	k.same("another's Keys", len(must(k.store.Keys(k.ctx, "user-bob"))(k.T, "Keys")), 1)
	k.same("another's Workspaces", must(k.store.Workspaces(k.ctx, "user-bob"))(k.T, "Workspaces"), []keyserver.Workspace{others})
	k.same("another's Secrets", k.secrets("bob"), []keyserver.Secret{kept})
	k.same("another's SecretValues", k.values(kept.ID), []keyserver.SecretValue{value(kept.ID, 1)})
	k.same("another's Deliveries", k.deliveries("bob"), []keyserver.Delivery{delivery(others, 1)})
	k.same("another's Tokens", len(must(k.store.Tokens(k.ctx, "user-bob", others.ID))(k.T, "Tokens")), 1)

	// All that was theirs is free again, and nothing of it comes back.
	k.addUser("alice")
	k.same("Keys of a new user", len(must(k.store.Keys(k.ctx, u.ID))(k.T, "Keys")), 1)
	k.same("Secrets of a new user", len(k.secrets("alice")), 0)
	k.addSecrets("alice", "npm")
	k.addWorkspace("alice", "dev")
	k.same("Deliveries of a new user", len(k.deliveries("alice")), 0)
	k.changes("DeleteWorkspace", func(e keyserver.Event) error { return k.store.DeleteWorkspace(k.ctx, w.ID, e) })
	k.same("Workspaces of a new user", len(must(k.store.Workspaces(k.ctx, u.ID))(k.T, "Workspaces")), 0)
}
