package api

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// newTestClient speaks to handler, over plain HTTP on loopback.
func newTestClient(t testing.TB, token string, handler http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	c, err := NewClient(s.URL, nil, func() string { return token })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func answers(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func TestNewClientURL(t *testing.T) {
	for rawURL, want := range map[string]string{
		"https://keys.example":          "https://keys.example",
		"https://keys.example:8443/":    "https://keys.example:8443",
		"https://keys.example/latch//":  "https://keys.example/latch",
		"http://127.0.0.1:7843":         "http://127.0.0.1:7843",
		"http://127.9.9.9":              "http://127.9.9.9",
		"http://[::1]:7843":             "http://[::1]:7843",
		"http://localhost:7843":         "http://localhost:7843",
		"https://[2001:db8::1]":         "https://[2001:db8::1]",
		"http://keys.example":           "",
		"http://10.0.0.1:7843":          "",
		"http://0.0.0.0:7843":           "",
		"http://localhost.example:7843": "",
		"http://127.0.0.1.example":      "",
		"http://[::ffff:10.0.0.1]":      "",
		"HTTP://keys.example":           "",
		"ftp://keys.example":            "",
		"keys.example":                  "",
		"keys.example:7843":             "",
		"127.0.0.1:7843":                "",
		"//keys.example":                "",
		"https://":                      "",
		"https:///users":                "",
		"https://u:p@keys.example":      "",
		"https://keys.example?a=b":      "",
		"https://keys.example?":         "",
		"https://keys.example#a":        "",
		"https://keys.example:port":     "",
		"https://keys example":          "",
		"":                              "",
		"\x00":                          "",
	} {
		c, err := NewClient(rawURL, nil, func() string { return "" })
		switch {
		case want == "" && err == nil:
			t.Errorf("NewClient takes %q for %s; want an error", rawURL, c.URL())
		case want != "" && err != nil:
			t.Errorf("NewClient(%q): %v", rawURL, err)
		case want != "" && c.URL() != want:
			t.Errorf("NewClient(%q).URL() = %q; want %q", rawURL, c.URL(), want)
		}
	}
}

// Someone gives a token, or a password, where the address belongs.
func TestNewClientErrorKeepsSecrets(t *testing.T) {
	token := NewToken(SessionToken)
	for _, rawURL := range []string{token, "https://me:" + token + "@keys.example", "https://keys.example/?token=" + token, "https://a:" + token, "%" + token, "http:" + token} {
		_, err := NewClient(rawURL, nil, func() string { return token })
		if err == nil {
			t.Errorf("NewClient takes %q", strings.ReplaceAll(rawURL, token, "TOKEN"))
		} else if strings.Contains(err.Error(), token) {
			t.Errorf("NewClient(%q): the error holds the token", strings.ReplaceAll(rawURL, token, "TOKEN"))
		}
	}
}

func TestNewClientCA(t *testing.T) {
	if _, err := NewClient("https://keys.example", []byte("no certificate"), nil); err == nil {
		t.Error("NewClient takes a CA file without a certificate")
	}
}

// Only the certificates that were given are trusted.
func TestClientTrustsOnlyItsCA(t *testing.T) {
	s := httptest.NewUnstartedServer(answers(200, `{"name":"alice"}`))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of the handshake that fails
	s.StartTLS()
	defer s.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	trusting, err := NewClient(s.URL, ca, func() string { return "token" })
	if err != nil {
		t.Fatal(err)
	}
	defer trusting.Close()
	if u, err := trusting.User(t.Context(), Me); err != nil || u.Name != "alice" {
		t.Errorf("User with the server's CA = %q, %v; want alice", u.Name, err)
	}
	wary, err := NewClient(s.URL, nil, func() string { return "token" })
	if err != nil {
		t.Fatal(err)
	}
	defer wary.Close()
	if _, err := wary.User(t.Context(), Me); !errors.Is(err, ErrUnavailable) {
		t.Errorf("User without the server's CA: %v; want ErrUnavailable", err)
	}
}

// What the client asks for, call by call.
func TestClientRequests(t *testing.T) {
	var got string
	c := newTestClient(t, "TOKEN", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.URL.EscapedPath()
		if r.URL.RawQuery != "" {
			got += "?" + r.URL.RawQuery
		}
		if len(body) > 0 {
			got += " " + string(body)
			if ct := r.Header.Get("Content-Type"); ct != "application/json" {
				t.Errorf("%s: Content-Type %q; want application/json", got, ct)
			}
		}
		if a := r.Header.Get("Authorization"); a != "Bearer TOKEN" {
			t.Errorf("%s: Authorization %q; want the token", got, a)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	ctx := t.Context()
	disabled := true
	for want, do := range map[string]func(){
		"GET /api/v2/users/me":            func() { c.User(ctx, Me) },
		"GET /api/v2/users":               func() { c.Users(ctx) },
		`POST /api/v2/users {"name":"a"}`: func() { c.CreateUser(ctx, CreateUserRequest{Name: "a"}) },
		`PATCH /api/v2/users/a {"disabled":true}`: func() {
			c.UpdateUser(ctx, "a", UpdateUserRequest{Disabled: &disabled})
		},
		"DELETE /api/v2/users/a":                 func() { c.DeleteUser(ctx, "a") },
		"GET /api/v2/users/a/keys/k":             func() { c.Key(ctx, "a", "k") },
		"GET /api/v2/users/a/keys":               func() { c.Keys(ctx, "a") },
		`POST /api/v2/users/a/keys {"name":"k"}`: func() { c.CreateKey(ctx, "a", CreateKeyRequest{Name: "k"}) },
		`PUT /api/v2/users/a/keys/k {"generation":3}`: func() {
			c.RotateKey(ctx, "a", "k", RotateKeyRequest{Generation: 3})
		},
		"DELETE /api/v2/users/a/keys/k":   func() { c.DeleteKey(ctx, "a", "k") },
		"GET /api/v2/users/a/tokens":      func() { c.Tokens(ctx, "a") },
		"POST /api/v2/users/a/tokens {}":  func() { c.CreateToken(ctx, "a", CreateTokenRequest{}) },
		"DELETE /api/v2/users/a/tokens/t": func() { c.RevokeToken(ctx, "a", "t") },
		"GET /api/v2/users/a/workspaces":  func() { c.Workspaces(ctx, "a") },
		`POST /api/v2/users/a/workspaces {"name":"w"}`: func() {
			c.CreateWorkspace(ctx, "a", CreateWorkspaceRequest{Name: "w"})
		},
		"DELETE /api/v2/users/a/workspaces/w":     func() { c.DeleteWorkspace(ctx, "a", "w") },
		"GET /api/v2/users/a/workspaces/w/tokens": func() { c.WorkspaceTokens(ctx, "a", "w") },
		"POST /api/v2/users/a/workspaces/w/tokens {}": func() {
			c.CreateWorkspaceToken(ctx, "a", "w", CreateTokenRequest{})
		},
		"DELETE /api/v2/users/a/workspaces/w/tokens/t": func() { c.RevokeWorkspaceToken(ctx, "a", "w", "t") },
		"GET /api/v2/workspaceagents/me":               func() { c.Self(ctx) },
		"GET /api/v2/workspaceagents/me/keys":          func() { c.OfferedKeys(ctx) },
		`POST /api/v2/workspaceagents/me/keys/fetch {"fingerprint":"f","recipient":"cg=="}`: func() {
			c.FetchKey(ctx, FetchKeyRequest{Fingerprint: "f", Recipient: []byte("r")})
		},
		"GET /api/v2/audit?after=7&limit=9":              func() { c.Audit(ctx, 7, 9) },
		"GET /api/v2/users/a%2Fb%20%3F%25%00%C3%A4/keys": func() { c.Keys(ctx, "a/b ?%\x00ä") },
		"GET /api/v2/users/a/keys/..%2F..":               func() { c.Key(ctx, "a", "../..") },
	} {
		got = "nothing"
		if do(); got != want {
			t.Errorf("the client asked %s; want %s", got, want)
		}
	}
}

// DELETE …/workspaces/.. would be DELETE of the user to whoever cleans paths.
func TestClientRefusesDots(t *testing.T) {
	c := newTestClient(t, "TOKEN", func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("the client asked %s %s", r.Method, r.URL.Path)
	})
	for _, name := range []string{"", ".", ".."} {
		for _, err := range []error{
			c.DeleteUser(t.Context(), name),
			c.DeleteKey(t.Context(), Me, name),
			c.DeleteWorkspace(t.Context(), "bob", name),
			c.RevokeWorkspaceToken(t.Context(), "bob", "w", name),
		} {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("with the name %q: %v; want ErrInvalid", name, err)
			}
		}
	}
}

// An error means the same on both sides of the wire.
func TestClientErrors(t *testing.T) {
	for status, kind := range kinds {
		sent := &Error{Kind: kind, Message: "message", Detail: "detail", Validations: []Validation{{"name", "is empty"}}}
		c := newTestClient(t, "TOKEN", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(Status(sent))
			json.NewEncoder(w).Encode(sent)
		})
		_, err := c.User(t.Context(), Me)
		var got *Error
		if !errors.As(err, &got) || !errors.Is(err, kind) {
			t.Errorf("%d: %v; want an Error of kind %v", status, err, kind)
			continue
		}
		if got.Error() != sent.Error() || got.Detail != sent.Detail {
			t.Errorf("%d: got %q (%q); want %q (%q)", status, got, got.Detail, sent, sent.Detail)
		}
	}
}

func TestClientWithoutLatchkeyServer(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		kind   error
	}{
		{404, "<html>404 page not found</html>", ErrUnavailable},
		{404, "default backend - 404", ErrUnavailable},
		{401, "<html>Authorization Required</html>", ErrUnavailable},
		{502, "<html>Bad Gateway</html>", ErrUnavailable},
		{400, `{"message": 7}`, ErrUnavailable},
		{403, `{}`, ErrUnavailable},
		{403, `{"error": "Forbidden"}`, ErrUnavailable},
		{405, `null`, ErrUnavailable},
		{200, "<html>Welcome!</html>", nil},
		{200, "", nil},
		{200, `[1, 2]`, nil},
	} {
		c := newTestClient(t, "TOKEN", answers(tt.status, tt.body))
		_, err := c.User(t.Context(), Me)
		if err == nil || tt.kind != nil && !errors.Is(err, tt.kind) {
			t.Errorf("%d %q: %v; want an error of kind %v", tt.status, tt.body, err, tt.kind)
			continue
		}
		if want := strings.TrimPrefix(c.URL(), "http://"); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Latchkey") {
			t.Errorf("%d %q: %v; want it to name %s and say that it is no Latchkey server", tt.status, tt.body, err, want)
		}
		if strings.Contains(err.Error(), "html") {
			t.Errorf("%d: the error quotes a foreign page: %v", tt.status, err)
		}
	}
}

