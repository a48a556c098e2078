package main

import (
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// What mends a token that the server refuses goes by why it does, and names the workspace.
func TestStatusOfARefusedWorkspace(t *testing.T) {
	const renew = `"latchkey workspace token create box --token-file FILE" makes a new one, which a daemon reads when it starts`
	for _, tt := range []struct {
		why    string
		refuse func(t *testing.T, s *testServer, w api.CreatedWorkspace)
		hint   string
	}{
		{"the workspace token was revoked at ", func(t *testing.T, _ *testServer, w api.CreatedWorkspace) {
			latchkey(t, "workspace", "token", "revoke", "-y", "box", w.Token.ID).ok(t)
		}, renew},
		{"the workspace of the token was deleted", func(t *testing.T, _ *testServer, _ api.CreatedWorkspace) {
			latchkey(t, "workspace", "delete", "-y", "box").ok(t)
		}, `"latchkey workspace create NAME --token-file FILE" makes another, and its token`},
		{"user ada is disabled", func(t *testing.T, s *testServer, _ api.CreatedWorkspace) {
			if _, err := s.client(t, s.Admin).UpdateUser(t.Context(), "ada", api.UpdateUserRequest{Disabled: new(true)}); err != nil {
				t.Fatal(err)
			}
			t.Setenv("XDG_CONFIG_HOME", t.TempDir()) // else it is the login that is refused
		}, "ask an admin to enable the user"},
	} {
		t.Run(tt.why, func(t *testing.T) {
			s := loggedIn(t)
			w := decode[api.CreatedWorkspace](t, latchkey(t, "workspace", "create", "box", "--json"))
			startDaemon(t, s, w.Token.Token)
			tt.refuse(t, s, w)
			got := latchkey(t, "status")
			if got.code != 1 || !strings.Contains(got.stdout, "\n  server   "+s.URL+", refuses this workspace\n") || !strings.Contains(got.stderr, tt.why) {
				t.Errorf("status in a workspace that is refused = %+v; want in it %q", got, tt.why)
			}
			got.hints(t, tt.hint)
		})
	}
}
