package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace"
)

func text(s string) *string { return &s }

// The daemon, as a process, with a real server: what the user does arrives, and
// goes with it.
func TestAgentDeliversSecrets(t *testing.T) {
	s := newServer(t, false)
	ada := s.client(t, s.newUser(t, "ada", api.RoleUser))
	w, err := ada.CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: "dev"})
	if err != nil {
		t.Fatal(err)
	}
	create := func(name, env, file, value string) {
		t.Helper()
		r := api.CreateSecretRequest{Name: name, EnvName: env, FilePath: file, SecretValue: api.SecretValue{Value: &value}}
		if _, err := ada.CreateSecret(t.Context(), api.Me, r); err != nil {
			t.Fatal(err)
		}
	}
	create("npm", "NPM_TOKEN", "~/.npm-token", "one")
	home := t.TempDir()
	d := startAgent(t, []string{"HOME=" + home, "LATCHKEY_TOKEN=" + w.Token.Token}, "--url", s.URL)
	file := filepath.Join(home, ".npm-token")
	state, err := workspace.Secrets(t.Context(), d.Dir)
	if err != nil {
		t.Fatal(err)
	}
	want := func(when, value string) {
		t.Helper()
		if len(state.Variables) != 1 || state.Variables[0].Name != "NPM_TOKEN" || string(state.Variables[0].Value) != value {
			t.Errorf("%s the variables are %q; want NPM_TOKEN=%s", when, state.Variables, value)
		}
		if content, err := os.ReadFile(file); err != nil || string(content) != value {
			t.Errorf("%s the file is %q, %v; want %q", when, content, err, value)
		}
	}
	want("at first", "one")
	if _, err := ada.UpdateSecret(t.Context(), api.Me, "npm", api.UpdateSecretRequest{SecretValue: api.SecretValue{Value: text("two")}}); err != nil {
		t.Fatal(err)
	}
	if state, err = workspace.WaitSecrets(t.Context(), d.Dir, state.Generation); err != nil {
		t.Fatal(err)
	}
	want("after the change", "two")
	d.Process.Signal(syscall.SIGTERM)
	if code := d.end(t); code != 0 {
		t.Errorf("after SIGTERM the exit status is %d; want 0", code)
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end the file is still there: %v", err)
	}
}

func TestAgentWithoutItsWorkspace(t *testing.T) {
	s := newServer(t, false)
	ada := s.client(t, s.newUser(t, "ada", api.RoleUser))
	w, err := ada.CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: "dev"})
	if err != nil {
		t.Fatal(err)
	}
	r := api.CreateSecretRequest{Name: "npm", EnvName: "NPM_TOKEN", FilePath: "~/.npm-token", SecretValue: api.SecretValue{Value: text("one")}}
	if _, err := ada.CreateSecret(t.Context(), api.Me, r); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	d := startAgent(t, []string{"HOME=" + home, "LATCHKEY_TOKEN=" + w.Token.Token}, "--url", s.URL)
	if _, err := os.Stat(filepath.Join(home, ".npm-token")); err != nil {
		t.Errorf("at first the file is not there: %v", err)
	}
	state, err := workspace.Secrets(t.Context(), d.Dir)
	if err != nil || len(state.Variables) != 1 {
		t.Fatalf("at first the state is %+v, %v; want one variable", state, err)
	}
	if err := ada.DeleteWorkspace(t.Context(), api.Me, "dev"); err != nil {
		t.Fatal(err)
	}
	if state, err = workspace.WaitSecrets(t.Context(), d.Dir, state.Generation); err != nil || len(state.Variables) != 0 {
		t.Errorf("after its workspace was deleted the state is %+v, %v; want nothing", state, err)
	}
	if _, err := os.Lstat(filepath.Join(home, ".npm-token")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after its workspace was deleted the file is still there: %v", err)
	}
}
