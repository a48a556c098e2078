package storetest

import (
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var revisionTests = []test{
	{"each change of what workspaces are given counts", countedChanges},
	{"nothing else counts", uncountedChanges},
}

// counts makes a change and looks whether it counts the user's revision up by n
// and nobody else's.
func (k *kit) counts(n int64, what string, change func(keyserver.Event) error) {
	k.Helper()
	before, others := k.revision("alice"), k.revision("bob")
	k.changes(what, change)
	k.same("Revision after "+what, k.revision("alice"), before+n)
	k.same("another's Revision after "+what, k.revision("bob"), others)
}

func countedChanges(k *kit) {
	u := k.addUser("alice")
	k.addUser("bob")
	k.same("Revision of a new user", k.revision("alice"), int64(1))
	w := workspace("alice", "dev")
	second := of(w, token("alice", "second"))
	s := secret("alice", "npm")
	for _, c := range []struct {
		what   string
		change func(keyserver.Event) error
	}{
		{"CreateKey", func(e keyserver.Event) error { return k.store.CreateKey(k.ctx, key("alice", "deploy", 1), e) }},
		{"RotateKey", func(e keyserver.Event) error {
			return k.store.RotateKey(k.ctx, key("alice", "deploy", 2), time.Time{}, e)
		}},
		{"RotateKey that keeps the old one", func(e keyserver.Event) error {
			return k.store.RotateKey(k.ctx, key("alice", "deploy", 3), epoch.AddDate(1, 0, 0), e)
		}},
		{"UpdateKey", func(e keyserver.Event) error {
			return k.store.UpdateKey(k.ctx, u.ID, "deploy", keyserver.KeySettings{}, e)
		}},
		{"UpdateKey of the mode", func(e keyserver.Event) error {
			return k.store.UpdateKey(k.ctx, u.ID, "deploy", keyserver.KeySettings{Mode: api.SignMode, Version: 1}, e)
		}},
		{"DeleteKey", func(e keyserver.Event) error { return k.store.DeleteKey(k.ctx, u.ID, "deploy", e) }},
		{"CreateWorkspace", func(e keyserver.Event) error {
			return k.store.CreateWorkspace(k.ctx, w, of(w, token("alice", "dev")), e)
		}},
		{"UpdateWorkspace", func(e keyserver.Event) error { return k.store.UpdateWorkspace(k.ctx, w, e) }},
		{"UpdateWorkspace of the key mode", func(e keyserver.Event) error {
			w := w
			w.KeyMode, w.Version = api.SignMode, 2
			return k.store.UpdateWorkspace(k.ctx, w, e)
		}},
		{"CreateToken", func(e keyserver.Event) error { return k.store.CreateToken(k.ctx, second, e) }},
		{"RevokeToken", func(e keyserver.Event) error { return k.store.RevokeToken(k.ctx, second.ID, e) }},
		{"CreateLoginKey", func(e keyserver.Event) error { return k.store.CreateLoginKey(k.ctx, loginKey("alice", "laptop"), e) }},
		{"DeleteLoginKey", func(e keyserver.Event) error { return k.store.DeleteLoginKey(k.ctx, u.ID, "laptop", e) }},
		{"ChangeSecrets", func(e keyserver.Event) error {
			return k.store.ChangeSecrets(k.ctx, u.ID, k.revision("alice"), creation(s), e)
		}},
		{"ChangeSecrets that changes nothing", func(e keyserver.Event) error {
			return k.store.ChangeSecrets(k.ctx, u.ID, k.revision("alice"), keyserver.SecretChange{}, e)
		}},
		{"DeleteWorkspace", func(e keyserver.Event) error { return k.store.DeleteWorkspace(k.ctx, w.ID, e) }},
		{"UpdateUser", func(e keyserver.Event) error { return k.store.UpdateUser(k.ctx, u, e) }},
	} {
		k.counts(1, c.what, c.change)
	}
}

func uncountedChanges(k *kit) {
	u := k.addUser("alice")
	k.addUser("bob")
	w := k.addWorkspace("alice", "dev")
	second := k.addToken(of(w, token("alice", "second")))
	session := token("alice", "session")
	k.changes("RevokeToken", func(e keyserver.Event) error { return k.store.RevokeToken(k.ctx, second.ID, e) })
	for _, c := range []struct {
		what   string
		change func(keyserver.Event) error
	}{
		{"RecordFetch", func(e keyserver.Event) error { return k.store.RecordFetch(k.ctx, u.ID, api.DefaultKey, 1, w.ID, e) }},
		{"RecordSign", func(e keyserver.Event) error { return k.store.RecordSign(k.ctx, u.ID, api.DefaultKey, 1, 0, e) }},
		{"CreateToken of a session", func(e keyserver.Event) error { return k.store.CreateToken(k.ctx, session, e) }},
		{"RevokeToken of a session", func(e keyserver.Event) error { return k.store.RevokeToken(k.ctx, session.ID, e) }},
		{"RevokeToken a second time", func(e keyserver.Event) error { return k.store.RevokeToken(k.ctx, second.ID, e) }},
		{"ReportDelivery", func(e keyserver.Event) error { return k.store.ReportDelivery(k.ctx, delivery(w, 1), e) }},
		{"Record", func(e keyserver.Event) error { return k.store.Record(k.ctx, e) }},
	} {
		k.counts(0, c.what, c.change)
	}
	k.refuses("CreateKey", api.ErrConflict, func(e keyserver.Event) error {
		return k.store.CreateKey(k.ctx, key("alice", api.DefaultKey, 1), e)
	})
	k.changes("DeleteUser", func(e keyserver.Event) error { return k.store.DeleteUser(k.ctx, u.ID, e) })
	k.addUser("alice")
	k.same("Revision of one who came again", k.revision("alice"), int64(1))
}

func staleChange(k *kit) {
	k.addUser("alice")
	npm := k.addSecrets("alice", "npm")[0]
	k.rotate("alice", api.DefaultKey, 2, time.Time{})
	for _, revision := range []int64{0, -1, 1, 2, 4} {
		k.refuses("ChangeSecrets at a revision that is not 3", api.ErrConflict, func(e keyserver.Event) error {
			return k.store.ChangeSecrets(k.ctx, npm.UserID, revision, creation(secret("alice", "new")), e)
		})
	}
	k.changes("ChangeSecrets at revision 3", func(e keyserver.Event) error {
		return k.store.ChangeSecrets(k.ctx, npm.UserID, 3, creation(secret("alice", "new")), e)
	})
}