func TestClientFollowsNoRedirect(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("the client followed a redirect, with Authorization %q", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := newTestClient(t, "TOKEN", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/stolen", status)
		})
		if _, err := c.User(t.Context(), Me); err == nil {
			t.Errorf("after a redirect with %d: no error", status)
		}
	}
}

func TestClientBoundsAnswers(t *testing.T) {
	endless := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			chunk := []byte(strings.Repeat(" ", 64<<10))
			for range 1024 { // 64 MiB
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}
	}
	for _, status := range []int{200, 404} {
		c := newTestClient(t, "TOKEN", endless(status))
		if _, err := c.Users(t.Context()); !errors.Is(err, ErrTooLarge) {
			t.Errorf("an endless answer with %d: %v; want ErrTooLarge", status, err)
		}
	}
	c := newTestClient(t, "TOKEN", answers(200, strings.Repeat("x", MaxSealed+1)))
	if sealed, err := c.FetchKey(t.Context(), FetchKeyRequest{}); !errors.Is(err, ErrTooLarge) || sealed != nil {
		t.Errorf("FetchKey of %d bytes: %v; want ErrTooLarge and nothing", MaxSealed+1, err)
	}
}

// A server that begins an answer and never ends it does not hold the client for ever.
func TestClientBoundsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := NewClient(DefaultURL, nil, func() string { return "TOKEN" })
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		defer theirs.Close()
		c.http.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
		var server sync.WaitGroup
		server.Go(func() {
			buf := make([]byte, 4<<10)
			theirs.Read(buf)
			io.WriteString(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
			for {
				time.Sleep(time.Second) // of the test's own clock
				if _, err := theirs.Write([]byte(" ")); err != nil {
					return
				}
			}
		})
		start := time.Now()
		_, err = c.User(t.Context(), Me)
		if !errors.Is(err, ErrUnavailable) || time.Since(start) != answerTime {
			t.Errorf("after %v: %v; want ErrUnavailable after %v", time.Since(start), err, answerTime)
		}
		c.Close()
		server.Wait()
	})
}

