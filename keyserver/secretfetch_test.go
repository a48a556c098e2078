package keyserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// newBox makes a workspace that has labels.
func (s *site) newBox(a *account, name string, labels ...string) (*api.Client, api.CreatedWorkspace) {
	s.Helper()
	w, err := a.CreateWorkspace(s.Context(), api.Me, api.CreateWorkspaceRequest{Name: name, Labels: labels})
	if err != nil {
		s.Fatal(err)
	}
	return s.client(w.Token.Token), w
}

func TestFetchSecrets(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, workspace := s.newWorkspace(alice, "box")
	sec := s.newSecret(alice, "key", "KEY", "caf\u00e9")
	if _, err := alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "cert", FilePath: "~/cert", SecretValue: api.SecretValue{ValueBase64: []byte{0, 0xff}}}); err != nil {
		t.Fatal(err)
	}
	need := []api.Requirement{{EnvName: "KEY", Help: "a key"}}
	if _, err := alice.UpdateWorkspace(t.Context(), api.Me, "box", api.UpdateWorkspaceRequest{Requirements: &need}); err != nil {
		t.Fatal(err)
	}
	revision, err := s.Store.Revision(t.Context(), keyserver.UserID(alice.ID))
	if err != nil {
		t.Fatal(err)
	}
	got, err := fetchSecrets(t, w)
	want := api.WorkspaceSecrets{Revision: revision, Requirements: need, Secrets: []api.DeliveredSecret{
		{ID: got.Secrets[0].ID, Name: "cert", FilePath: "~/cert", Version: 1, SecretValue: api.SecretValue{ValueBase64: []byte{0, 0xff}}},
		{ID: sec.ID, Name: "key", EnvName: "KEY", Version: 1, SecretValue: api.SecretValue{ValueBase64: []byte("caf\u00e9")}},
	}}
	if err != nil || toJSON(t, got) != toJSON(t, want) {
		t.Errorf("FetchSecrets = %s, %v; want %s", toJSON(t, got), err, toJSON(t, want))
	}
	e := s.lastEvent()
	if e.Action != "secret.fetch" || e.Actor != "workspace:box" || e.Target != "alice/box" || e.Detail != fmt.Sprintf("revision %d, sealed, 2 secrets: cert, key", revision) {
		t.Errorf("the audit log ends with %+v", e)
	}
	if again, err := s.Store.Revision(t.Context(), keyserver.UserID(alice.ID)); err != nil || again != revision {
		t.Errorf("fetching made revision %d of %d", again, revision)
	}

	// For scripts: text as text.
	status, answer, header := s.send("GET", "/api/v2/workspaceagents/me/secrets", workspace.Token.Token, "")
	want.Secrets[1].SecretValue = text("caf\u00e9")
	if status != 200 || strings.TrimSpace(answer) != toJSON(t, want) || header.Get("Cache-Control") != "no-store" {
		t.Errorf("GET secrets = %d %s %v; want %s", status, answer, header, toJSON(t, want))
	}
	if e := s.lastEvent(); e.Action != "secret.fetch" || e.Detail != fmt.Sprintf("revision %d, as JSON, 2 secrets: cert, key", revision) {
		t.Errorf("the audit log ends with %+v", e)
	}
	for _, recipient := range [][]byte{nil, make([]byte, 31), make([]byte, 32)} {
		_, err := w.FetchSecrets(t.Context(), api.FetchSecretsRequest{Recipient: recipient})
		wantError(t, "a bad recipient", err, api.ErrInvalid, "recipient: ")
	}
	if e := s.lastEvent(); e.Result != keyserver.Failed {
		t.Errorf("after sealing to a point of low order the audit log ends with %+v", e)
	}
}

// What a workspace is given is what is enabled, has a target, and is not
// limited to others.
func TestScope(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	box, _ := s.newBox(alice, "box", "web", "prod")
	den, _ := s.newBox(alice, "den", "db")
	bare, _ := s.newBox(alice, "bare")
	closed, _ := s.newBox(alice, "closed", "web")
	if _, err := alice.UpdateWorkspace(t.Context(), api.Me, "closed", api.UpdateWorkspaceRequest{RefuseSecrets: ptr(true)}); err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]api.CreateSecretRequest{
		"all":    {},
		"web":    {Labels: []string{"web", "app"}},
		"den":    {Workspaces: []string{"den", "to-come"}},
		"either": {Workspaces: []string{"bare"}, Labels: []string{"prod"}},
		"none":   {Workspaces: []string{"to-come"}},
		"case":   {Workspaces: []string{"Box"}, Labels: []string{"WEB"}},
		"off":    {Enabled: ptr(false)},
	} {
		in.Name, in.EnvName, in.SecretValue = name, "X_"+strings.ToUpper(name), text("x")
		if _, err := alice.CreateSecret(t.Context(), api.Me, in); err != nil {
			t.Fatal(err)
		}
	}
	for w, want := range map[*api.Client]string{box: "all either web", den: "all den", bare: "all either", closed: ""} {
		got := strings.Join(slices.Sorted(maps.Keys(values(t, w))), " ")
		if got != want {
			self, _ := w.Self(t.Context())
			t.Errorf("%s is given %q; want %q", self.Workspace.Name, got, want)
		}
	}
	if got, err := fetchSecrets(t, closed); err != nil || !got.Refused || got.Secrets == nil {
		t.Errorf("a workspace that takes none is given %+v, %v; want it refused", got, err)
	}
	next, _ := s.newWorkspace(alice, "to-come")
	if got := values(t, next); len(got) != 3 {
		t.Errorf("the workspace that two secrets were waiting for is given %v", got)
	}
	bob, _ := s.newWorkspace(s.newUser("bob", api.RoleUser), "box")
	if got := values(t, bob); len(got) != 0 {
		t.Errorf("another user's workspace is given %v", got)
	}
}

