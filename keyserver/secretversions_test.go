package keyserver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func TestRollback(t *testing.T) {
	s := newSite(t, func(c *keyserver.Config) { c.Limits.Versions = 3 })
	alice := s.newUser("alice", api.RoleUser)
	w, _ := s.newWorkspace(alice, "box")
	s.newSecret(alice, "key", "KEY", "one")
	_, err := alice.RollbackSecret(t.Context(), api.Me, "key", api.RollbackSecretRequest{})
	wantError(t, "the first version", err, api.ErrNotFound, "no earlier version")
	for _, v := range []string{"two!", "three"} {
		if _, err := alice.UpdateSecret(t.Context(), api.Me, "key", api.UpdateSecretRequest{SecretValue: text(v)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		to            int64
		value         string
		version, from int64
	}{
		{0, "two!", 4, 2}, {3, "three", 5, 3}, {0, "two!", 6, 4},
	} {
		got, err := alice.RollbackSecret(t.Context(), api.Me, "key", api.RollbackSecretRequest{Version: tt.to})
		if err != nil || got.Version != tt.version || got.Size != int64(len(tt.value)) || values(t, w)["key"] != tt.value {
			t.Errorf("rolled back to %d: %+v, %v, %q; want %q as version %d", tt.to, got, err, values(t, w)["key"], tt.value, tt.version)
		}
		versions, err := alice.SecretVersions(t.Context(), api.Me, "key")
		if err != nil || len(versions) != 3 || versions[0].Version != tt.version || !versions[0].Current || versions[1].Current || versions[0].RolledBackTo != tt.from {
			t.Errorf("the versions are %+v, %v; want three, the newest current", versions, err)
		}
	}
	for to, want := range map[int64]struct {
		kind error
		text string
	}{6: {api.ErrInvalid, "is the current one"}, 1: {api.ErrNotFound, "no version 1"}, 7: {api.ErrNotFound, "no version 7"}, -1: {api.ErrInvalid, "version: must be"}} {
		_, err := alice.RollbackSecret(t.Context(), api.Me, "key", api.RollbackSecretRequest{Version: to})
		wantError(t, fmt.Sprint("rolling back to ", to), err, want.kind, want.text)
	}
}

// A value that was in a file may not fit a variable that the secret has been
// given since, and the other way about.
func TestRetarget(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	nul := api.SecretValue{ValueBase64: []byte("a\x00b")}
	if _, err := alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "key", FilePath: "~/key", SecretValue: nul}); err != nil {
		t.Fatal(err)
	}
	_, err := alice.UpdateSecret(t.Context(), api.Me, "key", api.UpdateSecretRequest{EnvName: ptr("KEY")})
	wantError(t, "a variable for a value with a NUL", err, api.ErrInvalid, "value: holds a NUL")
	if _, err := alice.UpdateSecret(t.Context(), api.Me, "key", api.UpdateSecretRequest{EnvName: ptr("KEY"), SecretValue: text("ab")}); err != nil {
		t.Fatal(err)
	}
	_, err = alice.RollbackSecret(t.Context(), api.Me, "key", api.RollbackSecretRequest{Version: 1})
	wantError(t, "rolling back to it", err, api.ErrInvalid, "value: holds a NUL")
	big := text(strings.Repeat("x", 64<<10+1))
	_, err = alice.UpdateSecret(t.Context(), api.Me, "key", api.UpdateSecretRequest{EnvName: ptr(""), SecretValue: big})
	if err != nil {
		t.Fatal(err)
	}
	_, err = alice.UpdateSecret(t.Context(), api.Me, "key", api.UpdateSecretRequest{EnvName: ptr("KEY")})
	wantError(t, "a variable for a long value", err, api.ErrInvalid, "value: has 65537 bytes; at most 65536")
}
