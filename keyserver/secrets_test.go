package keyserver_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func TestCreateSecret(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, _ := s.newWorkspace(alice, "box")
	if list, err := alice.Secrets(t.Context(), api.Me); err != nil || len(list) != 0 {
		t.Errorf("Secrets of a new user = %v, %v; want none", list, err)
	}
	binary := string([]byte{0, 0xff, '\n', 0})
	for name, in := range map[string]api.CreateSecretRequest{
		"env":      {EnvName: "API_KEY", SecretValue: text("s3cret $HOME \u00e9\n")},
		"file":     {FilePath: "~/.config/key", SecretValue: api.SecretValue{ValueBase64: []byte(binary)}},
		"both":     {EnvName: "BOTH", FilePath: "~/both", Description: "a description", SecretValue: text("")},
		"disabled": {Enabled: ptr(false), SecretValue: text("x")},
	} {
		in.Name = name
		got, err := alice.CreateSecret(t.Context(), api.Me, in)
		if err != nil {
			t.Fatalf("CreateSecret(%s): %v", name, err)
		}
		value, _ := in.Bytes()
		enabled := in.Enabled == nil || *in.Enabled
		if got.Name != name || got.EnvName != in.EnvName || got.FilePath != in.FilePath || got.Description != in.Description ||
			got.Enabled != enabled || got.Version != 1 || got.Size != int64(len(value)) || !got.CreatedAt.Equal(s.Clock.Now()) || got.Workspaces == nil || got.Labels == nil {
			t.Errorf("CreateSecret(%s) = %+v; want what was asked for", name, got)
		}
		if e := s.lastEvent(); e.Action != "secret.create" || e.Target != "alice/"+name || string(e.TargetID) != alice.ID || !strings.HasPrefix(e.Detail, "version 1") {
			t.Errorf("after CreateSecret(%s) the audit log ends with %+v", name, e)
		}
		again, err := alice.Secret(t.Context(), api.Me, name)
		if err != nil || toJSON(t, again) != toJSON(t, got) {
			t.Errorf("Secret(%s) = %+v, %v; want %+v", name, again, err, got)
		}
	}
	want := map[string]string{"env": "s3cret $HOME \u00e9\n", "file": binary, "both": ""}
	if got := values(t, w); !maps.Equal(got, want) {
		t.Errorf("the workspace is given %q; want %q", got, want)
	}
	list, err := alice.Secrets(t.Context(), api.Me)
	if err != nil || len(list) != 4 || !slices.IsSortedFunc(list, func(a, b api.Secret) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("Secrets = %+v, %v; want all by name", list, err)
	}
}

// All problems of a request are told at once, by field.
func TestCreateSecretProblems(t *testing.T) {
	s := newSite(t, func(c *keyserver.Config) { c.ReservedEnv = []string{"CI_*"} })
	alice := s.newUser("alice", api.RoleUser)
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprint("box", i)
	}
	for name, tt := range map[string]struct {
		in   api.CreateSecretRequest
		want []string
	}{
		"nothing":   {api.CreateSecretRequest{}, []string{"value: is missing", "name: is missing", "env_name: is missing, and so is file_path"}},
		"all wrong": {api.CreateSecretRequest{Name: "no/slash", EnvName: "PATH", FilePath: "x", Description: "\n", Workspaces: []string{"a b"}, Labels: []string{""}, SecretValue: text("x")}, []string{"name: must be", "env_name: PATH is reserved", "file_path: must begin", "description: holds", "workspaces[0]: must be", "labels[0]: is missing"}},
		"reserved":  {api.CreateSecretRequest{Name: "a", EnvName: "ci_token", SecretValue: text("x")}, []string{"env_name: ci_token is reserved"}},
		"two forms": {api.CreateSecretRequest{Name: "a", EnvName: "A", SecretValue: api.SecretValue{Value: ptr("x"), ValueBase64: []byte("x")}}, []string{"value_base64: is given together"}},
		"no target": {api.CreateSecretRequest{Name: "a", SecretValue: text("x")}, []string{"env_name: is missing", `"enabled": false`}},
		"twice":     {api.CreateSecretRequest{Name: "a", EnvName: "A", Labels: []string{"x", "y", "x"}, Workspaces: many, SecretValue: text("x")}, []string{"labels[2]: is there twice", "workspaces: has 101 entries; at most 100"}},
		"NUL":       {api.CreateSecretRequest{Name: "a", EnvName: "A", SecretValue: text("x\x00")}, []string{"value: holds a NUL byte", "give a file_path and no env_name"}},
	} {
		_, err := alice.CreateSecret(t.Context(), api.Me, tt.in)
		wantError(t, name, err, api.ErrInvalid, tt.want...)
		var e *api.Error
		if errors.As(err, &e) && len(e.Validations) > 6 {
			t.Errorf("%s: %v; want each problem once", name, err)
		}
	}
	if list, err := alice.Secrets(t.Context(), api.Me); err != nil || len(list) != 0 {
		t.Errorf("what was refused is there: %v, %v", list, err)
	}
}

