package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// delivered is what a new workspace of the user is given: values by names.
func delivered(t *testing.T, s *testServer) map[string]string {
	t.Helper()
	c := s.client(t, savedToken(t))
	created, err := c.CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: "reader"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.DeleteWorkspace(t.Context(), api.Me, "reader")
	values := make(map[string]string)
	for _, secret := range fetched(t, s.client(t, created.Token.Token)).Secrets {
		value, ok := secret.Bytes()
		if !ok {
			t.Errorf("the secret %s is delivered without a value", secret.Name)
		}
		values[secret.Name] = string(value)
	}
	return values
}

// fetched is what a workspace is given.
func fetched(t *testing.T, c *api.Client) (w api.WorkspaceSecrets) {
	t.Helper()
	recipient, err := api.NewRecipient()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := c.FetchSecrets(t.Context(), api.FetchSecretsRequest{Recipient: recipient.PublicKey()})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := recipient.OpenSecrets(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(opened, &w); err != nil {
		t.Fatal(err)
	}
	return w
}

func (s *testServer) delivers(t *testing.T, name, want string) {
	t.Helper()
	if got, ok := delivered(t, s)[name]; !ok || got != want {
		t.Errorf("workspaces get %.60q (%d bytes) of %s, %v; want %.60q (%d bytes)", got, len(got), name, ok, want, len(want))
	}
}

// What is on stdin is the value, whatever it is.
func TestValuesAreStoredVerbatim(t *testing.T) {
	s := loggedIn(t)
	var every []byte
	for b := range 256 {
		every = append(every, byte(b))
	}
	for name, value := range map[string]string{
		"newline":  "value\n",
		"newlines": "\n\nvalue\r\n\r\n",
		"blanks":   "  value\t ",
		"dollars":  "$HOME ${HOME} `id` $(id) %s \\n",
		"bytes":    string(every),
		"marks":    "\ufeffvalue",
		"largest":  strings.Repeat("x", maxSecretValue),
	} {
		latchkeyWith(t, value, "secret", "create", name, "--file", "/run/"+name).ok(t)
		s.delivers(t, name, value)
		latchkeyWith(t, value, "secret", "update", name, "--description", "again").ok(t)
		s.delivers(t, name, value)
	}
	got := latchkeyWith(t, strings.Repeat("x", maxSecretValue+1), "secret", "create", "larger", "--file", "/run/larger")
	got.expect(t, exitError, "", "latchkey: error: the value on stdin is over 1024 KiB\n")
	latchkey(t, "secret", "create", "flag", "--env", "FLAG", "--value", "-a b\n").ok(t)
	s.delivers(t, "flag", "-a b\n")
	latchkey(t, "secret", "create", "none", "--value=", "--env", "NONE").ok(t)
	s.delivers(t, "none", "")
}

func TestWarningOfNewline(t *testing.T) {
	for value, want := range map[string]bool{
		"a\n": true, "a\r\n": true, "a\r": true, "\n": true, "\r\n": true,
		"": false, "a": false, "a\nb": false, "a\nb\n": false, "a\n\n": false, "a\r\nb\r\n": false, "a\rb\r": false, "a\n\r": false,
	} {
		if got := endsLine([]byte(value)); got != want {
			t.Errorf("endsLine(%q) = %v; want %v", value, got, want)
		}
	}
}

func TestUpdateRotates(t *testing.T) {
	s := loggedIn(t)
	latchkeyWith(t, "one", "secret", "create", "k", "--env", "K").ok(t)
	latchkeyWith(t, "two", "secret", "update", "k").ok(t).expect(t, 0, "", "the secret k is changed: its value is version 2; all your workspaces get it in $K\n")
	s.delivers(t, "k", "two")
	latchkeyWith(t, "", "secret", "update", "k", "--description", "d").ok(t)
	s.delivers(t, "k", "two")
	latchkeyWith(t, "three", "secret", "update", "--file", "/run/k", "k").ok(t)
	s.delivers(t, "k", "three")
	latchkey(t, "secret", "update", "k", "--value", "").ok(t)
	s.delivers(t, "k", "")
	latchkey(t, "secret", "rollback", "k", "--yes").ok(t)
	s.delivers(t, "k", "three")
	got := decode[api.Secret](t, latchkey(t, "secret", "list", "k", "--json"))
	if got.Version != 5 || got.Description != "d" || got.EnvName != "K" || got.FilePath != "/run/k" {
		t.Errorf("after all that the secret is %+v", got)
	}
}

func TestValueOfTwoSources(t *testing.T) {
	loggedIn(t)
	got := latchkeyWith(t, "x", "secret", "create", "k", "--env", "K", "--value", "y")
	got.expect(t, exitUsage, "", "latchkey: error: --value and stdin both give a value\nlatchkey: hint: leave out --value; or to use it: < /dev/null\n")
	if list := decode[[]api.Secret](t, latchkey(t, "secret", "list", "--json")); len(list) != 0 {
		t.Errorf("and %d secrets are stored", len(list))
	}
}

// A stdin that never ends, as another program may leave it, is no value.
func TestValueBesideAnOpenPipe(t *testing.T) {
	s := loggedIn(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var stdout, stderr strings.Builder
	if code := run([]string{"latchkey", "secret", "create", "k", "--env", "K", "--value", "v"}, r, &stdout, &stderr); code != 0 {
		t.Fatalf("exit status %d: %s", code, &stderr)
	}
	s.delivers(t, "k", "v")
	// What comes by it is noticed.
	if _, err := w.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if code := run([]string{"latchkey", "secret", "update", "k", "--value", "v"}, r, &stdout, &stderr); code != exitUsage {
		t.Errorf("with a byte on stdin the exit status is %d; want %d", code, exitUsage)
	}
}

func TestSlowStdin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		var stderr strings.Builder
		go func() {
			time.Sleep(2 * time.Second)
			io.WriteString(w, "two ")
			time.Sleep(2 * time.Second)
			io.WriteString(w, "halves")
			w.Close()
		}()
		value, err := (&program{stdin: r, stderr: &stderr}).readValue()
		if string(value) != "two halves" || err != nil {
			t.Errorf("readValue = %q, %v", value, err)
		}
		if want := "reading the value from stdin, which has not ended yet; to give none: < /dev/null\n"; stderr.String() != want {
			t.Errorf("meanwhile stderr is %q; want %q", stderr.String(), want)
		}
	})
}

