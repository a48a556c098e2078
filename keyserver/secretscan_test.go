package keyserver_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// scanFor asks for candidates as the CLI does.
func scanFor(t *testing.T, candidates ...string) (r api.ScanRequest) {
	t.Helper()
	r.Salt = bytes.Repeat([]byte{7}, 32)
	for _, c := range candidates {
		mac := hmac.New(sha256.New, r.Salt)
		mac.Write([]byte(c))
		r.Hashes = append(r.Hashes, mac.Sum(nil)[:16]...)
	}
	return r
}

func TestScanSecrets(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	box, _ := s.newBox(alice, "box", "web")
	closed, _ := s.newBox(alice, "closed")
	if _, err := alice.UpdateWorkspace(t.Context(), api.Me, "closed", api.UpdateWorkspaceRequest{RefuseSecrets: ptr(true)}); err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]api.CreateSecretRequest{
		"long":  {SecretValue: text("long-enough")},
		"twin":  {SecretValue: text("long-enough"), Labels: []string{"web"}},
		"other": {SecretValue: text("elsewhere"), Workspaces: []string{"den"}},
		"off":   {SecretValue: text("disabled"), Enabled: ptr(false)},
		"short": {SecretValue: text("7 bytes")},
	} {
		in.Name, in.EnvName = name, "X_"+strings.ToUpper(name)
		if _, err := alice.CreateSecret(t.Context(), api.Me, in); err != nil {
			t.Fatal(err)
		}
	}
	ask := scanFor(t, "nothing-of-it", "elsewhere", "long-enough", "7 bytes", "disabled", "long-enough ")
	say := func(m []api.ScanMatch) (words []string) {
		for _, one := range m {
			words = append(words, fmt.Sprint(one.Index, one.Secret))
		}
		return words
	}
	got, err := alice.ScanSecrets(t.Context(), api.Me, ask)
	if want := "[1other 2long 2twin 4off]"; err != nil || fmt.Sprint(say(got)) != want {
		t.Errorf("ScanSecrets = %v, %v; want %s", say(got), err, want)
	}
	if e := s.lastEvent(); e.Action != "secret.scan" || e.Target != "alice" || e.Detail != "6 candidates, 4 matches" {
		t.Errorf("the audit log ends with %+v", e)
	}
	got, err = box.ScanOwnSecrets(t.Context(), ask)
	if want := "[2long 2twin 4off]"; err != nil || fmt.Sprint(say(got)) != want {
		t.Errorf("ScanOwnSecrets = %v, %v; want %s: not what is limited to others", say(got), err, want)
	}
	if e := s.lastEvent(); e.Action != "secret.scan" || e.Target != "alice/box" || e.Actor != "workspace:box" {
		t.Errorf("the audit log ends with %+v", e)
	}
	if got, err := closed.ScanOwnSecrets(t.Context(), ask); err != nil || len(got) != 0 {
		t.Errorf("ScanOwnSecrets of a workspace that takes none = %v, %v", say(got), err)
	}
	s.Store.set(func(b *brokenStore) { b.values = func(v []keyserver.SecretValue) { v[0].Sealed = nil } })
	if got, err := alice.ScanSecrets(t.Context(), api.Me, ask); err != nil || len(got) != 3 {
		t.Errorf("with a damaged value: %v, %v; want the others", say(got), err)
	}
	if e := s.lastEvent(); e.Detail != "6 candidates, 3 matches, 1 secrets not looked at: they do not open" {
		t.Errorf("the audit log ends with %+v", e)
	}
	for want, in := range map[string]api.ScanRequest{
		"salt: must be 32 bytes":        {Salt: make([]byte, 31), Hashes: make([]byte, 16)},
		"hashes: must be 16 bytes for":  {Salt: make([]byte, 32), Hashes: make([]byte, 17)},
		"hashes: must be 16 bytes":      {Salt: make([]byte, 32)},
		"hashes: has 4194320 bytes; at": {Salt: make([]byte, 32), Hashes: make([]byte, 4<<20+16)},
	} {
		_, err := alice.ScanSecrets(t.Context(), api.Me, in)
		wantError(t, want, err, api.ErrInvalid, want)
	}
	if _, err := alice.ScanSecrets(t.Context(), api.Me, api.ScanRequest{Salt: make([]byte, 32), Hashes: make([]byte, 4<<20)}); err != nil {
		t.Errorf("a scan of the largest size: %v", err)
	}
}
