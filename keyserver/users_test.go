package keyserver_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func TestUsers(t *testing.T) {
	s := newSite(t, nil)
	created, err := s.Admin.CreateUser(t.Context(), api.CreateUserRequest{Name: "alice", Role: api.RoleAuditor})
	if err != nil {
		t.Fatal(err)
	}
	if created.Role != api.RoleAuditor || created.Disabled || !created.CreatedAt.Equal(s.Clock.Now()) {
		t.Errorf("CreateUser made %+v; want an auditor, made now", created.User)
	}
	if expires := created.Token.ExpiresAt; expires == nil || !expires.Equal(s.Clock.Now().Add(24*time.Hour)) || created.Token.Kind != api.SessionToken {
		t.Errorf("the first token is %+v; want a session token that is valid for 24 hours", created.Token.TokenInfo)
	}
	if e := s.lastEvent(); e.Action != "user.create" || e.Actor != "user:admin" || e.Target != "alice" || string(e.TargetID) != created.ID {
		t.Errorf("the audit log ends with %+v; want user.create of alice by admin", e)
	}
	for _, named := range []string{"alice", created.ID, strings.ToUpper(created.ID)} {
		if u, err := s.Admin.User(t.Context(), named); err != nil || u.ID != created.ID {
			t.Errorf("User(%s) = %+v, %v; want alice", named, u, err)
		}
	}
	users, err := s.Admin.Users(t.Context())
	if err != nil || len(users) != 2 || users[0].Name != "admin" || users[1].Name != "alice" {
		t.Errorf("Users = %+v, %v; want admin and alice", users, err)
	}
	status, text, _ := s.send("GET", "/api/v2/users?after=admin&limit=1", s.Admin.Token, "")
	if status != 200 || text != toJSON(t, users[1:])+"\n" {
		t.Errorf("GET users after admin = %d %s; want alice only", status, text)
	}
	yes, role := true, api.RoleUser
	u, err := s.Admin.UpdateUser(t.Context(), "alice", api.UpdateUserRequest{Role: &role, Disabled: &yes})
	if err != nil || u.Role != role || !u.Disabled {
		t.Errorf("UpdateUser = %+v, %v; want role user, disabled", u, err)
	}
	if e := s.lastEvent(); e.Action != "user.update" || e.Detail != "role user, disabled true" {
		t.Errorf("the audit log ends with %+v; want user.update, and to what", e)
	}
	again, err := s.Admin.User(t.Context(), "alice")
	if err != nil || again != u {
		t.Errorf("User after UpdateUser = %+v, %v; want %+v", again, err, u)
	}
}

func TestUsersRefused(t *testing.T) {
	s := newSite(t, nil)
	s.newUser("alice", api.RoleUser)
	_, err := s.Admin.CreateUser(t.Context(), api.CreateUserRequest{Name: "alice"})
	wantError(t, "a second alice", err, api.ErrConflict, "there is a user alice already", "name: is taken")
	_, err = s.Admin.CreateUser(t.Context(), api.CreateUserRequest{Name: "a b", Role: "root", KeyAlgorithm: "dsa"})
	wantError(t, "a user with three problems", err, api.ErrInvalid, "name: ", "role: ", "key_algorithm: ")
	role := api.Role("root")
	_, err = s.Admin.UpdateUser(t.Context(), "alice", api.UpdateUserRequest{Role: &role})
	wantError(t, "an unknown role", err, api.ErrInvalid, "role: ")
	_, err = s.Admin.UpdateUser(t.Context(), "alice", api.UpdateUserRequest{})
	wantError(t, "no change", err, api.ErrInvalid, "nothing to change")
	for _, named := range []string{"nobody", "a/b", "a%2Fb", "x\x00y", strings.Repeat("a", 300), "00000000-0000-0000-0000-000000000000"} {
		_, err := s.Admin.User(t.Context(), named)
		wantError(t, fmt.Sprintf("user %.20q", named), err, api.ErrNotFound, "there is no user")
	}
	for _, query := range []string{"limit=0", "limit=x", "limit=10001"} {
		status, text, _ := s.send("GET", "/api/v2/users?"+query, s.Admin.Token, "")
		if status != 400 || !strings.Contains(text, `"field":"limit"`) {
			t.Errorf("GET users?%s = %d %s; want 400 for limit", query, status, text)
		}
	}
}

