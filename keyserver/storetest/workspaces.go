package storetest

import (
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var workspaceTests = []test{
	{"a new workspace has a token", newWorkspace},
	{"what is taken is a conflict", takenWorkspace},
	{"lists are by name", listWorkspaces},
	{"an update is for one version", updateWorkspace},
	{"deleting a workspace revokes its tokens", deleteWorkspace},
}

func newWorkspace(k *kit) {
	k.addUser("alice")
	w := k.addWorkspace("alice", "dev")
	want := of(w, token("alice", "dev"))
	k.same("Workspace", must(k.store.Workspace(k.ctx, w.ID))(k.T, "Workspace"), w)
	k.same("TokenByHash", must(k.store.TokenByHash(k.ctx, want.Hash))(k.T, "TokenByHash"), want)
	k.same("Tokens", must(k.store.Tokens(k.ctx, w.UserID, w.ID))(k.T, "Tokens"), []keyserver.Token{want})
	_, err := k.store.Workspace(k.ctx, "workspace-none")
	k.wantError("Workspace(none)", err, api.ErrNotFound)
}

func takenWorkspace(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	k.addWorkspace("alice", "dev")
	create := func(what string, want error, change func(*keyserver.Workspace, *keyserver.Token)) {
		k.Helper()
		w, t := workspace("alice", "new"), token("alice", "new")
		change(&w, &t)
		t.UserID = w.UserID
		k.refuses("CreateWorkspace with "+what, want, func(e keyserver.Event) error {
			return k.store.CreateWorkspace(k.ctx, w, of(w, t), e)
		})
	}
	create("a taken name", api.ErrConflict, func(w *keyserver.Workspace, _ *keyserver.Token) { w.Name = "dev" })
	create("a taken id", api.ErrConflict, func(w *keyserver.Workspace, _ *keyserver.Token) { w.ID = workspace("alice", "dev").ID })
	create("a taken token", api.ErrConflict, func(_ *keyserver.Workspace, t *keyserver.Token) { t.Hash = token("alice", "dev").Hash })
	create("a user who is not there", api.ErrNotFound, func(w *keyserver.Workspace, _ *keyserver.Token) { w.UserID = "user-nobody" })
	k.addWorkspace("bob", "dev")
}

func listWorkspaces(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	var want []keyserver.Workspace
	for _, name := range []string{"B", "a", "z"} {
		want = append(want, workspace("alice", name))
	}
	for _, name := range []string{"z", "B", "a"} {
		k.addWorkspace("alice", name)
	}
	k.addWorkspace("bob", "a")
	k.same("Workspaces", must(k.store.Workspaces(k.ctx, "user-alice"))(k.T, "Workspaces"), want)
}

func updateWorkspace(k *kit) {
	k.addUser("alice")
	other := k.addWorkspace("alice", "other")
	w := k.addWorkspace("alice", "dev")
	given := w
	given.Labels, given.RefuseSecrets, given.KeyMode = []string{"gpu", ""}, true, api.SignMode
	given.Requirements = []api.Requirement{{EnvName: "GH_TOKEN", FilePath: "~/.gh", Help: "help"}, {}}
	want := given
	want.Version = 2
	// Nothing else is stored, whatever the caller has put there.
	given.Name, given.UserID, given.CreatedAt = "mallory", "user-mallory", epoch.Add(time.Second)
	k.changes("UpdateWorkspace", func(e keyserver.Event) error { return k.store.UpdateWorkspace(k.ctx, given, e) })
	k.same("Workspace", must(k.store.Workspace(k.ctx, w.ID))(k.T, "Workspace"), want)
	k.same("Workspaces", must(k.store.Workspaces(k.ctx, w.UserID))(k.T, "Workspaces"), []keyserver.Workspace{want, other})

	for _, version := range []int64{0, 1, 3} {
		old := w
		old.Version = version
		k.refuses("UpdateWorkspace of another version", api.ErrConflict, func(e keyserver.Event) error {
			return k.store.UpdateWorkspace(k.ctx, old, e)
		})
	}
	want.RefuseSecrets, want.KeyMode = false, ""
	for what, empty := range map[string]keyserver.Workspace{
		"no lists":    {ID: w.ID},
		"empty lists": {ID: w.ID, Labels: []string{}, Requirements: []api.Requirement{}},
	} {
		empty.Version = want.Version
		k.changes("UpdateWorkspace", func(e keyserver.Event) error { return k.store.UpdateWorkspace(k.ctx, empty, e) })
		want.Version++
		want.Labels, want.Requirements = nil, nil
		got := must(k.store.Workspace(k.ctx, w.ID))(k.T, "Workspace")
		k.same("Workspace with "+what, got, want)
		if got.Labels != nil || got.Requirements != nil {
			k.Errorf("%s came back as %#v and %#v; want nil", what, got.Labels, got.Requirements)
		}
	}
}

func deleteWorkspace(k *kit) {
	u := k.addUser("alice")
	w, other := k.addWorkspace("alice", "dev"), k.addWorkspace("alice", "other")
	second := of(w, token("alice", "second"))
	k.changes("CreateToken", func(e keyserver.Event) error { return k.store.CreateToken(k.ctx, second, e) })
	revoked := event("")
	revoked.At = epoch.Add(time.Second)
	if err := k.store.RevokeToken(k.ctx, second.ID, revoked); err != nil {
		k.Fatalf("RevokeToken: %v", err)
	}
	remove := func(id keyserver.WorkspaceID) func(keyserver.Event) error {
		return func(e keyserver.Event) error { return k.store.DeleteWorkspace(k.ctx, id, e) }
	}
	k.refuses("DeleteWorkspace(none)", api.ErrNotFound, remove("workspace-none"))
	k.changes("DeleteWorkspace", remove(w.ID))
	k.refuses("DeleteWorkspace again", api.ErrNotFound, remove(w.ID))

	first := of(w, token("alice", "dev"))
	first.RevokedAt, second.RevokedAt = event("").At, revoked.At // the second one as it was
	k.same("Tokens of a deleted workspace", must(k.store.Tokens(k.ctx, u.ID, w.ID))(k.T, "Tokens"), []keyserver.Token{first, second})
	k.same("TokenByHash", must(k.store.TokenByHash(k.ctx, first.Hash))(k.T, "TokenByHash"), first)
	for _, t := range []keyserver.Token{token("alice", "first"), of(other, token("alice", "other"))} {
		k.same("another token", must(k.store.TokenByHash(k.ctx, t.Hash))(k.T, "TokenByHash"), t)
	}
	k.refuses("CreateToken of a deleted workspace", api.ErrNotFound, func(e keyserver.Event) error {
		return k.store.CreateToken(k.ctx, of(w, token("alice", "third")), e)
	})
	again := workspace("alice", "dev")
	again.ID = "workspace-again"
	k.changes("CreateWorkspace with the name of a deleted one", func(e keyserver.Event) error {
		return k.store.CreateWorkspace(k.ctx, again, of(again, token("alice", "again")), e)
	})
}
