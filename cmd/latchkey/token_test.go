package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// Who makes a new token for a workspace hears that its daemon does not take it by
// itself, and that the old one is good until it is revoked.
func TestWorkspaceTokenCreateSaysWhatIsLeft(t *testing.T) {
	loggedIn(t)
	file := filepath.Join(t.TempDir(), "box.token")
	first := decode[api.CreatedWorkspace](t, latchkey(t, "workspace", "create", "box", "--json"))
	made := "a new token of the workspace box is in " + file + ": start its daemon again to have it used"
	create := func() string {
		return latchkey(t, "workspace", "token", "create", "box", "--token-file", file).ok(t).stderr
	}
	if got, want := create(), made+`; still good: 1 older token, which "latchkey workspace token list box" shows and "latchkey workspace token revoke" ends`+"\n"; got != want {
		t.Errorf("with an older token it says\n%q\nwant\n%q", got, want)
	}
	for line := range strings.Lines(latchkey(t, "workspace", "token", "list", "box").ok(t).stdout) {
		if id, _, _ := strings.Cut(line, " "); id != "ID" {
			latchkey(t, "workspace", "token", "revoke", "-y", "box", id).ok(t)
		}
	}
	if got, want := create(), made+"\n"; got != want {
		t.Errorf("when %s and all others are revoked it says\n%q\nwant\n%q", first.Token.ID, got, want)
	}
}
