package keyserver_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/memstore"
)

// Every refusal is JSON of one shape, also those that no handler of ours made.
func TestRefusals(t *testing.T) {
	s := newSite(t, nil)
	const users = "/api/v2/users"
	for _, tt := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		want                     string
	}{
		{"no such address", "GET", "/api/v2/nothing", "", nil, 404, "nothing at this address"},
		{"the root", "GET", "/", "", nil, 404, "nothing at this address"},
		{"a slash too many", "GET", users + "/", "", nil, 404, "nothing at this address"},
		{"a path to be cleaned", "GET", "/api//v2/users", "", nil, 404, "nothing at this address"},
		{"a path out of it", "GET", "/api/v2/users/../users", "", nil, 404, "nothing at this address"},
		{"a method too many", "PUT", users, "", nil, 405, "allowed are GET, HEAD, POST"},
		{"no JSON", "POST", users, "name=alice", nil, 400, "not valid JSON, at byte 2"},
		{"cut JSON", "POST", users, `{"name":`, nil, 400, "ends too early"},
		{"not an object", "POST", users, `["alice"]`, nil, 400, "not a JSON object"},
		{"two values", "POST", users, `{"name":"alice"} {}`, nil, 400, "more than one JSON value"},
		{"an unknown field", "POST", users, `{"name":"alice","nmae":1}`, nil, 400, `"field":"nmae"`},
		{"a wrong type", "POST", users, `{"name":7}`, nil, 400, `{"field":"name","detail":"must be a string"}`},
		{"a wrong number", "PUT", users + "/me/keys/default", `{"generation":"x"}`, nil, 400, "must be a whole number"},
		{"a wrong boolean", "PATCH", users + "/me", `{"disabled":"x"}`, nil, 400, "must be a boolean"},
		{"no body", "POST", users, "", nil, 400, `{"field":"name","detail":"is missing"}`},
		{"a body too many", "GET", users, "{}", nil, 400, "takes no body"},
		{"another type", "POST", users, `{"name":"alice"}`, []string{"Content-Type", "text/plain"}, 400, "Content-Type: application/json"},
		{"no type", "POST", users, `{"name":"alice"}`, []string{"Content-Type", ""}, 400, "Content-Type: application/json"},
		{"a body too large", "POST", users, `{"name":"` + strings.Repeat("a", 1<<20) + `"}`, nil, 413, "over 1024 KiB"},
		{"another site's page", "POST", users, `{"name":"alice"}`, []string{"Sec-Fetch-Site", "cross-site"}, 403, "other sites"},
		{"another site's older browser", "POST", users, `{"name":"alice"}`, []string{"Origin", "https://evil.example"}, 403, "other sites"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, text, header := s.send(tt.method, tt.path, s.Admin.Token, tt.body, tt.headers...)
			var e api.Error
			d := json.NewDecoder(strings.NewReader(text))
			d.DisallowUnknownFields()
			if err := d.Decode(&e); err != nil || e.Message == "" {
				t.Errorf("%d %q is not an error in JSON: %v", status, text, err)
			}
			if status != tt.status || !strings.Contains(text, tt.want) {
				t.Errorf("%d %s; want %d with %s", status, text, tt.status, tt.want)
			}
			if header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "no-store" || header.Get("Location") != "" {
				t.Errorf("the header is %v; want JSON that is not stored, and no redirect", header)
			}
		})
	}
	if users, err := s.Admin.Users(t.Context()); err != nil || len(users) != 1 {
		t.Errorf("after the refusals there are %+v, %v; want the admin only", users, err)
	}
}

func TestHealth(t *testing.T) {
	s := newSite(t, nil)
	if status, text, _ := s.send("GET", "/healthz", "", ""); status != 200 || text != `{"status":"ok"}`+"\n" {
		t.Errorf("GET /healthz = %d %s; want ok", status, text)
	}
	s.Store.set(func(b *brokenStore) { b.check = api.ErrUnavailable })
	if status, text, _ := s.send("GET", "/healthz", "", ""); status != 503 {
		t.Errorf("GET /healthz without a store = %d %s; want 503", status, text)
	}
}