// PATCH tells absent from empty.
func TestUpdateSecret(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, _ := s.newWorkspace(alice, "box")
	for i, tt := range []struct {
		body string
		want string // the secret, or the refusal
	}{
		{`{}`, "400 value: is missing, and so is every other field"},
		{`{"description":""}`, "DB=b /f on [w] [l] v1 -"},
		{`{"description":"new"}`, "DB=b /f on [w] [l] v1 new"},
		{`{"env_name":""}`, " /f on [w] [l] v1 d"},
		{`{"file_path":""}`, "DB=b  on [w] [l] v1 d"},
		{`{"env_name":"","file_path":""}`, "  off [w] [l] v1 d"},
		{`{"env_name":"","file_path":"","enabled":false}`, "  off [w] [l] v1 d"},
		{`{"env_name":"","file_path":"","enabled":true}`, `400 env_name: is missing, and so is file_path`},
		{`{"workspaces":[]}`, "DB=b /f on [] [l] v1 d"},
		{`{"labels":[],"workspaces":["v"]}`, "DB=b /f on [v] [] v1 d"},
		{`{"labels":null}`, "400 value: is missing, and so is every other field"},
		{`{"enabled":false}`, "DB=b /f off [w] [l] v1 d"},
		{`{"value":""}`, "DB= /f on [w] [l] v2 d"},
		{`{"value":"c"}`, "DB=c /f on [w] [l] v2 d"},
		{`{"value_base64":"YzI="}`, "DB=c2 /f on [w] [l] v2 d"},
		{`{"value":"a","value_base64":"YzI="}`, "400 value_base64: is given together"},
		{`{"value_base64":"AA=="}`, "400 value: holds a NUL"},
		{`{"env_name":"","value_base64":"AA=="}`, " /f on [w] [l] v2 d"},
		{`{"env_name":"PATH","file_path":"x","name":""}`, "400 name: is missing; env_name: PATH is reserved, as it would change how programs run; file_path: must begin"},
		{`{"name":null,"env_name":"E"}`, "E=b /f on [w] [l] v1 d"},
		{`{"color":"red"}`, "400 color: is not a field"},
	} {
		name := fmt.Sprint("s", i)
		_, err := alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: name, Description: "d", EnvName: "DB", FilePath: "/f", Workspaces: []string{"w"}, Labels: []string{"l"}, SecretValue: text("b")})
		if err != nil {
			t.Fatal(err)
		}
		status, answer, _ := s.send("PATCH", "/api/v2/users/me/secrets/"+name, alice.Token, tt.body)
		got := fmt.Sprint(status, " ")
		if status == http.StatusOK {
			sec, err := alice.Secret(t.Context(), api.Me, name)
			if err != nil {
				t.Fatal(err)
			}
			got = shape(sec)
			if sec.EnvName != "" { // how it would be delivered
				if _, err := alice.UpdateSecret(t.Context(), api.Me, name, api.UpdateSecretRequest{Workspaces: &[]string{}, Labels: &[]string{}, Enabled: ptr(true)}); err != nil {
					t.Fatal(err)
				}
				got = strings.Replace(got, sec.EnvName, sec.EnvName+"="+values(t, w)[name], 1)
			}
		} else {
			got += validations(t, answer)
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("PATCH %s:\n got %s\nwant %s", tt.body, got, tt.want)
		}
		if err := alice.DeleteSecret(t.Context(), api.Me, name); err != nil {
			t.Fatal(err)
		}
	}
}

