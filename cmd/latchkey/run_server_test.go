package main

import (
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// With a real server: through the daemon, live, and without one.
func TestRunWithServer(t *testing.T) {
	s := newServer(t, false)
	home := newHome(t)
	ada := s.client(t, s.newUser(t, "ada", api.RoleUser))
	w, err := ada.CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: "dev"})
	if err != nil {
		t.Fatal(err)
	}
	r := api.CreateSecretRequest{Name: "npm", EnvName: "NPM_TOKEN", SecretValue: api.SecretValue{Value: text("first-value")}}
	if _, err := ada.CreateSecret(t.Context(), api.Me, r); err != nil {
		t.Fatal(err)
	}

	t.Setenv("LATCHKEY_URL", s.URL)
	t.Setenv("LATCHKEY_TOKEN", w.Token.Token)
	script := []string{"--", "/bin/sh", "-c", `echo "it is $NPM_TOKEN, and the token ${LATCHKEY_TOKEN-unset}"; cat >/dev/null`}
	for _, flags := range [][]string{nil, {"--mask"}, {"--only", "npm"}} {
		got, _ := ran(t, latchkeyRun(t, append(flags, script...)...))
		want := "it is first-value, and the token unset\n"
		if flags != nil && flags[0] == "--mask" {
			want = strings.Replace(want, "first-value", "[secret NPM_TOKEN]", 1)
		}
		if got != (result{0, want, ""}) {
			t.Errorf("without a daemon run %q = %+v; want %q", flags, got, want)
		}
	}

	d := startAgent(t, []string{"HOME=" + home, "LATCHKEY_TOKEN=" + w.Token.Token}, "--url", s.URL)
	t.Setenv("LATCHKEY_RUNTIME_DIR", d.Dir)
	tt := startOnPipes(t, latchkeyRun(t, append([]string{"--watch"}, script...)...))
	tt.sees(t, "it is first-value")
	if _, err := ada.UpdateSecret(t.Context(), api.Me, "npm", api.UpdateSecretRequest{SecretValue: api.SecretValue{Value: text("second-value")}}); err != nil {
		t.Fatal(err)
	}
	tt.sees(t, "it is second-value")
	tt.keyboard.Close()
	if state, screen := tt.ends(t); state.ExitCode() != 0 || screen != "it is first-value, and the token unset\nit is second-value, and the token unset\n" {
		t.Errorf("it ended with %v and\n%s", state, screen)
	}
}