// Off loopback a token must not come in plain HTTP: it is refused without being
// looked at, but for trusted proxies and for health, which needs none.
func TestPlainHTTP(t *testing.T) {
	s := newSite(t, func(c *keyserver.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} })
	for _, tt := range []struct {
		remote, path string
		status       int
	}{
		{"203.0.113.5:1000", "/api/v2/users/me", 403},
		{"[2001:db8::1]:1000", "/api/v2/users/me", 403},
		{"@", "/api/v2/users/me", 403},
		{"203.0.113.5:1000", "/healthz", 200},
		{"127.0.0.1:1000", "/api/v2/users/me", 200},
		{"[::1]:1000", "/api/v2/users/me", 200},
		{"[::ffff:127.0.0.1]:1000", "/api/v2/users/me", 200},
		{"198.51.100.7:1000", "/api/v2/users/me", 200},
	} {
		r := httptest.NewRequest("GET", tt.path, nil)
		r.RemoteAddr = tt.remote
		r.Header.Set("Authorization", "Bearer "+s.Admin.Token)
		w := httptest.NewRecorder()
		s.Server.Handler().ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%s from %s: %d %s; want %d", tt.path, tt.remote, w.Code, w.Body, tt.status)
		}
		if tt.status == 403 && (!strings.Contains(w.Body.String(), "plain HTTP") || s.lastEvent().Result != keyserver.Denied) {
			t.Errorf("%s from %s: %s, recorded as %+v; want a denial that speaks of plain HTTP", tt.path, tt.remote, w.Body, s.lastEvent())
		}
	}
}

// A panic is a bug of ours: it is answered, and logged without what it says.
func TestPanic(t *testing.T) {
	s := newSite(t, nil)
	s.Store.set(func(b *brokenStore) {
		b.keys = func([]keyserver.Key) []keyserver.Key { panic("a secret") }
	})
	status, text, _ := s.send("GET", "/api/v2/users/me/keys", s.Admin.Token, "")
	if status != 500 || !strings.Contains(text, "internal error") {
		t.Errorf("a panic is answered %d %s; want 500", status, text)
	}
	log := s.Log.String()
	if !strings.Contains(log, `"msg":"panic"`) || !strings.Contains(log, "listKeys") {
		t.Error("the log does not say where the panic was")
	}
	if strings.Contains(log+text, "a secret") {
		t.Error("the log or the answer holds what the panic says")
	}
	s.Store.set(func(b *brokenStore) { b.keys = nil })
	if status, _, _ := s.send("GET", "/api/v2/users/me/keys", s.Admin.Token, ""); status != 200 {
		t.Errorf("after a panic the server answers %d; want 200", status)
	}
}

// A store that does not answer does not hold requests for ever.
func TestRequestTime(t *testing.T) {
	master := newMasterKey(t)
	synctest.Test(t, func(t *testing.T) {
		store := &brokenStore{Store: memstore.New(), stall: true}
		s, err := keyserver.New(t.Context(), keyserver.Config{Store: store, MasterKey: master})
		if err != nil {
			t.Fatal(err)
		}
		token, _, err := s.FirstAdmin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/v2/users/me/keys", nil)
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		begin := time.Now()
		s.Handler().ServeHTTP(w, r)
		if took := time.Since(begin); took != 30*time.Second || w.Code != 503 || !strings.Contains(w.Body.String(), "took too long") {
			t.Errorf("a store that does not answer: %d %s after %v; want 503 after 30s", w.Code, w.Body, took)
		}
	})
}

// Each request is one line, with which one can find its refusal again.
func TestLog(t *testing.T) {
	s := newSite(t, nil)
	s.Store.set(func(b *brokenStore) { b.record = api.ErrUnavailable })
	_, text, _ := s.send("GET", "/api/v2/users/me", "lk_s_wrong", "")
	var e api.Error
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace([]byte(s.Log.String())), []byte("\n"))
	var line struct {
		Level, Msg, Request, Method, Route, Remote, Actor, Err string
		Status                                                 int
	}
	if err := json.Unmarshal(lines[len(lines)-1], &line); err != nil {
		t.Fatal(err)
	}
	if line.Level != "ERROR" || line.Msg != "request" || line.Method != "GET" || line.Route != "/api/v2/users/{user}" ||
		line.Remote != "127.0.0.1" || line.Actor != "unknown" || line.Status != http.StatusServiceUnavailable || line.Err == "" {
		t.Errorf("the log ends with %+v; want the request, its end and why", line)
	}
	if line.Request == "" || !strings.HasSuffix(e.Detail, line.Request) {
		t.Errorf("the refusal says %q, the log %q; want the same request", e.Detail, line.Request)
	}
}

// Routes holds what documents need, once for each address.
func TestRoutes(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range keyserver.Routes() {
		name := r.Method + " " + r.Pattern
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
		if r.Action == "" || r.Does == "" || r.Status < 200 || r.Status > 299 {
			t.Errorf("%s has action %q, does %q, answers %d; want all said", name, r.Action, r.Does, r.Status)
		}
		if (r.Response == nil) != (r.Status == http.StatusNoContent) {
			t.Errorf("%s answers %d with a %T", name, r.Status, r.Response)
		}
	}
}
