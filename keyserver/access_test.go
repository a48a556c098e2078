package keyserver_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// Who may do what. Each letter is a caller that the route lets in: U the user
// whom the path names, O another user, A an admin, P a provisioner, D an
// auditor, W the user's workspace, - nobody's token at all. All others are
// refused with 403, and it is on record.
var access = map[string]string{
	"GET /healthz":       "UOAPDW-",
	"GET /api/v2/limits": "UOAPDW-",

	"GET /api/v2/users":           "A",
	"POST /api/v2/users":          "A",
	"GET /api/v2/users/{user}":    "UA",
	"PATCH /api/v2/users/{user}":  "A",
	"DELETE /api/v2/users/{user}": "A",

	"GET /api/v2/users/{user}/keys":          "UA",
	"POST /api/v2/users/{user}/keys":         "U",
	"GET /api/v2/users/{user}/keys/{key}":    "UA",
	"PUT /api/v2/users/{user}/keys/{key}":    "U",
	"PATCH /api/v2/users/{user}/keys/{key}":  "U",
	"DELETE /api/v2/users/{user}/keys/{key}": "U",
	"GET /api/v2/users/{user}/gitsshkey":     "UA",
	"PUT /api/v2/users/{user}/gitsshkey":     "U",

	"GET /api/v2/users/{user}/tokens":            "UA",
	"POST /api/v2/users/{user}/tokens":           "U",
	"DELETE /api/v2/users/{user}/tokens/{token}": "UA",

	"GET /api/v2/users/{user}/workspaces":                               "UP",
	"POST /api/v2/users/{user}/workspaces":                              "UP",
	"DELETE /api/v2/users/{user}/workspaces/{workspace}":                "UP",
	"GET /api/v2/users/{user}/workspaces/{workspace}/tokens":            "UP",
	"POST /api/v2/users/{user}/workspaces/{workspace}/tokens":           "UP",
	"DELETE /api/v2/users/{user}/workspaces/{workspace}/tokens/{token}": "UP",

	"GET /api/v2/users/{user}/workspaces/{workspace}":       "UP",
	"PATCH /api/v2/users/{user}/workspaces/{workspace}":     "UP",
	"GET /api/v2/users/{user}/workspaces/{workspace}/check": "UP",

	// No role reaches another user's secrets, not even their names.
	"GET /api/v2/users/{user}/secrets":                    "U",
	"POST /api/v2/users/{user}/secrets":                   "U",
	"PATCH /api/v2/users/{user}/secrets":                  "U",
	"POST /api/v2/users/{user}/secrets/batch":             "U",
	"POST /api/v2/users/{user}/secrets/scan":              "U",
	"GET /api/v2/users/{user}/secrets/{secret}":           "U",
	"PATCH /api/v2/users/{user}/secrets/{secret}":         "U",
	"DELETE /api/v2/users/{user}/secrets/{secret}":        "U",
	"GET /api/v2/users/{user}/secrets/{secret}/versions":  "U",
	"POST /api/v2/users/{user}/secrets/{secret}/rollback": "U",
	"GET /api/v2/users/{user}/deliveries":                 "U",

	"GET /api/v2/users/{user}/loginkeys":                      "U",
	"POST /api/v2/users/{user}/loginkeys":                     "U",
	"DELETE /api/v2/users/{user}/loginkeys/{loginkey}":        "U",
	"PUT /api/v2/users/{user}/workspaces/{workspace}/hostkey": "UP",
	"GET /api/v2/workspaceagents/me/ssh":                      "W",
	"PUT /api/v2/workspaceagents/me/hostkey":                  "W",
	"POST /api/v2/workspaceagents/me/hostkey/fetch":           "W",

	"GET /api/v2/workspaceagents/me/secrets":        "W",
	"POST /api/v2/workspaceagents/me/secrets/fetch": "W",
	"PUT /api/v2/workspaceagents/me/secrets/status": "W",
	"POST /api/v2/workspaceagents/me/secrets/scan":  "W",
	"GET /api/v2/workspaceagents/me/watch":          "W",

	"GET /api/v2/workspaceagents/me":             "W",
	"GET /api/v2/workspaceagents/me/keys":        "W",
	"POST /api/v2/workspaceagents/me/keys/fetch": "W",
	"GET /api/v2/workspaceagents/me/gitsshkey":   "W",
	"POST /api/v2/workspaceagents/me/sign":       "W",

	// Known hosts are public for whoever is known, and for admins to change.
	"GET /api/v2/known-hosts":                    "UOAPD",
	"POST /api/v2/known-hosts":                   "A",
	"DELETE /api/v2/known-hosts/{host}":          "A",
	"GET /api/v2/workspaceagents/me/known-hosts": "W",

	"GET /api/v2/audit": "AD",
}

