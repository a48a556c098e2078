package keyserver_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/memstore"
)

func TestMasterKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	if _, err := keyserver.LoadMasterKey(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LoadMasterKey of no file: %v; want fs.ErrNotExist", err)
	}
	made, err := keyserver.CreateMasterKey(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the master key's mode is %04o; want 0600", info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyserver.CreateMasterKey(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("CreateMasterKey over a master key: %v; want fs.ErrExist", err)
	}
	if again, err := os.ReadFile(path); err != nil || string(again) != string(text) {
		t.Errorf("CreateMasterKey changed the master key that was there (%v)", err)
	}
	if names, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); len(names) != 1 {
		t.Errorf("the directory holds %q; want the master key only", names)
	}
	if hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(hidden) != 0 {
		t.Errorf("the directory holds %q; want nothing left behind", hidden)
	}
	loaded, err := keyserver.LoadMasterKey(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := made.Encrypt([]byte("text"), []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := loaded.Decrypt(sealed, []byte("data")); err != nil || string(opened) != "text" {
		t.Errorf("the loaded key opens %q, %v; want what the made one sealed", opened, err)
	}
}

func TestMasterKeyRefused(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good")
	if _, err := keyserver.CreateMasterKey(good); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	otherKind := filepath.Join(t.TempDir(), "mac")
	h, err := keyset.NewHandle(mac.HMACSHA256Tag256KeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(otherKind, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(f)), f.Close()); err != nil {
		t.Fatal(err)
	}
	macText, err := os.ReadFile(otherKind)
	if err != nil {
		t.Fatal(err)
	}
	canary := "AbCdEfGhIjKlMnOp"
	for _, tt := range []struct {
		name string
		text string
		mode os.FileMode
		want string
	}{
		{"readable by the group", string(text), 0o640, "can be used by others (mode 0640)"},
		{"readable by all", string(text), 0o604, "can be used by others"},
		{"empty", "", 0o600, "is empty"},
		{"not JSON", "{" + canary, 0o600, "is not a Tink keyset"},
		{"cut", string(text[:len(text)/2]), 0o600, "is not a Tink keyset"},
		{"another field", `{"` + canary + `": 1}`, 0o600, "is not a Tink keyset"},
		{"of another kind", string(macText), 0o600, "not one that encrypts"},
		{"huge", strings.Repeat(" ", 65<<10), 0o600, "is over 64 KiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "master.key")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := keyserver.LoadMasterKey(path)
			wantError(t, "LoadMasterKey", err, api.ErrInvalid, tt.want)
			var e *api.Error
			if errors.As(err, &e) && e.Detail == "" {
				t.Errorf("LoadMasterKey: %v, without a word on what to do", err)
			}
			if err != nil && strings.Contains(err.Error(), canary[:8]) {
				t.Errorf("LoadMasterKey: %v; it quotes the file", err)
			}
		})
	}
	_, err = keyserver.LoadMasterKey(t.TempDir())
	wantError(t, "LoadMasterKey of a directory", err, api.ErrInvalid, "is not a regular file")
	if _, err := keyserver.CreateMasterKey(filepath.Join(t.TempDir(), "no", "such", "dir")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("CreateMasterKey in no directory: %v; want fs.ErrNotExist", err)
	}
}

// A store that was made with one master key refuses another and stays as it was.
func TestNewWrongMasterKey(t *testing.T) {
	s := newSite(t, nil)
	before := s.events(0)
	_, err := keyserver.New(t.Context(), keyserver.Config{Store: s.Store, MasterKey: newMasterKey(t)})
	wantError(t, "New with another master key", err, api.ErrInvalid, "not the master key", "nothing was changed")
	if after := s.events(0); len(after) != len(before) {
		t.Errorf("New with another master key left %d events; want %d as before", len(after), len(before))
	}
	if _, err := keyserver.New(t.Context(), keyserver.Config{Store: s.Store, MasterKey: s.Master}); err != nil {
		t.Errorf("New with the right master key again: %v", err)
	}
}

// A store that has users but no check value must not be bound to any key that
// comes along.
func TestNewWithoutCheck(t *testing.T) {
	s := newSite(t, nil)
	_, err := keyserver.New(t.Context(), keyserver.Config{Store: forgetful{s.Store}, MasterKey: s.Master})
	wantError(t, "New over users without a check value", err, api.ErrInvalid, "check value")
}

// forgetful has lost its check value.
type forgetful struct{ keyserver.Store }

func (forgetful) MasterKeyCheck(ctx context.Context) ([]byte, error) { return nil, api.ErrNotFound }

func TestNewConfig(t *testing.T) {
	if _, err := keyserver.New(t.Context(), keyserver.Config{}); err == nil {
		t.Error("New without a store: no error")
	}
	_, err := keyserver.New(t.Context(), keyserver.Config{Store: memstore.New(), MasterKey: newMasterKey(t), KeyAlgorithm: "dsa"})
	wantError(t, "New with DSA keys", err, api.ErrInvalid, "dsa")
}

func TestFirstAdmin(t *testing.T) {
	s := newSite(t, nil)
	if s.Admin.Name != "admin" || s.Admin.Role != api.RoleAdmin {
		t.Errorf("the first user is %s with the role %s; want admin, admin", s.Admin.Name, s.Admin.Role)
	}
	if token, made, err := s.Server.FirstAdmin(t.Context()); token != "" || made || err != nil {
		t.Errorf("FirstAdmin again = made %t, %v; want nothing made", made, err)
	}
	tokens, err := s.Admin.Tokens(t.Context(), api.Me)
	if err != nil || len(tokens) != 1 || tokens[0].ExpiresAt == nil || tokens[0].ExpiresAt.Sub(tokens[0].CreatedAt).Hours() != 24 {
		t.Errorf("the first admin's tokens are %+v, %v; want one that is valid for 24 hours", tokens, err)
	}
}

func TestIssueToken(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	token, err := s.Server.IssueToken(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if a := s.account(token); a.ID != alice.ID {
		t.Errorf("the token issued for alice is %s's", a.Name)
	}
	if e := s.lastEvent(); e.Action != "token.create" || e.Actor != "server" || string(e.TargetID) != alice.ID {
		t.Errorf("the audit log ends with %+v; want token.create by the server for alice", e)
	}
	_, err = s.Server.IssueToken(t.Context(), "nobody")
	wantError(t, "IssueToken for nobody", err, api.ErrNotFound, "nobody")
	yes := true
	if _, err := s.Admin.UpdateUser(t.Context(), "alice", api.UpdateUserRequest{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	_, err = s.Server.IssueToken(t.Context(), "alice")
	wantError(t, "IssueToken for a disabled user", err, api.ErrConflict, "disabled")
}
