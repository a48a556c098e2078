package main

import (
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace"
)

// Who has fetched a key last is named as its user names it, while it is there.
func TestKeyShowNamesTheWorkspace(t *testing.T) {
	s := loggedIn(t)
	w := decode[api.CreatedWorkspace](t, latchkey(t, "workspace", "create", "box", "--json"))
	startDaemon(t, s, w.Token.Token)
	conn, err := net.Dial("unix", workspace.AgentSocket(os.Getenv("LATCHKEY_RUNTIME_DIR")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := agent.NewClient(conn)
	keys, err := client.List()
	if err != nil || len(keys) != 1 {
		t.Fatalf("the agent lists %d keys, %v; want one", len(keys), err)
	}
	if _, err := client.Sign(keys[0], []byte(signable)); err != nil {
		t.Fatal(err)
	}
	if got := latchkey(t, "key", "show").ok(t); !strings.Contains(got.stdout, "\nlast fetched  just now, by workspace box\n") {
		t.Errorf("key show =\n%s\nwant the name of the workspace", got.stdout)
	}
	latchkey(t, "workspace", "delete", "-y", "box").ok(t)
	if got := latchkey(t, "key", "show").ok(t); !strings.Contains(got.stdout, ", by workspace "+w.ID+"\n") {
		t.Errorf("key show =\n%s\nwant the ID of the workspace", got.stdout)
	}
}
