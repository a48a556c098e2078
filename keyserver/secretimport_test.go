package keyserver_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// The list of names in the audit log is bounded, and says how many are left out.
func TestLongDelivery(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, _ := s.newWorkspace(alice, "box")
	var content bytes.Buffer
	for i := range 200 {
		fmt.Fprintf(&content, "A_RATHER_LONG_NAME_OF_A_SECRET_%03d=x\n", i)
	}
	if _, err := alice.ImportSecrets(t.Context(), api.Me, api.ImportSecretsRequest{Format: api.Dotenv, Content: content.String()}); err != nil {
		t.Fatal(err)
	}
	if e := s.lastEvent(); e.Action != "secret.import" || len(e.Detail) > 2100 || !strings.Contains(e.Detail, ", and 1") {
		t.Errorf("the import is recorded as %+v", e)
	}
	if got := values(t, w); len(got) != 200 {
		t.Errorf("the workspace is given %d secrets; want 200", len(got))
	}
	if e := s.lastEvent(); len(e.Detail) > 2100 || !strings.HasSuffix(e.Detail, " more") {
		t.Errorf("the delivery is recorded as %+v", e)
	}
}

func TestImportSecrets(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, _ := s.newWorkspace(alice, "box")
	got, err := alice.ImportSecrets(t.Context(), api.Me, api.ImportSecretsRequest{Format: api.Dotenv, Content: "# a comment\nB=two\nA=one\nPATH=/x\n"})
	if err != nil {
		t.Fatal(err)
	}
	var shapes []string
	for _, sec := range got {
		shapes = append(shapes, sec.Name+": "+shape(sec))
	}
	want := []string{"B: B  on [] [] v1 -", "A: A  on [] [] v1 -", "PATH:   off [] [] v1 -"}
	if !slices.Equal(shapes, want) {
		t.Errorf("the import made %q; want %q", shapes, want)
	}
	if got, want := values(t, w), map[string]string{"A": "one", "B": "two"}; !maps.Equal(got, want) {
		t.Errorf("the workspace is given %q; want %q", got, want)
	}
	for name, tt := range map[string]struct {
		format  api.ImportFormat
		content string
		kind    error
		want    []string
	}{
		"clashes":     {api.Dotenv, "C=1\nB=2\nA=3\n", api.ErrConflict, []string{"secrets[1].name: line 2, B: name already in use", "secrets[1].env_name: line 2, B: environment variable already in use by secret B", "secrets[2].name: line 3, A"}},
		"no format":   {"", "A=1", api.ErrInvalid, []string{"format: must be env, json or yaml"}},
		"no secrets":  {api.Dotenv, "# nothing\n", api.ErrInvalid, []string{"content: "}},
		"not a line":  {api.Dotenv, "hunter2\n", api.ErrInvalid, []string{"content: line 1"}},
		"a long name": {api.Dotenv, "C=1\n" + strings.Repeat("D", 256) + "=1\n", api.ErrInvalid, []string{"secrets[1].name: line 2"}},
		"a long one":  {api.Dotenv, "C=1\nD=" + strings.Repeat("x", 64<<10+1) + "\n", api.ErrInvalid, []string{"secrets[1].value: line 2, D: has 65537 bytes"}},
	} {
		_, err := alice.ImportSecrets(t.Context(), api.Me, api.ImportSecretsRequest{Format: tt.format, Content: tt.content})
		wantError(t, name, err, tt.kind, tt.want...)
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v holds a line of the file", name, err)
		}
	}
	if list, err := alice.Secrets(t.Context(), api.Me); err != nil || len(list) != 3 {
		t.Errorf("after imports that were refused there are %d secrets, %v; want 3", len(list), err)
	}
}

// Whatever text a value is, a workspace is given that text.
func TestValuesAreVerbatim(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, workspace := s.newWorkspace(alice, "box")
	s.newSecret(alice, "key", "KEY", "")
	for _, value := range []string{"", " ", "\r\n", "\ufeff", "\ufffd", "\U0001f511", "<&>\u2028", "\\ud800", "$(id) `id` ${X}", "\x01\x7f", "\"'"} {
		if _, err := alice.UpdateSecret(t.Context(), api.Me, "key", api.UpdateSecretRequest{SecretValue: text(value)}); err != nil {
			t.Fatal(err)
		}
		if got := values(t, w)["key"]; got != value {
			t.Errorf("%q is delivered as %q", value, got)
		}
		_, answer, _ := s.send("GET", "/api/v2/workspaceagents/me/secrets", workspace.Token.Token, "")
		var plain api.WorkspaceSecrets
		if err := json.Unmarshal([]byte(answer), &plain); err != nil || plain.Secrets[0].Value == nil || *plain.Secrets[0].Value != value {
			t.Errorf("%q is answered as %s", value, answer)
		}
	}
	for body, want := range map[string]string{
		"{\"value\":\"\xff\"}":            "not valid UTF-8",
		`{"value":"\ud83d"}`:              "half a surrogate pair, at byte 10",
		`{"value":"\ude00"}`:              "half a surrogate pair",
		`{"value":"\ud83d\ud83d"}`:        "half a surrogate pair",
		`{"value":"\ud83dx"}`:             "half a surrogate pair",
		`{"value":"\\\ud83d"}`:            "half a surrogate pair",
		`{"value":"\uD83D`:                "half a surrogate pair",
		`{"value":"\ud83d\udd11\\ud83d"}`: "",
		`{"value":"\u00e9\\"}`:            "",
		`{"value":"\`:                     "not valid JSON",
		`{"value_base64":"hunter2!"}`:     "not base64",
		`{"value":{"hunter2":1}}`:         "",
		`{"value":12345678}`:              "",
		`{"value":"hunter2"`:              "ends too early",
		`{"value":"hunter2" "x":1}`:       "not valid JSON",
		`"hunter2"`:                       "not a JSON object",
		`["hunter2"]`:                     "not a JSON object",
	} {
		status, answer, _ := s.send("PATCH", "/api/v2/users/me/secrets/key", alice.Token, body)
		if want != "" && (status != 400 || !strings.Contains(answer, want)) {
			t.Errorf("%s: %d %s; want 400 with %q", body, status, answer, want)
		}
		if strings.Contains(answer, "hunter2") || strings.Contains(answer, "12345678") {
			t.Errorf("%s: the answer %s holds the value", body, answer)
		}
	}
}
