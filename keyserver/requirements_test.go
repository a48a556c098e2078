package keyserver_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func TestWorkspaceSettings(t *testing.T) {
	s := newSite(t, nil)
	alice, provisioner := s.newUser("alice", api.RoleUser), s.newUser("provisioner", api.RoleProvisioner)
	need := []api.Requirement{{EnvName: "KEY", Help: "ask\n\tfor one"}, {FilePath: "~/cert", Help: "c"}}
	made, err := provisioner.CreateWorkspace(t.Context(), "alice", api.CreateWorkspaceRequest{Name: "box", Labels: []string{"web"}, RefuseSecrets: true, Requirements: need})
	if err != nil {
		t.Fatal(err)
	}
	if e := s.lastEvent(); !strings.HasSuffix(e.Detail, "; takes user secrets: false, 2 requirements, labels: web") {
		t.Errorf("the audit log ends with %+v", e)
	}
	got, err := provisioner.Workspace(t.Context(), "alice", "box")
	if err != nil || toJSON(t, got) != toJSON(t, made.Workspace) || !got.RefuseSecrets || len(got.Labels) != 1 || len(got.Requirements) != 2 {
		t.Errorf("Workspace = %+v, %v; want what was made, %+v", got, err, made.Workspace)
	}
	// What is absent stays.
	got, err = alice.UpdateWorkspace(t.Context(), api.Me, got.ID, api.UpdateWorkspaceRequest{RefuseSecrets: ptr(false)})
	if err != nil || got.RefuseSecrets || len(got.Labels) != 1 || len(got.Requirements) != 2 {
		t.Errorf("UpdateWorkspace = %+v, %v; want that alone changed", got, err)
	}
	if e := s.lastEvent(); e.Action != "workspace.update" || e.Target != "alice/box" {
		t.Errorf("the audit log ends with %+v", e)
	}
	got, err = alice.UpdateWorkspace(t.Context(), api.Me, "box", api.UpdateWorkspaceRequest{Labels: &[]string{}, Requirements: &[]api.Requirement{}})
	if err != nil || got.Labels == nil || got.Requirements == nil || len(got.Labels)+len(got.Requirements) != 0 {
		t.Errorf("UpdateWorkspace = %+v, %v; want the lists empty", got, err)
	}
	if e := s.lastEvent(); e.Detail != "takes user secrets: true, 0 requirements" {
		t.Errorf("without labels the audit log ends with %+v", e)
	}

	many := make([]api.Requirement, 101)
	for i := range many {
		many[i] = api.Requirement{EnvName: fmt.Sprint("E", i), Help: "h"}
	}
	bad := []api.Requirement{
		{Help: "h"}, {EnvName: "A", FilePath: "~/a", Help: "h"}, {EnvName: "PATH", Help: "h"}, {FilePath: "a", Help: "h"},
		{EnvName: "B"}, {EnvName: "C", Help: strings.Repeat("h", 1001)}, {EnvName: "D", Help: "\x1b"}, {EnvName: "D", Help: "h"},
	}
	words := []string{
		"requirements[0].env_name: is missing, and so is file_path", "requirements[1].file_path: is given together", "requirements[2].env_name: PATH is reserved",
		"requirements[3].file_path: must begin", "requirements[4].help: is missing", "requirements[5].help: has 1001 bytes", "requirements[6].help: holds", "requirements[7]: is there twice",
	}
	_, err = alice.UpdateWorkspace(t.Context(), api.Me, "box", api.UpdateWorkspaceRequest{Requirements: &bad})
	wantError(t, "bad requirements", err, api.ErrInvalid, words...)
	_, err = alice.CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: "den", Requirements: bad, Labels: []string{"a b"}})
	wantError(t, "bad requirements", err, api.ErrInvalid, append(words, "labels[0]: must be")...)
	_, err = alice.UpdateWorkspace(t.Context(), api.Me, "box", api.UpdateWorkspaceRequest{Requirements: &many})
	wantError(t, "too many", err, api.ErrInvalid, "requirements: has 101 entries")
	_, err = alice.UpdateWorkspace(t.Context(), api.Me, "box", api.UpdateWorkspaceRequest{})
	wantError(t, "nothing", err, api.ErrInvalid, "there is nothing to change")
	_, err = alice.UpdateWorkspace(t.Context(), api.Me, "none", api.UpdateWorkspaceRequest{RefuseSecrets: ptr(true)})
	wantError(t, "no workspace", err, api.ErrNotFound)
}

// Of two changes of a workspace that race, one gets a conflict.
func TestWorkspaceIsChangedAtOnce(t *testing.T) {
	late := &lateWorkspace{}
	s := newSite(t, func(c *keyserver.Config) { late.Store, c.Store = c.Store, late })
	alice := s.newUser("alice", api.RoleUser)
	s.newWorkspace(alice, "box")
	late.happens = func() {
		if _, err := alice.UpdateWorkspace(t.Context(), api.Me, "box", api.UpdateWorkspaceRequest{Labels: &[]string{"first"}}); err != nil {
			t.Error(err)
		}
	}
	_, err := alice.UpdateWorkspace(t.Context(), api.Me, "box", api.UpdateWorkspaceRequest{RefuseSecrets: ptr(true)})
	wantError(t, "the second", err, api.ErrConflict, "was changed at the same time")
}

type lateWorkspace struct {
	keyserver.Store
	happens func()
}

func (s *lateWorkspace) UpdateWorkspace(ctx context.Context, w keyserver.Workspace, e keyserver.Event) error {
	if f := s.happens; f != nil {
		s.happens = nil
		f()
	}
	return s.Store.UpdateWorkspace(ctx, w, e)
}

func TestCheckWorkspace(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	need := []api.Requirement{{EnvName: "KEY", Help: "a"}, {FilePath: "~/cert", Help: "b"}, {EnvName: "OFF", Help: "c"}, {EnvName: "ELSEWHERE", Help: "d"}, {EnvName: "MISSING", Help: "e"}}
	if _, err := alice.CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: "box", Requirements: need}); err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]api.CreateSecretRequest{
		"a": {EnvName: "KEY"}, "b": {FilePath: "~/cert"}, "c": {EnvName: "OFF", Enabled: ptr(false)}, "d": {EnvName: "ELSEWHERE", Workspaces: []string{"den"}},
	} {
		in.Name, in.SecretValue = name, text("x")
		if _, err := alice.CreateSecret(t.Context(), api.Me, in); err != nil {
			t.Fatal(err)
		}
	}
	check := func() (words []string) {
		got, err := alice.CheckWorkspace(t.Context(), api.Me, "box")
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range got {
			if c.Requirement != need[i] {
				t.Errorf("check %d is about %+v; want %+v", i, c.Requirement, need[i])
			}
			words = append(words, fmt.Sprintf("%t %s %s", c.Met, c.Secret, c.Why))
		}
		return words
	}
	if got, want := strings.Join(check(), "; "), "true a ; true b ; false c the secret is disabled; false d the secret is limited to other workspaces; false  there is no secret for it"; got != want {
		t.Errorf("CheckWorkspace: %s; want %s", got, want)
	}
	if _, err := alice.UpdateWorkspace(t.Context(), api.Me, "box", api.UpdateWorkspaceRequest{RefuseSecrets: ptr(true)}); err != nil {
		t.Fatal(err)
	}
	if got := check()[0]; got != "false a the workspace takes no user secrets" {
		t.Errorf("CheckWorkspace of one that takes none: %s", got)
	}
}