func TestClientUnreachable(t *testing.T) {
	const addr = "127.0.0.1:1" // a port that was closed may be another program's by now
	c, err := NewClient("http://"+addr, nil, func() string { return "TOKEN" })
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.User(t.Context(), Me)
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), addr) {
		t.Errorf("with nobody there: %v; want ErrUnavailable, naming %s", err, addr)
	}
	var answer *Error
	if errors.As(err, &answer) {
		t.Error("with nobody there: the error is an Error, which is a server's answer")
	}
}

func TestClientCutAnswer(t *testing.T) {
	c := newTestClient(t, "TOKEN", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "{")
	})
	if _, err := c.User(t.Context(), Me); !errors.Is(err, ErrUnavailable) {
		t.Errorf("an answer that is cut: %v; want ErrUnavailable", err)
	}
}

func TestClientCancelledBeforeAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newTestClient(t, "TOKEN", func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	wantCancelled(ctx, t, c)
}

func TestClientCancelledInAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newTestClient(t, "TOKEN", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c.http.Transport = after{c.http.Transport, cancel}
	wantCancelled(ctx, t, c)
}

func wantCancelled(ctx context.Context, t *testing.T, c *Client) {
	t.Helper()
	if _, err := c.User(ctx, Me); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
		t.Errorf("%v; want context.Canceled, not ErrUnavailable", err)
	}
}

