package keyserver_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// hostKey is an ed25519 key whose bytes are all b, as "TYPE BASE64".
func hostKey(b byte) string {
	wire := ssh.Marshal(struct{ Type, Key string }{ssh.KeyAlgoED25519, strings.Repeat(string(rune(b)), 32)})
	return ssh.KeyAlgoED25519 + " " + base64.StdEncoding.EncodeToString(wire)
}

func addHosts(t *testing.T, c *api.Client, lines ...string) []api.KnownHost {
	t.Helper()
	added, err := c.AddKnownHosts(t.Context(), api.AddKnownHostsRequest{Content: strings.Join(lines, "\n")})
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func TestKnownHosts(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	box, _ := s.newWorkspace(alice, "box")
	if list, err := alice.KnownHosts(t.Context()); err != nil || list == nil || len(list) > 0 {
		t.Errorf("KnownHosts of a new server = %v, %v; want an empty list", list, err)
	}
	added := addHosts(t, s.Admin.Client, "# ours", "", "Forge.test,[forge.test]:2222 "+hostKey(1)+" the forge", "@revoked * "+hostKey(2))
	if len(added) != 2 || added[0].Hosts != "forge.test,[forge.test]:2222" || added[0].Comment != "the forge" || added[0].Marker != "" ||
		added[1].Marker != "@revoked" || added[1].KeyType != "ssh-ed25519" || added[0].CreatedBy != s.Admin.ID {
		t.Errorf("AddKnownHosts = %+v", added)
	}
	key, err := ssh.ParsePublicKey(added[0].Key)
	if err != nil || ssh.FingerprintSHA256(key) != added[0].Fingerprint {
		t.Errorf("the fingerprint of %+v is not that of its key: %v", added[0], err)
	}
	e := s.lastEvent()
	if want := fmt.Sprintf("2 lines: forge.test,[forge.test]:2222 %s, @revoked * %s", added[0].Fingerprint, added[1].Fingerprint); e.Action != "knownhost.add" || e.Detail != want || e.Result != keyserver.OK {
		t.Errorf("it is recorded as %+v; want %q", e, want)
	}
	for who, list := range map[string]func() ([]api.KnownHost, error){
		"a user": func() ([]api.KnownHost, error) { return alice.KnownHosts(t.Context()) },
		"a workspace": func() ([]api.KnownHost, error) {
			list, _, _, err := box.WorkspaceKnownHosts(t.Context(), "")
			return list, err
		},
	} {
		if got, err := list(); err != nil || toJSON(t, got) != toJSON(t, added) {
			t.Errorf("%s is told %s, %v; want %s", who, toJSON(t, got), err, toJSON(t, added))
		}
	}

	if err := s.Admin.DeleteKnownHost(t.Context(), added[0].ID); err != nil {
		t.Fatal(err)
	}
	if e := s.lastEvent(); e.Action != "knownhost.delete" || e.Target != added[0].ID || !strings.Contains(e.Detail, added[0].Fingerprint) {
		t.Errorf("it is recorded as %+v", e)
	}
	if list, err := alice.KnownHosts(t.Context()); err != nil || toJSON(t, list) != toJSON(t, added[1:]) {
		t.Errorf("KnownHosts after one was deleted = %s, %v", toJSON(t, list), err)
	}
	for _, id := range []string{added[0].ID, "forge.test"} {
		wantError(t, "deleting "+id, s.Admin.DeleteKnownHost(t.Context(), id), api.ErrNotFound, "no known host")
	}
}

// All that is wrong is told at once, by line, and nothing is added.
func TestKnownHostsRefused(t *testing.T) {
	s := newSite(t, nil)
	first := addHosts(t, s.Admin.Client, "forge.test "+hostKey(1))[0]
	for _, tt := range []struct {
		content string
		kind    error
		words   []string
	}{
		{"", api.ErrInvalid, []string{"holds no lines"}},
		{"# nothing", api.ErrInvalid, []string{"holds no lines"}},
		{"forge\nok " + hostKey(2) + "\n[ok]:22 " + hostKey(2), api.ErrInvalid, []string{"line 1: is not of the form", "line 3: the host [ok]:22 would never match", "nothing was added"}},
		{"ok " + hostKey(2) + "\nFORGE.test " + hostKey(1) + " other", api.ErrConflict, []string{"line 2: is there already, as " + first.ID, "nothing was added"}},
		{strings.Repeat("#", 256<<10+1), api.ErrInvalid, []string{"at most 262144"}},
	} {
		_, err := s.Admin.AddKnownHosts(t.Context(), api.AddKnownHostsRequest{Content: tt.content})
		wantError(t, fmt.Sprintf("adding %.40q", tt.content), err, tt.kind, tt.words...)
	}
	if list, err := s.Admin.KnownHosts(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("after all was refused there are %v, %v; want the first", list, err)
	}
}

func TestTooManyKnownHosts(t *testing.T) {
	s := newSite(t, nil)
	for i := range 10 {
		var lines []string
		for j := range 1000 {
			lines = append(lines, fmt.Sprintf("h%d-%d %s", i, j, hostKey(1)))
		}
		addHosts(t, s.Admin.Client, lines...)
	}
	_, err := s.Admin.AddKnownHosts(t.Context(), api.AddKnownHostsRequest{Content: "one.more " + hostKey(1)})
	wantError(t, "adding one more than 10000", err, api.ErrInvalid, "at most 10000", "delete what is of no use")
}

// Whoever has the list is told only that it is the same.
func TestKnownHostsTag(t *testing.T) {
	s := newSite(t, nil)
	box, w := s.newWorkspace(s.newUser("alice", api.RoleUser), "box")
	_, tag, changed, err := box.WorkspaceKnownHosts(t.Context(), "")
	if err != nil || !changed || tag == "" {
		t.Fatalf("the first list: tag %q, changed %t, %v", tag, changed, err)
	}
	if list, again, changed, err := box.WorkspaceKnownHosts(t.Context(), tag); err != nil || changed || again != tag || list != nil {
		t.Errorf("the same list again: %v, tag %q, changed %t, %v; want it unchanged", list, again, changed, err)
	}
	status, text, header := s.send("GET", "/api/v2/workspaceagents/me/known-hosts", w.Token.Token, "", "If-None-Match", tag)
	if status != http.StatusNotModified || text != "" || header.Get("ETag") != tag {
		t.Errorf("with If-None-Match: %d %q %v; want 304 and nothing", status, text, header)
	}
	added := addHosts(t, s.Admin.Client, "forge.test "+hostKey(1))
	list, next, changed, err := box.WorkspaceKnownHosts(t.Context(), tag)
	if err != nil || !changed || next == tag || len(list) != 1 || !bytes.Equal(list[0].Key, added[0].Key) {
		t.Errorf("after a change: %v, tag %q, changed %t, %v", list, next, changed, err)
	}
	if err := s.Admin.DeleteKnownHost(t.Context(), added[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, back, _, err := box.WorkspaceKnownHosts(t.Context(), next); err != nil || back != tag {
		t.Errorf("when all is as before: tag %q, %v; want %q: it is of what the list holds", back, err, tag)
	}
}

// What is changed on one server is told by another one of the same store.
func TestKnownHostsOfAnotherServer(t *testing.T) {
	s := newSite(t, nil)
	other, err := keyserver.New(t.Context(), keyserver.Config{Store: s.Store, MasterKey: s.Master, Now: s.Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	there := s.clientOf(other, s.Admin.Token)
	for i := range byte(3) {
		addHosts(t, s.Admin.Client, fmt.Sprintf("h%d %s", i, hostKey(1)))
		if list, err := there.KnownHosts(t.Context()); err != nil || len(list) != int(i)+1 {
			t.Errorf("the other server tells %d known hosts, %v; want %d", len(list), err, i+1)
		}
	}
	if _, err := there.AddKnownHosts(t.Context(), api.AddKnownHostsRequest{Content: "h0 " + hostKey(1)}); !errors.Is(err, api.ErrConflict) {
		t.Errorf("adding there what was added here: %v; want a conflict", err)
	}
}
