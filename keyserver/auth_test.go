package keyserver_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// Each way in which a token can be wrong has its own words, its own hint, and
// its record.
func TestLoginRefused(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	spare, err := alice.CreateToken(t.Context(), api.Me, api.CreateTokenRequest{Description: "spare"})
	if err != nil {
		t.Fatal(err)
	}
	short, err := alice.CreateToken(t.Context(), api.Me, api.CreateTokenRequest{ExpiresInSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	_, gone := s.newWorkspace(alice, "gone")
	_, kept := s.newWorkspace(alice, "kept")
	if err := errors.Join(
		alice.RevokeToken(t.Context(), api.Me, spare.ID),
		alice.DeleteWorkspace(t.Context(), api.Me, "gone"),
	); err != nil {
		t.Fatal(err)
	}
	s.Clock.Advance(time.Minute)

	bob := s.newUser("bob", api.RoleUser)
	yes := true
	if _, err := s.Admin.UpdateUser(t.Context(), "bob", api.UpdateUserRequest{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	carol := s.newUser("carol", api.RoleUser)
	if err := s.Admin.DeleteUser(t.Context(), "carol"); err != nil {
		t.Fatal(err)
	}
	mistyped := []byte(kept.Token.Token)
	mistyped[20] ^= 1
	for _, tt := range []struct {
		name, token string
		actor       string
		words       []string
	}{
		{"none", "", "unknown", []string{"no token was given", "Authorization: Bearer"}},
		{"not a token", "hunter2", "unknown", []string{"not a Latchkey token"}},
		{"cut", alice.Token[:30], "unknown", []string{"it was cut"}},
		{"mistyped", string(mistyped), "unknown", []string{"mistyped", "copy the whole token"}},
		{"unknown", api.NewToken(api.SessionToken), "unknown", []string{"does not know the session token"}},
		{"revoked", spare.Token, "user:alice", []string{"the session token was revoked at 2026-03-01T12:00:00Z", "log in"}},
		{"expired", short.Token, "user:alice", []string{"the session token expired at 2026-03-01T12:01:00Z", "log in"}},
		{"workspace deleted", gone.Token.Token, "", []string{"workspace"}},
		{"user disabled", bob.Token, "user:bob", []string{"user bob is disabled", "ask an admin"}},
		{"user deleted", carol.Token, "unknown", []string{"deleted"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.client(tt.token).User(t.Context(), api.Me)
			wantError(t, "asking with that token", err, api.ErrUnauthenticated, tt.words...)
			e := s.lastEvent()
			if e.Action != "login" || e.Result != keyserver.Denied || e.Remote != "127.0.0.1" || e.Detail == "" {
				t.Errorf("the audit log ends with %+v; want a denied login, from where and why", e)
			}
			if tt.actor != "" && e.Actor != tt.actor {
				t.Errorf("the denied login is recorded of %q; want %q", e.Actor, tt.actor)
			}
			if tt.token != "" && strings.Contains(fmt.Sprintf("%+v %v", e, err), tt.token) {
				t.Errorf("the record or the error holds the token: %+v, %v", e, err)
			}
		})
	}
	_, _, header := s.send("GET", "/api/v2/users/me", "", "")
	if header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("401 has WWW-Authenticate %q; want Bearer", header.Get("WWW-Authenticate"))
	}
}

// A workspace token ends with its user's being disabled, and works again after.
func TestDisabledUsersWorkspace(t *testing.T) {
	s := newSite(t, nil)
	w, _ := s.newWorkspace(s.newUser("alice", api.RoleUser), "laptop")
	for _, disabled := range []bool{true, false} {
		if _, err := s.Admin.UpdateUser(t.Context(), "alice", api.UpdateUserRequest{Disabled: &disabled}); err != nil {
			t.Fatal(err)
		}
		_, err := w.OfferedKeys(t.Context())
		if disabled {
			wantError(t, "listing keys of a disabled user", err, api.ErrUnauthenticated, "user alice is disabled")
		} else if err != nil {
			t.Errorf("listing keys of a user who is enabled again: %v", err)
		}
	}
}

func TestTokenHeaders(t *testing.T) {
	s := newSite(t, nil)
	for _, tt := range []struct {
		headers []string
		status  int
	}{
		{[]string{"Authorization", "Bearer " + s.Admin.Token}, 200},
		{[]string{"Authorization", "bearer " + s.Admin.Token}, 200},
		{[]string{"Coder-Session-Token", s.Admin.Token}, 200},
		{[]string{"Authorization", "Basic Zm9v", "Coder-Session-Token", s.Admin.Token}, 200},
		{[]string{"Authorization", "Bearer wrong", "Coder-Session-Token", s.Admin.Token}, 401},
		{[]string{"Authorization", "Basic " + s.Admin.Token}, 401},
		{[]string{"Cookie", "coder_session_token=" + s.Admin.Token}, 401},
	} {
		status, text, _ := s.send("GET", "/api/v2/users/me", "", "", tt.headers...)
		if status != tt.status {
			t.Errorf("%.20q: %d %s; want %d", tt.headers, status, text, tt.status)
		}
	}
}

// Someone without a token can't fill the audit log: beyond a rate they are only
// counted, the count is recorded, and a valid token from there still works.
func TestLoginFlood(t *testing.T) {
	s := newSite(t, nil)
	before := s.lastEvent().Seq
	const tries = 200
	refused := map[int]int{}
	for range tries {
		status, _, header := s.send("GET", "/api/v2/users/me", "lk_s_wrong", "")
		refused[status]++
		if status == 429 && header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
	if refused[401] != 61 || refused[429] != tries-61 {
		t.Errorf("%d wrong logins were answered %v; want 61 of them 401, the rest 429", tries, refused)
	}
	events := s.events(before)
	if len(events) != 61 || !strings.Contains(events[60].Detail, "only counted") {
		t.Errorf("%d wrong logins made %d events, the last %q; want 61, the last of which says that further ones are counted",
			tries, len(events), events[len(events)-1].Detail)
	}
	if _, err := s.Admin.User(t.Context(), api.Me); err != nil {
		t.Errorf("a valid token from the same address: %v", err)
	}
	s.Clock.Advance(time.Minute)
	if _, err := s.Admin.User(t.Context(), api.Me); err != nil {
		t.Fatal(err)
	}
	if e := s.lastEvent(); !strings.Contains(e.Detail, fmt.Sprint(tries-61, " further")) || e.Remote != "127.0.0.1" {
		t.Errorf("after the minute the audit log ends with %+v; want the count %d", e, tries-61)
	}
}

// What was counted is on record at the latest when the server ends, also when
// the store could not take it at first.
func TestCloseRecordsCounted(t *testing.T) {
	s := newSite(t, nil)
	for range 70 {
		s.send("GET", "/api/v2/users/me", "lk_s_wrong", "")
	}
	s.Store.set(func(b *brokenStore) { b.record = api.ErrUnavailable })
	wantError(t, "Close over a broken store", s.Server.Close(t.Context()), api.ErrUnavailable)
	s.Store.set(func(b *brokenStore) { b.record = nil })
	for range 2 {
		if err := s.Server.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	found := 0
	for _, e := range s.events(0) {
		if strings.Contains(e.Detail, "9 further requests") {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d events tell of the 9 that were only counted; want 1", found)
	}
}

// The address on record is the client's, and a client can't choose it.
func TestRemote(t *testing.T) {
	proxy := func(c *keyserver.Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	}
	for _, tt := range []struct {
		name      string
		config    func(*keyserver.Config)
		forwarded string
		want      string
	}{
		{"no proxy", nil, "", "127.0.0.1"},
		{"no proxy is trusted", nil, "203.0.113.9", "127.0.0.1"},
		{"one proxy", proxy, "203.0.113.9", "203.0.113.9"},
		{"two proxies", proxy, "203.0.113.9, 10.1.2.3", "203.0.113.9"},
		{"a client's claim", proxy, "192.0.2.1, 203.0.113.9", "203.0.113.9"},
		{"a trusted one's claim", proxy, "10.9.9.9, 203.0.113.9", "203.0.113.9"},
		{"IPv6", proxy, "2001:db8::1", "2001:db8::1"},
		{"a port", proxy, "203.0.113.9:4711", "203.0.113.9"},
		{"IPv6 and a port", proxy, "[2001:db8::1]:44", "2001:db8::1"},
		{"nonsense", proxy, "203.0.113.9, nonsense", "127.0.0.1"},
		{"nothing", proxy, "", "127.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, tt.config)
			headers := []string{}
			if tt.forwarded != "" {
				headers = []string{"X-Forwarded-For", tt.forwarded}
			}
			s.send("GET", "/api/v2/users/me", "lk_s_wrong", "", headers...)
			if e := s.lastEvent(); e.Remote != tt.want {
				t.Errorf("the refused login is recorded from %q; want %q", e.Remote, tt.want)
			}
		})
	}
}

// Nobody avoids the audit log by hanging up.
func TestHangingUpIsRecorded(t *testing.T) {
	s := newSite(t, nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	before := s.lastEvent().Seq
	r := httptest.NewRequestWithContext(gone, "GET", "/api/v2/users/me", nil)
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("Authorization", "Bearer lk_s_wrong")
	s.Server.Handler().ServeHTTP(httptest.NewRecorder(), r)
	if events := s.events(before); len(events) != 1 || events[0].Action != "login" {
		t.Errorf("a wrong token whose sender has gone made the events %+v; want one login", events)
	}
}