// What can be a name, the same for users, keys and workspaces.
func TestNames(t *testing.T) {
	s := newSite(t, nil)
	for _, name := range []string{"a", "0", "Alice", "a.b_c@d+e-f", strings.Repeat("a", 255), "ME"} {
		_, err1 := s.Admin.CreateUser(t.Context(), api.CreateUserRequest{Name: name})
		_, err2 := s.Admin.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: name})
		_, err3 := s.Admin.CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: name})
		if err1 != nil || err2 != nil || err3 != nil {
			t.Errorf("the name %.20q: user %v, key %v, workspace %v; want all made", name, err1, err2, err3)
		}
	}
	for name, want := range map[string]string{
		"":                       "is missing",
		"me":                     "meaning of its own",
		"current":                "meaning of its own",
		newID:                    "meaning of its own",
		strings.Repeat("a", 256): "has 256 bytes",
		"a/b":                    "must be letters",
		"a b":                    "must be letters",
		"a\x00":                  "must be letters",
		"a\n":                    "must be letters",
		"-a":                     "must be letters",
		".a":                     "must be letters",
		"ä":                      "must be letters",
	} {
		_, err1 := s.Admin.CreateUser(t.Context(), api.CreateUserRequest{Name: name})
		_, err2 := s.Admin.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: name})
		_, err3 := s.Admin.CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: name})
		for _, err := range []error{err1, err2, err3} {
			wantError(t, fmt.Sprintf("the name %.20q", name), err, api.ErrInvalid, "name: ", want)
		}
	}
}

const newID = "8f14e45f-ceea-467f-a8d1-1f2b3c4d5e6f"