// after calls do when the header of an answer is there.
type after struct {
	http.RoundTripper
	do func()
}

func (a after) RoundTrip(r *http.Request) (*http.Response, error) {
	defer a.do()
	return a.RoundTripper.RoundTrip(r)
}

// Whatever goes wrong, the token is in no error.
func TestClientErrorsKeepToken(t *testing.T) {
	for _, token := range []string{NewToken(SessionToken), NewToken(WorkspaceToken) + "\r\nX-Injected: yes"} {
		hangUp := func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Injected") != "" {
				t.Error("a token injected a header")
			}
			panic(http.ErrAbortHandler)
		}
		for what, handler := range map[string]http.HandlerFunc{
			"refused":   answers(401, `{"message":"session token is revoked"}`),
			"no server": answers(500, "oops"),
			"no JSON":   answers(200, "oops"),
			"hung up":   hangUp,
			"redirect":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", 302) },
		} {
			c := newTestClient(t, token, handler)
			_, err := c.User(t.Context(), Me)
			if err == nil {
				t.Errorf("%s: no error", what)
				continue
			}
			for _, text := range []string{err.Error(), fmt.Sprintf("%+v %#v", err, err)} {
				if strings.Contains(text, token[5:30]) {
					t.Errorf("%s: the error holds the token", what)
				}
			}
		}
	}
}

// A client is printed by accident.
func TestClientPrintsNoToken(t *testing.T) {
	token := NewToken(SessionToken)
	c, err := NewClient(DefaultURL, nil, func() string { return token })
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if strings.Contains(fmt.Sprintf(verb, c), token) {
			t.Errorf("%s of a Client shows its token", verb)
		}
	}
}

// Connections are used again: the helper and the daemon ask often.
func TestClientKeepsConnection(t *testing.T) {
	remotes := map[string]bool{}
	c := newTestClient(t, "TOKEN", func(w http.ResponseWriter, r *http.Request) {
		remotes[r.RemoteAddr] = true
		io.WriteString(w, "{}")
	})
	for range 5 {
		if _, err := c.User(t.Context(), Me); err != nil {
			t.Fatal(err)
		}
	}
	if len(remotes) != 1 {
		t.Errorf("5 requests took %d connections; want 1", len(remotes))
	}
}
