package keyserver_test

import (
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// A heldBody is a body that the client sends only after something has happened.
type heldBody struct {
	happens func()
	io.Reader
}

func (b *heldBody) Read(p []byte) (int, error) {
	if b.happens != nil {
		b.happens()
		b.happens = nil
	}
	return b.Reader.Read(p)
}

// A lateStore lets something happen between a request's checks and its change.
type lateStore struct {
	keyserver.Store
	happens func()
}

func (s *lateStore) late() {
	if f := s.happens; f != nil {
		s.happens = nil
		f()
	}
}

func (s *lateStore) RecordFetch(ctx context.Context, u keyserver.UserID, name string, g int64, w keyserver.WorkspaceID, e keyserver.Event) error {
	s.late()
	return s.Store.RecordFetch(ctx, u, name, g, w, e)
}

func (s *lateStore) RecordSign(ctx context.Context, u keyserver.UserID, name string, g, settings int64, e keyserver.Event) error {
	s.late()
	return s.Store.RecordSign(ctx, u, name, g, settings, e)
}

func (s *lateStore) CreateToken(ctx context.Context, t keyserver.Token, e keyserver.Event) error {
	s.late()
	return s.Store.CreateToken(ctx, t, e)
}

func (s *lateStore) CurrentValues(ctx context.Context, u keyserver.UserID) ([]keyserver.Secret, []keyserver.SecretValue, int64, error) {
	s.late()
	return s.Store.CurrentValues(ctx, u)
}

func (s *lateStore) ChangeSecrets(ctx context.Context, u keyserver.UserID, revision int64, change keyserver.SecretChange, e keyserver.Event) error {
	s.late()
	return s.Store.ChangeSecrets(ctx, u, revision, change, e)
}

func (s *lateStore) ReportDelivery(ctx context.Context, d keyserver.Delivery, e keyserver.Event) error {
	s.late()
	return s.Store.ReportDelivery(ctx, d, e)
}

func (s *lateStore) CreateUser(ctx context.Context, u keyserver.User, k keyserver.Key, t keyserver.Token, e keyserver.Event) error {
	s.late()
	return s.Store.CreateUser(ctx, u, k, t, e)
}

// What was revoked does nothing any more, however long its request is under
// way: not when the client holds the body back, and not when the revocation
// comes between the server's checks and the change.
func TestRevokedWhileUnderWay(t *testing.T) {
	late := &lateStore{}
	s := newSite(t, func(c *keyserver.Config) { late.Store, c.Store = c.Store, late })
	disabled, user := true, api.RoleUser
	users := 0
	for _, tt := range []struct {
		name, method, path, body string
		// prepare returns the token of the request, and what happens meanwhile.
		prepare func(a *account) (token string, happens func() error)
	}{
		{"a revoked workspace token", "GET", "/workspaceagents/me/gitsshkey", "", func(a *account) (string, func() error) {
			_, w := s.newWorkspace(a, "box")
			return w.Token.Token, func() error { return a.RevokeWorkspaceToken(t.Context(), api.Me, "box", w.Token.ID) }
		}},
		{"a revoked workspace token for secrets", "GET", "/workspaceagents/me/secrets", "", func(a *account) (string, func() error) {
			_, w := s.newWorkspace(a, "box")
			return w.Token.Token, func() error { return a.RevokeWorkspaceToken(t.Context(), api.Me, "box", w.Token.ID) }
		}},
		{"a deleted workspace for secrets", "GET", "/workspaceagents/me/secrets", "", func(a *account) (string, func() error) {
			_, w := s.newWorkspace(a, "box")
			return w.Token.Token, func() error { return a.DeleteWorkspace(t.Context(), api.Me, "box") }
		}},
		{"a deleted workspace with a report", "PUT", "/workspaceagents/me/secrets/status", `{"revision":1,"items":[]}`, func(a *account) (string, func() error) {
			_, w := s.newWorkspace(a, "box")
			return w.Token.Token, func() error { return a.DeleteWorkspace(t.Context(), api.Me, "box") }
		}},
		{"a revoked session token for a secret", "POST", "/users/me/secrets", `{"name":"key","env_name":"KEY","value":"x"}`, func(a *account) (string, func() error) {
			return a.Token, func() error { return a.RevokeToken(t.Context(), api.Me, "current") }
		}},
		{"a deleted workspace", "GET", "/workspaceagents/me/gitsshkey", "", func(a *account) (string, func() error) {
			_, w := s.newWorkspace(a, "box")
			return w.Token.Token, func() error { return a.DeleteWorkspace(t.Context(), api.Me, "box") }
		}},
		{"a disabled user's workspace", "GET", "/workspaceagents/me/gitsshkey", "", func(a *account) (string, func() error) {
			_, w := s.newWorkspace(a, "box")
			return w.Token.Token, func() error {
				_, err := s.Admin.UpdateUser(t.Context(), a.Name, api.UpdateUserRequest{Disabled: &disabled})
				return err
			}
		}},
		{"a revoked session token", "POST", "/users/me/tokens", "{}", func(a *account) (string, func() error) {
			return a.Token, func() error { return a.RevokeToken(t.Context(), api.Me, "current") }
		}},
		{"a demoted admin", "POST", "/users", `{"name": "accomplice", "role": "admin"}`, func(a *account) (string, func() error) {
			return a.Token, func() error {
				_, err := s.Admin.UpdateUser(t.Context(), a.Name, api.UpdateUserRequest{Role: &user})
				return err
			}
		}},
	} {
		for _, when := range []string{"before the body", "before the change"} {
			t.Run(tt.name+" "+when, func(t *testing.T) {
				users++
				a := s.newUser(fmt.Sprint("user", users), api.RoleAdmin)
				token, happens := tt.prepare(a)
				did := false
				meanwhile := func() {
					did = true
					if err := happens(); err != nil {
						t.Error(err)
					}
				}
				body := &heldBody{Reader: strings.NewReader(tt.body)}
				if when == "before the body" {
					body.happens = meanwhile
				} else {
					late.happens = meanwhile
				}
				r := httptest.NewRequest(tt.method, "/api/v2"+tt.path, body)
				r.RemoteAddr = "127.0.0.1:1"
				r.ContentLength = -1
				r.Header.Set("Authorization", "Bearer "+token)
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				s.Server.Handler().ServeHTTP(w, r)
				if !did {
					t.Fatal("the request did not get as far as what should happen meanwhile")
				}
				if w.Code != 401 && w.Code != 403 {
					t.Errorf("%s %s = %d %s; want a refusal", tt.method, tt.path, w.Code, w.Body)
				}
				if e := s.lastEvent(); e.Result != keyserver.Denied {
					t.Errorf("the last event is %+v; want the denial", e)
				}
			})
		}
	}
}

// Two admins who demote each other at the same time do not both succeed: one
// stays.
func TestAdminsDemoteEachOther(t *testing.T) {
	late := &lateUpdate{}
	s := newSite(t, func(c *keyserver.Config) { late.Store, c.Store = c.Store, late })
	other := s.newUser("other", api.RoleAdmin)
	user := api.RoleUser
	late.happens = func() {
		if _, err := other.UpdateUser(t.Context(), s.Admin.Name, api.UpdateUserRequest{Role: &user}); err != nil {
			t.Error(err)
		}
	}
	_, err := s.Admin.UpdateUser(t.Context(), other.Name, api.UpdateUserRequest{Role: &user})
	wantError(t, "the demotion that came second", err, api.ErrUnauthenticated)
	if u, err := other.User(t.Context(), api.Me); err != nil || u.Role != api.RoleAdmin {
		t.Errorf("the other admin is now %+v, %v; want an admin still", u, err)
	}
}

type lateUpdate struct {
	keyserver.Store
	happens func()
}

func (s *lateUpdate) UpdateUser(ctx context.Context, u keyserver.User, e keyserver.Event) error {
	if f := s.happens; f != nil {
		s.happens = nil
		f()
	}
	return s.Store.UpdateUser(ctx, u, e)
}

// A token that is known to be revoked is on record when it is used, whatever
// else the same address has sent.
func TestRevokedTokenIsNotHiddenByJunk(t *testing.T) {
	s := newSite(t, nil)
	a := s.newUser("ada", api.RoleUser)
	if err := a.RevokeToken(t.Context(), api.Me, "current"); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		s.send("GET", "/api/v2/users/me", "lk_s_wrong", "")
	}
	if status, _, _ := s.send("GET", "/api/v2/users/me", a.Token, ""); status != 401 {
		t.Errorf("a revoked token behind 100 wrong ones was answered %d; want 401", status)
	}
	if e := s.lastEvent(); e.Actor != "user:ada" || e.Result != keyserver.Denied {
		t.Errorf("the last event is %+v; want the denial of ada's revoked token", e)
	}
}

func TestCrossSiteIsRecorded(t *testing.T) {
	s := newSite(t, nil)
	before := s.lastEvent().Seq
	status, _, _ := s.send("POST", "/api/v2/users/me/tokens", s.Admin.Token, "{}", "Sec-Fetch-Site", "cross-site")
	if status != 403 {
		t.Errorf("a request from another site's page was answered %d; want 403", status)
	}
	if events := s.events(before); len(events) != 1 || events[0].Result != keyserver.Denied {
		t.Errorf("it made the events %+v; want one denial", events)
	}
}