func TestAccess(t *testing.T) {
	access := maps.Clone(access)
	for _, r := range keyserver.Routes() {
		name := r.Method + " " + r.Pattern
		allowed, ok := access[name]
		if !ok {
			t.Errorf("%s is not in the table of this test", name)
			continue
		}
		delete(access, name)
		t.Run(name, func(t *testing.T) { testAccess(t, r, allowed) })
	}
	for name := range access {
		t.Errorf("%s is in the table of this test, but not a route", name)
	}
}

func testAccess(t *testing.T, r keyserver.Route, allowed string) {
	for _, caller := range "UOAPDW-" {
		s := newSite(t, nil)
		alice := s.newUser("alice", api.RoleUser)
		tokens := map[rune]string{
			'U': alice.Token, 'A': s.Admin.Token,
			'O': s.newUser("other", api.RoleUser).Token,
			'P': s.newUser("provisioner", api.RoleProvisioner).Token,
			'D': s.newUser("auditor", api.RoleAuditor).Token,
		}
		_, w := s.newWorkspace(alice, "laptop")
		tokens['W'] = w.Token.Token
		path := strings.NewReplacer("{user}", "alice", "{key}", "default", "{secret}", "none", "{workspace}", "laptop", "{token}", "none", "{host}", "none").Replace(r.Pattern)
		before := len(s.events(0))
		watch := strings.HasSuffix(r.Pattern, "/watch")
		if watch {
			s.Server.EndWatches() // else it has no end for whoever is let in
		}
		status, text, _ := s.send(r.Method, path, tokens[caller], "")
		let := strings.ContainsRune(allowed, caller)
		switch {
		case let && (status == http.StatusForbidden || status == http.StatusUnauthorized || status >= 500 && !watch):
			t.Errorf("%c: %d %s; want it let in", caller, status, text)
		case !let && caller == '-' && status != http.StatusUnauthorized:
			t.Errorf("without a token: %d %s; want 401", status, text)
		case !let && caller != '-' && status != http.StatusForbidden:
			t.Errorf("%c: %d %s; want 403", caller, status, text)
		}
		if let {
			continue
		}
		events := s.events(int64(before))
		if len(events) != 1 || events[0].Result != keyserver.Denied || events[0].Detail == "" || events[0].Remote != "127.0.0.1" {
			t.Errorf("%c: the audit log got %+v; want one denial with its reason and address", caller, events)
		}
		if caller != '-' && len(events) == 1 && (events[0].Action != r.Action || events[0].ActorID == "") {
			t.Errorf("%c: the audit log got %+v; want action %s and who it was", caller, events[0], r.Action)
		}
	}
}

// A user is told the same of a user who exists and of one who does not.
func TestExistenceIsNotTold(t *testing.T) {
	s := newSite(t, nil)
	s.newUser("alice", api.RoleUser)
	eve := s.newUser("eve", api.RoleUser)
	for _, path := range []string{"", "/keys", "/keys/default", "/tokens", "/workspaces", "/workspaces/box", "/secrets", "/secrets/api-key", "/secrets/api-key/versions", "/deliveries", "/loginkeys"} {
		status, there, _ := s.send("GET", "/api/v2/users/alice"+path, eve.Token, "")
		status2, not, _ := s.send("GET", "/api/v2/users/nobody"+path, eve.Token, "")
		if status != status2 || there != not {
			t.Errorf("eve asks for %q of alice: %d %s, of nobody: %d %s; want the same", path, status, there, status2, not)
		}
	}
}

// An admin can neither lock themselves out nor act as somebody else.
func TestAdminOnThemselves(t *testing.T) {
	s := newSite(t, nil)
	yes, role := true, api.RoleUser
	for _, self := range []string{api.Me, s.Admin.Name, s.Admin.ID, strings.ToUpper(s.Admin.ID)} {
		_, err := s.Admin.UpdateUser(t.Context(), self, api.UpdateUserRequest{Disabled: &yes})
		wantError(t, "an admin disables "+self, err, api.ErrForbidden, "themselves")
		_, err = s.Admin.UpdateUser(t.Context(), self, api.UpdateUserRequest{Role: &role})
		wantError(t, "an admin demotes "+self, err, api.ErrForbidden, "themselves")
		wantError(t, "an admin deletes "+self, s.Admin.DeleteUser(t.Context(), self), api.ErrForbidden, "themselves")
	}
	s.newUser("alice", api.RoleUser)
	_, err := s.Admin.CreateToken(t.Context(), "alice", api.CreateTokenRequest{})
	wantError(t, "an admin makes a session token for alice", err, api.ErrForbidden)
	_, err = s.Admin.CreateWorkspace(t.Context(), "alice", api.CreateWorkspaceRequest{Name: "laptop"})
	wantError(t, "an admin makes a workspace for alice", err, api.ErrForbidden)
}