// shape is a secret in a few words.
func shape(sec api.Secret) string {
	on, description := "off", "-"
	if sec.Enabled {
		on = "on"
	}
	if sec.Description != "" {
		description = sec.Description
	}
	return fmt.Sprintf("%s %s %s %v %v v%d %s", sec.EnvName, sec.FilePath, on, sec.Workspaces, sec.Labels, sec.Version, description)
}

func TestRenameAndDeleteSecret(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	sec := s.newSecret(alice, "old", "TOKEN", "value")
	s.Clock.Advance(time.Second)
	got, err := alice.UpdateSecret(t.Context(), api.Me, "old", api.UpdateSecretRequest{Name: ptr("new")})
	if err != nil || got.Name != "new" || got.ID != sec.ID || got.Version != 1 || !got.UpdatedAt.After(sec.UpdatedAt) || !got.CreatedAt.Equal(sec.CreatedAt) {
		t.Errorf("renaming = %+v, %v; want the same secret with another name", got, err)
	}
	if e := s.lastEvent(); e.Action != "secret.update" || e.Target != "alice/old" || !strings.HasPrefix(e.Detail, "name: version 1") {
		t.Errorf("after renaming the audit log ends with %+v", e)
	}
	_, err = alice.Secret(t.Context(), api.Me, "old")
	wantError(t, "the old name", err, api.ErrNotFound, "alice has no secret old")
	if _, err := alice.Secret(t.Context(), api.Me, sec.ID); err != nil {
		t.Errorf("by ID: %v", err)
	}
	if err := alice.DeleteSecret(t.Context(), api.Me, "new"); err != nil {
		t.Fatal(err)
	}
	if e := s.lastEvent(); e.Action != "secret.delete" || e.Target != "alice/new" {
		t.Errorf("after deleting the audit log ends with %+v", e)
	}
	wantError(t, "deleting twice", alice.DeleteSecret(t.Context(), api.Me, "new"), api.ErrNotFound)
	if again := s.newSecret(alice, "new", "TOKEN", "value"); again.ID == sec.ID {
		t.Error("a secret that was deleted and made again has the same ID")
	}
}

// What is taken is told for each field, and by whom.
func TestSecretClashes(t *testing.T) {
	s := newSite(t, nil)
	alice, bob := s.newUser("alice", api.RoleUser), s.newUser("bob", api.RoleUser)
	if _, err := alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "a", EnvName: "A", FilePath: "~/a", SecretValue: text("x")}); err != nil {
		t.Fatal(err)
	}
	for _, off := range []*bool{nil, ptr(false)} { // what is disabled takes its targets all the same
		if off != nil {
			if _, err := alice.UpdateSecret(t.Context(), api.Me, "a", api.UpdateSecretRequest{Enabled: off}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "a", EnvName: "A", FilePath: "~/a", SecretValue: text("y")})
		wantError(t, "all taken", err, api.ErrConflict, "name: name already in use", "env_name: environment variable already in use by secret a", "file_path: file path already in use by secret a")
	}
	for path, want := range map[string]string{"~/a/b": "lies below ~/a", "~/ab": ""} {
		_, err := alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "b", FilePath: path, SecretValue: text("y")})
		if want == "" {
			if err != nil {
				t.Errorf("%s beside ~/a: %v", path, err)
			}
			continue
		}
		wantError(t, path, err, api.ErrConflict, "file_path: "+want)
	}
	if _, err := alice.UpdateSecret(t.Context(), api.Me, "b", api.UpdateSecretRequest{EnvName: ptr("a")}); err != nil {
		t.Errorf("a variable that differs in case: %v", err)
	}
	_, err := alice.UpdateSecret(t.Context(), api.Me, "b", api.UpdateSecretRequest{Name: ptr("a"), EnvName: ptr("A")})
	wantError(t, "renaming to what is taken", err, api.ErrConflict, "name: name already in use", "env_name: environment variable already in use by secret a")
	s.newSecret(bob, "a", "A", "bob's")
}