// No command shows a value, whether it does what it should or not.
func TestNoCommandShowsAValue(t *testing.T) {
	s := loggedIn(t)
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	const canary = "qX7wN3pz"
	file := filepath.Join(home, "import.env")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	latchkey(t, "workspace", "create", "box", "--require-env", "K=ask").ok(t)
	check := func(got result) {
		t.Helper()
		if strings.Contains(got.stdout+got.stderr, canary) {
			t.Errorf("the value is shown:\n%s%s", got.stdout, got.stderr)
		}
	}
	for _, args := range [][]string{
		{"create", "k", canary, "--env", "K"}, {"list", "k", canary}, {"create", "k", "--vlaue=" + canary}, {"create", "k", "--enabled=" + canary},
		{"create", "k", "--env", "K"}, {"create", "k", "--env", "K"}, {"create", "k/", "--env", "K2"}, {"create", "k2", "--env", "PATH"},
		{"create", "k2", "--env", "K", "--json"}, {"create", "k2", "--file", "rel"}, {"create", "--env", "K", "k3", "--value", canary},
		{"update", "k"}, {"update", "k", "--json"}, {"update", "none"}, {"update", "k", "--env", "PATH"},
		{"import", "-"}, {"import", "-", "--format", "json"}, {"import", "-", "--format", "yaml"},
	} {
		check(latchkeyWith(t, canary, append([]string{"secret"}, args...)...))
	}
	for _, text := range []string{"A=" + canary + "\n" + canary, "A=" + canary, "A=" + canary, "B/C=" + canary, "PATH=" + canary} {
		write(text)
		check(latchkey(t, "secret", "import", file))
	}
	for _, command := range []string{
		"secret list", "secret list --json", "secret list k", "secret list k --json", "secret status", "secret status --json", "secret history k", "secret history k --json",
		"secret rollback k", "secret rollback k -y --json", "secret disable k", "secret enable k", "secret rename k l", "workspace check", "workspace check --json", "workspace list --json",
		"status", "secret delete l", "secret delete l -y",
	} {
		check(latchkey(t, strings.Fields(command)...))
	}
	if values := delivered(t, s); values["A"] != canary {
		t.Errorf("workspaces get %v; want the value that was looked for", values)
	}
}
