package main

import (
	"path/filepath"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// Where no daemon runs and nobody is logged in, as in a CI job, the workspace's token does:
// the status says so, and whether it is good.
func TestStatusOfATokenWithoutDaemon(t *testing.T) {
	s := loggedIn(t)
	file := filepath.Join(t.TempDir(), "box.token")
	latchkey(t, "workspace", "create", "box", "--token-file", file).ok(t)
	w := decode[[]api.TokenInfo](t, latchkey(t, "workspace", "token", "list", "box", "--json"))
	t.Setenv("LATCHKEY_URL", s.URL)
	t.Setenv("LATCHKEY_TOKEN_FILE", file)
	user := s.client(t, savedToken(t))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(t.TempDir(), "none"))

	const none = "login   none\ndaemon  not running\n"
	latchkey(t, "status").expect(t, 0, none+
		"token   by "+file+", for the workspace box of ada at "+s.URL+"\n"+
		"        without a daemon, git's helper (latchkey gitssh) and \"latchkey run\" go by it\n", "")
	if got := decode[statusReport](t, latchkey(t, "status", "--json")); got.Token == nil || got.Token.Workspace != "box" || got.Token.Error != "" {
		t.Errorf("status --json has the token %+v; want that of box", got.Token)
	}

	if err := user.RevokeWorkspaceToken(t.Context(), api.Me, "box", w[0].ID); err != nil {
		t.Fatal(err)
	}
	got := latchkey(t, "status")
	if got.code != 1 || got.stdout != none+"token   by "+file+", for "+s.URL+": of no use now\n" {
		t.Errorf("status with a token that was revoked = %+v", got)
	}
	got.hints(t, `"latchkey workspace token create box --token-file FILE" makes a new one, which a daemon reads when it starts`)
	s.Close()
	latchkey(t, "status").hints(t, "is latchkeyd running at "+s.URL+"? LATCHKEY_URL says where it is")
	t.Setenv("LATCHKEY_TOKEN_FILE", file+".none")
	latchkey(t, "status").hints(t, "make one: latchkey workspace create NAME --token-file FILE")
}