func TestTokens(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	made, err := alice.CreateToken(t.Context(), api.Me, api.CreateTokenRequest{Description: "login from here", ExpiresInSeconds: 3600})
	if err != nil {
		t.Fatal(err)
	}
	if made.Kind != api.SessionToken || made.UserID != alice.ID || made.Description != "login from here" || !made.ExpiresAt.Equal(s.Clock.Now().Add(time.Hour)) {
		t.Errorf("CreateToken made %+v; want alice's session token for an hour", made.TokenInfo)
	}
	if e := s.lastEvent(); e.Action != "token.create" || e.Target != "alice/"+made.ID || strings.Contains(fmt.Sprint(e), made.Token) {
		t.Errorf("the audit log ends with %+v; want token.create with its id", e)
	}
	bob := s.newUser("bob", api.RoleUser)
	wantError(t, "bob revokes alice's token as if his own", bob.RevokeToken(t.Context(), api.Me, made.ID), api.ErrNotFound, "bob has no token")
	_, err = alice.CreateToken(t.Context(), api.Me, api.CreateTokenRequest{Description: strings.Repeat("x", 256), ExpiresInSeconds: -1})
	wantError(t, "a token with two problems", err, api.ErrInvalid, "description: ", "expires_in_seconds: ")
	_, err = alice.CreateToken(t.Context(), api.Me, api.CreateTokenRequest{Description: "a\nb", ExpiresInSeconds: 1 << 60})
	wantError(t, "a token with two other problems", err, api.ErrInvalid, "description: ", "expires_in_seconds: ")

	// As latchkey login does: a new token, then the given one is revoked by itself.
	if err := alice.RevokeToken(t.Context(), api.Me, "current"); err != nil {
		t.Fatal(err)
	}
	_, err = alice.User(t.Context(), api.Me)
	wantError(t, "the token that revoked itself", err, api.ErrUnauthenticated, "revoked")
	alice = s.account(made.Token)
	tokens, err := alice.Tokens(t.Context(), api.Me)
	if err != nil || len(tokens) != 2 {
		t.Fatalf("Tokens = %+v, %v; want the revoked one and the new one", tokens, err)
	}
	for _, k := range tokens {
		if (k.RevokedAt != nil) != (k.ID != made.ID) {
			t.Errorf("token %q is revoked at %v", k.Description, k.RevokedAt)
		}
	}
	if err := s.Admin.RevokeToken(t.Context(), "alice", strings.ToUpper(made.ID)); err != nil {
		t.Errorf("an admin revokes alice's token: %v", err)
	}
	wantError(t, "an admin revokes alice's current token", s.Admin.RevokeToken(t.Context(), "alice", "current"), api.ErrNotFound)
	s.Clock.Advance(31 * 24 * time.Hour)
	again, err := s.Server.IssueToken(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if tokens, err := s.account(again).Tokens(t.Context(), api.Me); err != nil || len(tokens) != 1 {
		t.Errorf("Tokens a month later = %+v, %v; want the new one only", tokens, err)
	}
}

func TestWorkspaces(t *testing.T) {
	s := newSite(t, nil)
	alice, bob := s.newUser("alice", api.RoleUser), s.newUser("bob", api.RoleUser)
	p := s.newUser("terraform", api.RoleProvisioner)
	w, err := p.CreateWorkspace(t.Context(), "alice", api.CreateWorkspaceRequest{Name: "laptop", ExpiresInSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	if w.UserID != alice.ID || w.Token.Kind != api.WorkspaceToken || w.Token.WorkspaceID != w.ID || !w.Token.ExpiresAt.Equal(s.Clock.Now().Add(time.Minute)) {
		t.Errorf("CreateWorkspace for alice made %+v; want hers, with a token for a minute", w)
	}
	if e := s.lastEvent(); e.Action != "workspace.create" || e.Actor != "user:terraform" || e.Target != "alice/laptop" || string(e.TargetID) != alice.ID {
		t.Errorf("the audit log ends with %+v; want workspace.create of alice/laptop by terraform", e)
	}
	_, err = alice.CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: "laptop"})
	wantError(t, "a second laptop", err, api.ErrConflict, "alice has a workspace laptop already", "name: is taken")
	if _, err := bob.CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: "laptop"}); err != nil {
		t.Errorf("another user's laptop: %v", err)
	}
	token, err := alice.CreateWorkspaceToken(t.Context(), api.Me, "laptop", api.CreateTokenRequest{Description: "second"})
	if err != nil {
		t.Fatal(err)
	}
	if e := s.lastEvent(); e.Action != "token.create" || e.Target != "alice/laptop/"+token.ID {
		t.Errorf("the audit log ends with %+v; want token.create of alice/laptop/%s", e, token.ID)
	}
	tokens, err := alice.WorkspaceTokens(t.Context(), api.Me, w.ID)
	if err != nil || len(tokens) != 2 {
		t.Errorf("WorkspaceTokens = %+v, %v; want two", tokens, err)
	}
	session, err := alice.Tokens(t.Context(), api.Me)
	if err != nil || len(session) != 1 {
		t.Errorf("Tokens = %+v, %v; want the one session token", session, err)
	}
	wantError(t, "a session token as a workspace's", alice.RevokeWorkspaceToken(t.Context(), api.Me, "laptop", session[0].ID), api.ErrNotFound)
	if err := alice.RevokeWorkspaceToken(t.Context(), api.Me, "laptop", token.ID); err != nil {
		t.Fatal(err)
	}
	_, err = s.client(token.Token).Self(t.Context())
	wantError(t, "a revoked workspace token", err, api.ErrUnauthenticated, "the workspace token was revoked")
	wantError(t, "bob deletes alice's workspace by its id", bob.DeleteWorkspace(t.Context(), api.Me, w.ID), api.ErrNotFound, "bob has no workspace")
	if err := alice.DeleteWorkspace(t.Context(), api.Me, strings.ToUpper(w.ID)); err != nil {
		t.Fatal(err)
	}
	_, err = s.client(w.Token.Token).Self(t.Context())
	wantError(t, "the token of a deleted workspace", err, api.ErrUnauthenticated)
	if all, err := alice.Workspaces(t.Context(), api.Me); err != nil || len(all) != 0 {
		t.Errorf("Workspaces after the deletion = %+v, %v; want none", all, err)
	}
	_, err = alice.CreateWorkspaceToken(t.Context(), api.Me, "laptop", api.CreateTokenRequest{})
	wantError(t, "a token for a deleted workspace", err, api.ErrNotFound, "alice has no workspace laptop")
	yes := true
	if _, err := s.Admin.UpdateUser(t.Context(), "bob", api.UpdateUserRequest{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	_, err = p.CreateWorkspace(t.Context(), "bob", api.CreateWorkspaceRequest{Name: "other"})
	wantError(t, "a workspace for a disabled user", err, api.ErrConflict, "bob is disabled")
	_, err = p.CreateWorkspaceToken(t.Context(), "bob", "laptop", api.CreateTokenRequest{})
	wantError(t, "a workspace token for a disabled user", err, api.ErrConflict, "bob is disabled")
}

func TestAudit(t *testing.T) {
	s := newSite(t, nil)
	for i := range 10 {
		s.newUser(fmt.Sprint("u", i), api.RoleUser)
	}
	all, err := s.Admin.Audit(t.Context(), 0, 1000)
	if err != nil || len(all) != 12 || all[0].Seq != 1 || all[0].Action != "store.init" || all[1].Action != "user.create" {
		t.Fatalf("Audit = %d events, %v, from %+v on; want 12 from store.init on", len(all), err, all[:min(2, len(all))])
	}
	page, err := s.Admin.Audit(t.Context(), 5, 3)
	if err != nil || len(page) != 3 || page[0] != all[5] || page[2] != all[7] {
		t.Errorf("Audit after 5 = %+v, %v; want events 6 to 8", page, err)
	}
	_, err = s.Admin.Audit(t.Context(), -1, 1001)
	wantError(t, "Audit with two problems", err, api.ErrInvalid, "after: ", "limit: ")
	status, text, _ := s.send("GET", "/api/v2/audit", s.Admin.Token, "")
	if status != 200 || text != toJSON(t, all)+"\n" {
		t.Errorf("GET audit = %d, %d bytes; want all 12 events", status, len(text))
	}

	if n, err := keyserver.VerifyAudit(t.Context(), s.Store); n != 12 || err != nil {
		t.Errorf("VerifyAudit = %d, %v; want 12 events", n, err)
	}
	for name, change := range map[string]func([]keyserver.Event) []keyserver.Event{
		"changed":  func(e []keyserver.Event) []keyserver.Event { e[7].Detail = "nothing"; return e },
		"removed":  func(e []keyserver.Event) []keyserver.Event { return append(e[:7], e[8:]...) },
		"inserted": func(e []keyserver.Event) []keyserver.Event { return append(e[:8], e[7:]...) },
		"swapped":  func(e []keyserver.Event) []keyserver.Event { e[7], e[8] = e[8], e[7]; return e },
	} {
		n, err := keyserver.VerifyAudit(t.Context(), tampered{s.Store, change})
		wantError(t, "VerifyAudit with an event "+name, err, keyserver.ErrAuditChain)
		if n < 7 || n > 8 {
			t.Errorf("VerifyAudit with an event %s counts %d that follow each other; want 7 or 8", name, n)
		}
	}
}

// tampered is an audit log that someone changed.
type tampered struct {
	keyserver.AuditStore
	change func([]keyserver.Event) []keyserver.Event
}

func (a tampered) Events(ctx context.Context, after int64, limit int) ([]keyserver.Event, error) {
	events, err := a.AuditStore.Events(ctx, after, limit)
	if after > 0 || err != nil {
		return events, err
	}
	return a.change(events), nil
}
