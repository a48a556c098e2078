package storetest

import (
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var sshTests = []test{
	{"login keys come and go", loginKeys},
	{"what is taken is a conflict", takenLoginKey},
	{"login keys go with their user", loginKeysOfDeleted},
	{"a workspace has one host key", hostKey},
	{"a host key goes with its workspace", hostKeyOfDeleted},
	{"what is given and returned is copied", sshCopies},
}

func loginKey(owner, name string) keyserver.LoginKey {
	return keyserver.LoginKey{
		UserID: keyserver.UserID("user-" + owner), Name: name, PublicKey: []byte("public " + name),
		Fingerprint: "SHA256:" + owner + "/" + name, CreatedAt: epoch,
	}
}

func (k *kit) addLoginKey(owner, name string) keyserver.LoginKey {
	k.Helper()
	key := loginKey(owner, name)
	k.changes("CreateLoginKey("+name+")", func(e keyserver.Event) error { return k.store.CreateLoginKey(k.ctx, key, e) })
	return key
}

func loginKeys(k *kit) {
	u := k.addUser("alice")
	k.addUser("bob")
	k.same("LoginKeys of a new user", len(must(k.store.LoginKeys(k.ctx, u.ID))(k.T, "LoginKeys")), 0)
	names := []string{"z", "B", "a b", "\x00/%'\xff"}
	for _, name := range names {
		k.addLoginKey("alice", name)
		k.addLoginKey("bob", name)
	}
	want := []keyserver.LoginKey{loginKey("alice", names[3]), loginKey("alice", "B"), loginKey("alice", "a b"), loginKey("alice", "z")}
	k.same("LoginKeys", must(k.store.LoginKeys(k.ctx, u.ID))(k.T, "LoginKeys"), want)
	remove := func(name string) func(keyserver.Event) error {
		return func(e keyserver.Event) error { return k.store.DeleteLoginKey(k.ctx, u.ID, name, e) }
	}
	k.refuses("DeleteLoginKey(none)", api.ErrNotFound, remove("b"))
	k.changes("DeleteLoginKey", remove("B"))
	k.refuses("DeleteLoginKey again", api.ErrNotFound, remove("B"))
	k.same("LoginKeys", must(k.store.LoginKeys(k.ctx, u.ID))(k.T, "LoginKeys"), []keyserver.LoginKey{want[0], want[2], want[3]})
	k.same("LoginKeys of another user", len(must(k.store.LoginKeys(k.ctx, "user-bob"))(k.T, "LoginKeys")), 4)
}

func takenLoginKey(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	k.addLoginKey("alice", "laptop")
	create := func(what string, want error, change func(*keyserver.LoginKey)) {
		k.Helper()
		key := loginKey("alice", "new")
		change(&key)
		k.refuses("CreateLoginKey with "+what, want, func(e keyserver.Event) error { return k.store.CreateLoginKey(k.ctx, key, e) })
	}
	create("a taken name", api.ErrConflict, func(key *keyserver.LoginKey) { key.Name = "laptop" })
	create("a taken fingerprint", api.ErrConflict, func(key *keyserver.LoginKey) { key.Fingerprint = loginKey("alice", "laptop").Fingerprint })
	create("a user who is not there", api.ErrNotFound, func(key *keyserver.LoginKey) { key.UserID = "user-nobody" })
	bobs := loginKey("bob", "laptop")
	bobs.Fingerprint = loginKey("alice", "laptop").Fingerprint
	k.changes("CreateLoginKey of another user", func(e keyserver.Event) error { return k.store.CreateLoginKey(k.ctx, bobs, e) })
}

func loginKeysOfDeleted(k *kit) {
	u := k.addUser("alice")
	k.addLoginKey("alice", "laptop")
	k.changes("DeleteUser", func(e keyserver.Event) error { return k.store.DeleteUser(k.ctx, u.ID, e) })
	k.same("LoginKeys of a deleted user", len(must(k.store.LoginKeys(k.ctx, u.ID))(k.T, "LoginKeys")), 0)
	k.addUser("alice")
	k.same("LoginKeys of one who came again", len(must(k.store.LoginKeys(k.ctx, u.ID))(k.T, "LoginKeys")), 0)
}

func hostKey(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	w, other := k.addWorkspace("alice", "dev"), k.addWorkspace("alice", "other")
	sealed := func(id keyserver.WorkspaceID) error { _, err := k.store.SealedHostKey(k.ctx, id); return err }
	k.wantError("SealedHostKey of a new workspace", sealed(w.ID), api.ErrNotFound)
	k.wantError("SealedHostKey(none)", sealed("workspace-none"), api.ErrNotFound)
	create := func(id keyserver.WorkspaceID, text string) func(keyserver.Event) error {
		return func(e keyserver.Event) error {
			return k.store.CreateHostKey(k.ctx, id, []byte("public "+text), []byte("sealed "+text), e)
		}
	}
	k.refuses("CreateHostKey(none)", api.ErrNotFound, create("workspace-none", "1"))
	k.counts(0, "CreateHostKey", create(w.ID, "1"))
	k.refuses("CreateHostKey again", api.ErrConflict, create(w.ID, "2"))
	w.HostKey = []byte("public 1")
	k.same("Workspace", must(k.store.Workspace(k.ctx, w.ID))(k.T, "Workspace"), w)
	k.same("Workspaces", must(k.store.Workspaces(k.ctx, w.UserID))(k.T, "Workspaces"), []keyserver.Workspace{w, other})
	k.same("SealedHostKey", string(must(k.store.SealedHostKey(k.ctx, w.ID))(k.T, "SealedHostKey")), "sealed 1")
	update := w
	update.HostKey = []byte("another")
	k.changes("UpdateWorkspace", func(e keyserver.Event) error { return k.store.UpdateWorkspace(k.ctx, update, e) })
	w.Version++
	k.same("Workspace after an update", must(k.store.Workspace(k.ctx, w.ID))(k.T, "Workspace"), w)
	late := workspace("alice", "late")
	late.HostKey = []byte("given too early")
	k.changes("CreateWorkspace", func(e keyserver.Event) error {
		return k.store.CreateWorkspace(k.ctx, late, of(late, token("alice", "late")), e)
	})
	if got := must(k.store.Workspace(k.ctx, late.ID))(k.T, "Workspace").HostKey; got != nil {
		k.Errorf("a new workspace has the host key %q; want nil", got)
	}
}

func hostKeyOfDeleted(k *kit) {
	k.addUser("alice")
	w := k.addWorkspace("alice", "dev")
	k.changes("CreateHostKey", func(e keyserver.Event) error {
		return k.store.CreateHostKey(k.ctx, w.ID, []byte("public"), []byte("sealed"), e)
	})
	k.changes("DeleteWorkspace", func(e keyserver.Event) error { return k.store.DeleteWorkspace(k.ctx, w.ID, e) })
	_, err := k.store.SealedHostKey(k.ctx, w.ID)
	k.wantError("SealedHostKey of a deleted workspace", err, api.ErrNotFound)
	k.addWorkspaceAgain("alice", "dev")
	_, err = k.store.SealedHostKey(k.ctx, w.ID)
	k.wantError("SealedHostKey of a workspace that came again", err, api.ErrNotFound)
}

// addWorkspaceAgain makes a workspace with the ID of one that was deleted.
func (k *kit) addWorkspaceAgain(owner, name string) {
	k.Helper()
	w := workspace(owner, name)
	k.changes("CreateWorkspace again", func(e keyserver.Event) error {
		return k.store.CreateWorkspace(k.ctx, w, of(w, token(owner, name+" again")), e)
	})
}

func sshCopies(k *kit) {
	u := k.addUser("alice")
	w := k.addWorkspace("alice", "dev")
	key, public, sealed := loginKey("alice", "laptop"), []byte("public"), []byte("sealed")
	key.CreatedAt = epoch.Add(time.Nanosecond)
	k.changes("CreateLoginKey", func(e keyserver.Event) error { return k.store.CreateLoginKey(k.ctx, key, e) })
	k.changes("CreateHostKey", func(e keyserver.Event) error { return k.store.CreateHostKey(k.ctx, w.ID, public, sealed, e) })
	before := k.dump()
	clear(key.PublicKey)
	clear(public)
	clear(sealed)
	clear(must(k.store.LoginKeys(k.ctx, u.ID))(k.T, "LoginKeys")[0].PublicKey)
	clear(must(k.store.Workspace(k.ctx, w.ID))(k.T, "Workspace").HostKey)
	clear(must(k.store.Workspaces(k.ctx, u.ID))(k.T, "Workspaces")[0].HostKey)
	clear(must(k.store.SealedHostKey(k.ctx, w.ID))(k.T, "SealedHostKey"))
	if after := k.dump(); after != before {
		k.Fatalf("the caller changed what it had given or got, and the store changed; before:\n%s\nafter:\n%s", before, after)
	}
}