// A value that does not open takes no other away, is named, and is on record.
func TestDamagedSecret(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, workspace := s.newWorkspace(alice, "box")
	s.newSecret(alice, "bad", "BAD", "one")
	s.newSecret(alice, "good", "GOOD", "two")
	swap := func(v []keyserver.SecretValue) { v[0], v[1] = v[1], v[0] }
	for name, damage := range map[string]func([]keyserver.SecretValue){
		"changed":          func(v []keyserver.SecretValue) { v[0].Sealed[len(v[0].Sealed)-1] ^= 1 },
		"empty":            func(v []keyserver.SecretValue) { v[0].Sealed = nil },
		"another secret's": func(v []keyserver.SecretValue) { v[0].Sealed = v[1].Sealed },
	} {
		s.Store.set(func(b *brokenStore) { b.values = damage })
		before := s.lastEvent().Seq
		got, err := fetchSecrets(t, w)
		if err != nil || len(got.Secrets) != 1 || got.Secrets[0].Name != "good" || !slices.Equal(got.Damaged, []string{"bad"}) {
			t.Errorf("with a value %s: %+v, %v; want the good one, and the bad one named", name, got, err)
		}
		events := s.events(before)
		if len(events) != 2 || events[0].Result != keyserver.Failed || events[0].Detail != "does not open: bad" || events[1].Result != keyserver.OK {
			t.Errorf("with a value %s the audit log has %+v; want the failure and the delivery", name, events)
		}
	}
	s.Store.set(func(b *brokenStore) { b.values = swap })
	if got, err := fetchSecrets(t, w); err != nil || len(got.Secrets) != 0 || len(got.Damaged) != 2 {
		t.Errorf("with values swapped: %+v, %v; want none", got, err)
	}
	s.Store.set(func(b *brokenStore) {
		b.values = nil
		b.user = func(u keyserver.User) keyserver.User { u.DataKey = []byte("x"); return u }
	})
	status, _, _ := s.send("GET", "/api/v2/workspaceagents/me/secrets", workspace.Token.Token, "")
	if e := s.lastEvent(); status != 500 || e.Result != keyserver.Failed {
		t.Errorf("with another data key: %d, recorded as %+v; want 500", status, e)
	}
}

// An old version in the place of the current one is found out.
func TestOldValueIsNotTheCurrent(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, _ := s.newWorkspace(alice, "box")
	sec := s.newSecret(alice, "key", "KEY", "leaked")
	old, err := s.Store.SecretValues(t.Context(), keyserver.SecretID(sec.ID))
	if err != nil || len(old) != 1 {
		t.Fatal(old, err)
	}
	if _, err := alice.UpdateSecret(t.Context(), api.Me, "key", api.UpdateSecretRequest{SecretValue: text("fresh")}); err != nil {
		t.Fatal(err)
	}
	s.Store.set(func(b *brokenStore) { b.values = func(v []keyserver.SecretValue) { v[0] = old[0] } })
	if got, err := fetchSecrets(t, w); err != nil || len(got.Secrets) != 0 || len(got.Damaged) != 1 {
		t.Errorf("with the old value in its place: %+v, %v; want it found out", got, err)
	}
}

// Secrets that can't be put on record do not leave, in either form, and no scan
// is answered.
func TestNoSecretWithoutRecord(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, workspace := s.newWorkspace(alice, "box")
	s.newSecret(alice, "key", "KEY", "a-value-to-find")
	for _, broken := range []error{api.ErrUnavailable, errors.New("disk on fire"), context.Canceled} {
		s.Store.set(func(b *brokenStore) { b.record = broken })
		_, err := fetchSecrets(t, w)
		wantError(t, "FetchSecrets", err, api.ErrUnavailable, "the audit log can't be written")
		status, answer, _ := s.send("GET", "/api/v2/workspaceagents/me/secrets", workspace.Token.Token, "")
		if status != 503 || strings.Contains(answer, "a-value-to-find") {
			t.Errorf("GET secrets = %d %s; want 503", status, answer)
		}
		_, err = alice.ScanSecrets(t.Context(), api.Me, scanFor(t, "a-value-to-find"))
		wantError(t, "ScanSecrets", err, api.ErrUnavailable, "the audit log can't be written")
	}
}

// A deleted user's secrets do not open any more, with the master key and all
// that was stored but the user.
func TestSecretsAreShredded(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, _ := s.newWorkspace(alice, "box")
	sec := s.newSecret(alice, "key", "KEY", "value")
	id := keyserver.SecretID(sec.ID)
	kept, err := s.Store.SecretValues(t.Context(), id)
	if err != nil || len(kept) != 1 || bytes.Contains(kept[0].Sealed, []byte("value")) {
		t.Fatalf("SecretValues = %v, %v; want one, sealed", kept, err)
	}
	if err := s.Admin.DeleteUser(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if left, err := s.Store.SecretValues(t.Context(), id); err != nil || len(left) != 0 {
		t.Errorf("after its user was deleted the secret has %d values, %v", len(left), err)
	}
	_, err = fetchSecrets(t, w)
	wantError(t, "the deleted user's workspace", err, api.ErrUnauthenticated)
	// Made again under the same name, they have another data key.
	again := s.newUser("alice", api.RoleUser)
	w, _ = s.newWorkspace(again, "box")
	s.newSecret(again, "key", "KEY", "other")
	s.Store.set(func(b *brokenStore) { b.values = func(v []keyserver.SecretValue) { v[0].Sealed = kept[0].Sealed } })
	if got, err := fetchSecrets(t, w); err != nil || len(got.Secrets) != 0 {
		t.Errorf("the deleted user's value opens: %+v, %v", got, err)
	}
}
