package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// savedAs gives the test a home with a login to a URL that nobody checked.
func savedAs(t *testing.T, url string, ca []byte) {
	t.Helper()
	newHome(t)
	token := api.NewToken(api.SessionToken)
	if err := (login{URL: url, User: "ada", CA: ca, token: func() string { return token }}).save(); err != nil {
		t.Fatal(err)
	}
}

// What came instead of an answer, and the hint that it gives.
func TestHintsWithoutAnAnswer(t *testing.T) {
	otherKind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }))
	defer otherKind.Close()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no upstream", 502) }))
	defer proxy.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := newServer(t, true)
	ca, err := os.ReadFile(secure.CAFile(t))
	if err != nil {
		t.Fatal(err)
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()

	for _, test := range []struct {
		name, url string
		ca        []byte
		hint      string
	}{
		{"nobody listens", gone.URL, nil, "is latchkeyd running at " + gone.URL + "?"},
		{"no such host", "https://keys.invalid", nil, "check the host name in the address"},
		{"unknown authority", secure.URL, nil, "if the server has a certificate authority of its own: latchkey login " + secure.URL + " --ca-file FILE"},
		{"another host's certificate", strings.Replace(secure.URL, "127.0.0.1", "localhost", 1), ca, "its certificate is for example.com, *.example.com, 127.0.0.1, ::1: use that name, or a certificate for this one"},
		{"https to plain http", strings.Replace(plain.URL, "http:", "https:", 1), nil, "the server speaks plain http: latchkey login " + plain.URL},
		{"http to TLS", strings.Replace(secure.URL, "https:", "http:", 1), nil, "is latchkeyd at " + strings.Replace(secure.URL, "https:", "http:", 1) + "? with TLS its address begins with https://"},
		{"another kind of server", otherKind.URL, nil, "is latchkeyd at " + otherKind.URL + "? with TLS its address begins with https://"},
		{"a proxy", proxy.URL, nil, "is latchkeyd at " + proxy.URL + "? with TLS its address begins with https://"},
	} {
		t.Run(test.name, func(t *testing.T) {
			savedAs(t, test.url, test.ca)
			got := latchkey(t, "key", "list")
			if got.code != 1 || got.stdout != "" || !strings.HasSuffix(got.stderr, "\nlatchkey: hint: "+test.hint+"\n") {
				t.Errorf("latchkey key list = %+v; want the hint %q", got, test.hint)
			}
		})
	}
}

// At the address that nobody gave, the server was probably not started yet.
func TestHintAtTheDefaultURL(t *testing.T) {
	if got, want := unreachable(io.EOF, api.DefaultURL+"/"), `is latchkeyd running? "latchkeyd serve" starts it; for one elsewhere: latchkey login URL`; got != want {
		t.Errorf("the hint at the default URL is %q; want %q", got, want)
	}
}

// What a server answered, and the hint that it gives.
func TestHintsOfAnswers(t *testing.T) {
	for _, test := range []struct {
		name, answer string
		status       int
		hint         string
	}{
		{"its own", `{"message": "the name is taken", "detail": "choose another"}`, 409, "choose another"},
		{"revoked", `{"message": "the token was revoked", "detail": "ask"}`, 401, "latchkey login URL"},
		{"not allowed", `{"message": "not allowed"}`, 403, `"latchkey status" shows your role; admins manage users, provisioners the workspaces of others`},
		{"too many", `{"message": "too many"}`, 429, "wait a minute and try again"},
		{"unavailable", `{"message": "the audit log cannot be written", "detail": "the disk is full"}`, 503, "the disk is full"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				io.WriteString(w, test.answer)
			}))
			defer s.Close()
			savedAs(t, s.URL, nil)
			got := latchkey(t, "user", "list")
			hint := strings.Replace(test.hint, "URL", s.URL, 1)
			if got.code != 1 || !strings.HasSuffix(got.stderr, "\nlatchkey: hint: "+hint+"\n") {
				t.Errorf("latchkey user list = %+v; want the hint %q", got, hint)
			}
		})
	}
}
