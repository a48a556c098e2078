package keyserver_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/memstore"
)

// A site is a running key server with its first admin.
type site struct {
	*testing.T
	Server *keyserver.Server
	Store  *brokenStore // over a memstore
	Master tink.AEAD
	URL    string
	Admin  *account
	Log    *buffer
	Clock  *clock
}

// An account is a user with a client that speaks for them.
type account struct {
	*api.Client
	ID    string
	Name  string
	Role  api.Role
	Token string
}

// newSite starts a server; change may be nil.
func newSite(t *testing.T, change func(*keyserver.Config)) *site {
	t.Helper()
	s := &site{T: t, Store: &brokenStore{Store: memstore.New()}, Master: newMasterKey(t), Log: &buffer{}, Clock: newClock()}
	c := keyserver.Config{
		Store: s.Store, MasterKey: s.Master, Now: s.Clock.Now,
		Log: slog.New(slog.NewJSONHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&c)
	}
	var err error
	if s.Server, err = keyserver.New(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s.serve(s.Server)
	token, made, err := s.Server.FirstAdmin(t.Context())
	if err != nil || !made {
		t.Fatalf("FirstAdmin in a new store = made %t, %v; want it made", made, err)
	}
	s.Admin = s.account(token)
	return s
}

// serve makes a server the one that the site's clients speak to.
func (s *site) serve(server *keyserver.Server) {
	h := httptest.NewServer(server.Handler())
	s.Cleanup(func() {
		server.EndWatches() // Close waits for all requests
		h.Close()
	})
	s.URL = h.URL
}

// clientOf speaks to another server than the site's.
func (s *site) clientOf(server *keyserver.Server, token string) *api.Client {
	s.Helper()
	defer func(url string) { s.URL = url }(s.URL)
	s.serve(server)
	return s.client(token)
}

// account is whom a session token speaks for.
func (s *site) account(token string) *account {
	s.Helper()
	a := &account{Client: s.client(token), Token: token}
	u, err := a.User(s.Context(), api.Me)
	if err != nil {
		s.Fatal(err)
	}
	a.ID, a.Name, a.Role = u.ID, u.Name, u.Role
	return a
}

func (s *site) client(token string) *api.Client {
	s.Helper()
	c, err := api.NewClient(s.URL, nil, func() string { return token })
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(c.Close)
	return c
}

func (s *site) newUser(name string, role api.Role) *account {
	s.Helper()
	created, err := s.Admin.CreateUser(s.Context(), api.CreateUserRequest{Name: name, Role: role})
	if err != nil {
		s.Fatal(err)
	}
	return s.account(created.Token.Token)
}

// newWorkspace makes a workspace, and returns a client that speaks for it.
func (s *site) newWorkspace(a *account, name string) (*api.Client, api.CreatedWorkspace) {
	s.Helper()
	w, err := a.CreateWorkspace(s.Context(), api.Me, api.CreateWorkspaceRequest{Name: name})
	if err != nil {
		s.Fatal(err)
	}
	return s.client(w.Token.Token), w
}

// events lists the audit log, without what comes before the given number.
func (s *site) events(after int64) []keyserver.Event {
	s.Helper()
	events, err := s.Store.Events(s.Context(), after, 10_000)
	if err != nil {
		s.Fatal(err)
	}
	return events
}

func (s *site) lastEvent() keyserver.Event {
	s.Helper()
	e, err := s.Store.LastEvent(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return e
}

// send makes a request as curl would. The body may be "".
func (s *site) send(method, path, token, body string, headers ...string) (status int, answer string, header http.Header) {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

// wantError checks an error's kind and that its words, with those about fields
// and the hint, hold the given ones.
func wantError(t *testing.T, doing string, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: %v; want %v", doing, err, kind)
		return
	}
	text := err.Error()
	var e *api.Error
	if errors.As(err, &e) {
		text += " | " + e.Detail
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s: %q; want %q in it", doing, text, w)
		}
	}
}

func newStore(testing.TB) keyserver.Store { return memstore.New() }

func newMasterKey(t testing.TB) tink.AEAD {
	t.Helper()
	key, err := keyserver.CreateMasterKey(filepath.Join(t.TempDir(), "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A clock shows what it is set to.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// A buffer may be written to by many.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