// Two secrets swap what only one of them can have, at once or not at all.
func TestUpdateSecrets(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, _ := s.newWorkspace(alice, "box")
	s.newSecret(alice, "blue", "URL", "blue")
	s.newSecret(alice, "green", "URL_NEXT", "green")
	_, err := alice.UpdateSecret(t.Context(), api.Me, "green", api.UpdateSecretRequest{EnvName: ptr("URL")})
	wantError(t, "one by one", err, api.ErrConflict)
	swap := func(a, b string) api.UpdateSecretsRequest {
		return api.UpdateSecretsRequest{Secrets: []api.NamedUpdate{
			{Secret: "blue", UpdateSecretRequest: api.UpdateSecretRequest{EnvName: &a, Name: ptr("green"), SecretValue: text("new")}},
			{Secret: "green", UpdateSecretRequest: api.UpdateSecretRequest{EnvName: &b, Name: ptr("blue")}},
		}}
	}
	got, err := alice.UpdateSecrets(t.Context(), api.Me, swap("URL_NEXT", "URL"))
	if err != nil || len(got) != 2 || got[0].Name != "green" || got[0].EnvName != "URL_NEXT" || got[0].Version != 2 || got[1].Name != "blue" || got[1].Version != 1 {
		t.Fatalf("the swap = %+v, %v", got, err)
	}
	if got, want := values(t, w), map[string]string{"blue": "green", "green": "new"}; !maps.Equal(got, want) {
		t.Errorf("after the swap the workspace is given %q; want %q", got, want)
	}
	if e := s.events(0); e[len(e)-2].Action != "secret.update" || e[len(e)-2].Detail != "2 secrets: blue, green" {
		t.Errorf("the swap is recorded as %+v", e[len(e)-2])
	}
	before, _ := alice.Secrets(t.Context(), api.Me)
	for name, tt := range map[string]struct {
		in   api.UpdateSecretsRequest
		kind error
		want []string
	}{
		"nothing":   {api.UpdateSecretsRequest{}, api.ErrInvalid, []string{"secrets: is missing"}},
		"a clash":   {swap("SAME", "SAME"), api.ErrConflict, []string{"secrets[0].env_name: environment variable already in use by secret blue", "secrets[1].env_name: environment variable already in use by secret green"}},
		"wrong":     {swap("PATH", "1"), api.ErrInvalid, []string{"secrets[0].env_name: PATH is reserved", "secrets[1].env_name: must be"}},
		"twice":     {api.UpdateSecretsRequest{Secrets: []api.NamedUpdate{{Secret: "blue", UpdateSecretRequest: api.UpdateSecretRequest{Enabled: ptr(false)}}, {Secret: "blue", UpdateSecretRequest: api.UpdateSecretRequest{Enabled: ptr(true)}}}}, api.ErrInvalid, []string{"secrets[1].secret: blue is there twice"}},
		"unchanged": {api.UpdateSecretsRequest{Secrets: []api.NamedUpdate{{Secret: "blue"}}}, api.ErrInvalid, []string{"secrets[0].value: is missing"}},
		"unknown":   {api.UpdateSecretsRequest{Secrets: []api.NamedUpdate{{Secret: "red"}, {Secret: "blue", UpdateSecretRequest: api.UpdateSecretRequest{Enabled: ptr(false)}}}}, api.ErrNotFound, []string{"secrets[0].secret: there is no secret red"}},
	} {
		_, err := alice.UpdateSecrets(t.Context(), api.Me, tt.in)
		wantError(t, name, err, tt.kind, tt.want...)
	}
	if after, _ := alice.Secrets(t.Context(), api.Me); toJSON(t, after) != toJSON(t, before) {
		t.Errorf("what was refused has changed %v to %v", before, after)
	}
}
