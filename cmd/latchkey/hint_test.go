package main

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace"
)

// The hints that no other test comes by. Each is provoked, and read.

// hints fails the test unless a run of latchkey printed a hint.
func (got result) hints(t *testing.T, want string) {
	t.Helper()
	if !strings.Contains(got.stderr, "latchkey: hint: "+want+"\n") {
		t.Errorf("no hint %q in\n%s", want, got.stderr)
	}
}

func TestHintThatTheEnvironmentGoesFirst(t *testing.T) {
	s := newServer(t, false)
	newHome(t)
	t.Setenv("LATCHKEY_SESSION_TOKEN", api.NewToken(api.SessionToken))
	latchkeyWith(t, s.Admin, "login", s.URL).ok(t).hints(t, "unset LATCHKEY_SESSION_TOKEN")
}

// refusing is in front of a server and answers some requests itself.
func refusing(t *testing.T, s *testServer, refuse func(*http.Request) bool) *httptest.Server {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(u)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse(r) {
			http.Error(w, `{"message": "the disk is full"}`, http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	return front
}

func TestHintsOnTokensThatAreStillGood(t *testing.T) {
	s := newServer(t, false)
	newHome(t)
	front := refusing(t, s, func(r *http.Request) bool { return r.Method == http.MethodDelete })
	const list = `"latchkey token list" shows it, "latchkey token revoke ID" ends it`
	got := latchkeyWith(t, s.Admin, "login", front.URL).ok(t)
	if !strings.Contains(got.stderr, "latchkey: warning: the token that you gave is still good: the disk is full\n") {
		t.Errorf("login that could not revoke says\n%s", got.stderr)
	}
	got.hints(t, list)
	got = latchkeyWith(t, s.Admin, "login", front.URL).ok(t)
	if !strings.Contains(got.stderr, "latchkey: warning: your earlier login to "+front.URL+" is still good: the disk is full\n") {
		t.Errorf("login that could not end the earlier one says\n%s", got.stderr)
	}
	got.hints(t, list)
}

func TestHintWithoutHome(t *testing.T) {
	newHome(t)
	t.Setenv("HOME", "")
	t.Setenv("XDG_CONFIG_HOME", "relative")
	latchkey(t, "key", "list").expect(t, 1, "", "latchkey: error: finding the configuration directory: $HOME is not defined\nlatchkey: hint: set HOME, or XDG_CONFIG_HOME\n")
}

func TestHintOnExpiredCertificate(t *testing.T) {
	err := fmt.Errorf("reaching: %w: %w", x509.CertificateInvalidError{Reason: x509.Expired}, api.ErrUnavailable)
	if got, want := hintOf(explain(err, login{URL: "https://keys.example"})), "the server needs a new certificate; or is this machine's clock wrong?"; got != want {
		t.Errorf("the hint is %q; want %q", got, want)
	}
}

func TestHintOnTokenThatIsLost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	f, err := tokenFile(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil { // while the server made the token
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	created := api.CreatedToken{TokenInfo: api.TokenInfo{ID: "17"}, Token: api.NewToken(api.WorkspaceToken)}
	err = (&program{stdout: &stdout}).handOver(&created, f)
	if got, want := hintOf(err), "make another: the one that is lost has the ID 17"; got != want {
		t.Errorf("the hint of %v is %q; want %q", err, got, want)
	}
}

func TestHintsOnNames(t *testing.T) {
	missing := fmt.Errorf("no x: %w", api.ErrNotFound)
	for _, test := range []struct {
		names []string
		want  string
	}{
		{nil, `there is none at all: "latchkey key list"`},
		{[]string{"a", "wrok"}, `there is wrok; "latchkey key list" shows all names`},
		{[]string{"a", "b"}, `"latchkey key list" shows all names`},
		{[]string{"work"}, `"latchkey key list" shows all names`}, // made since
	} {
		if got := hintOf(notFound(missing, "work", test.names, "latchkey key list")); got != test.want {
			t.Errorf("the hint with the names %q is %q; want %q", test.names, got, test.want)
		}
	}
	// Whom one can't list, one can't be shown a near name of.
	s := loggedIn(t)
	s.newUser(t, "bob", api.RoleUser)
	if got := latchkey(t, "key", "show", "--user", "bbo"); got.code != 1 || strings.Contains(got.stderr, "there is bob") {
		t.Errorf("key show --user of a typo = %+v; want an error without others' names", got)
	}
}

// With an authority of its own, the lines that are handed on name its file.
func TestLinesForServersWithTheirOwnAuthority(t *testing.T) {
	s := newServer(t, true)
	newHome(t)
	latchkeyWith(t, s.Admin, "login", s.URL, "--ca-file", s.CAFile(t)).ok(t)
	got := latchkey(t, "user", "create", "ada").ok(t)
	if !strings.HasSuffix(got.stdout, " | latchkey login "+s.URL+" --ca-file FILE\n") || !strings.Contains(got.stderr, "FILE in this line is the server's CA certificate") {
		t.Errorf("user create = %+v; want a line with --ca-file", got)
	}
	got = latchkey(t, "workspace", "create", "box").ok(t)
	if !strings.HasSuffix(got.stderr, "in it, run: latchkey agent --url "+s.URL+" --token-file FILE --ca-file FILE\n") {
		t.Errorf("workspace create says %q; want a line with --ca-file", got.stderr)
	}
}

func TestPrivateKeyIsNotTypedOnATerminal(t *testing.T) {
	loggedIn(t)
	_, screen := onTerminal(t, "key", "import", "work", "-").ends(t)
	for _, want := range []string{"stdin is a terminal, where a private key would be shown", "name the file, or redirect stdin: latchkey key import NAME - < FILE"} {
		if !strings.Contains(screen, want) {
			t.Errorf("import from a terminal does not say %q", want)
		}
	}
}

func TestStatusOfWhatIsRefused(t *testing.T) {
	s := loggedIn(t)
	if err := s.client(t, savedToken(t)).RevokeToken(t.Context(), api.Me, "current"); err != nil {
		t.Fatal(err)
	}
	got := latchkey(t, "status")
	if got.code != 1 || !strings.HasPrefix(got.stdout, "server  "+s.URL+", refuses the login\n") {
		t.Errorf("status with a revoked token = %+v", got)
	}
	got.hints(t, "latchkey login "+s.URL)
}

func TestStatusOfUntrustedRuntimeDirectory(t *testing.T) {
	loggedIn(t)
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LATCHKEY_RUNTIME_DIR", dir)
	got := latchkey(t, "status")
	if got.code != 1 {
		t.Errorf("status with a runtime directory that others can enter = %+v; want exit status 1", got)
	}
	got.hints(t, "chmod 700 "+dir)
}

// The daemon has no key to show: it never could ask the server.
func TestPublicKeyOfDaemonWithoutKeys(t *testing.T) {
	s := loggedIn(t)
	token := strings.TrimSpace(latchkey(t, "workspace", "create", "box").ok(t).stdout)
	s.Close()
	startDaemon(t, s, token)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(t.TempDir(), "none"))
	got := latchkey(t, "publickey")
	if got.code != 1 || !strings.HasPrefix(got.stderr, "latchkey: error: the workspace daemon has no keys: ") {
		t.Errorf("publickey of a daemon without a server = %+v", got)
	}
	got.hints(t, "latchkey status")
}

func TestHintsOfPackageWorkspace(t *testing.T) {
	problem := &workspace.Problem{Err: errors.New("no"), Hint: "do this"}
	if got := hintOf(explainWorkspace(fmt.Errorf("here: %w", problem))); got != "do this" {
		t.Errorf("the hint of a workspace.Problem is %q; want its own", got)
	}
}

func TestAuditFollows(t *testing.T) {
	s := newServer(t, false)
	newHome(t)
	latchkeyWith(t, s.Admin, "login", s.URL).ok(t)
	tt := onTerminal(t, "audit", "-f", "-n", "1")
	tt.sees(t, "token.revoke") // of the token that login was given
	latchkey(t, "workspace", "create", "a-new-one").ok(t)
	tt.sees(t, "a-new-one")
	latchkey(t, "audit", "--after", "-1").expect(t, exitUsage, "", "latchkey: error: audit: --after and -n take numbers from 0\n")
}

// A daemon that was not told where its server is looks on this machine.
func TestHintOnServerOfTheDaemon(t *testing.T) {
	const is = `is latchkeyd running at %s, and this workspace in its list ("latchkey workspace list")? the daemon's log says more`
	for url, want := range map[string]string{
		api.DefaultURL:         fmt.Sprintf(is, api.DefaultURL) + `; for a server elsewhere: "latchkey agent --url URL"`,
		"https://keys.example": fmt.Sprintf(is, "https://keys.example"),
	} {
		err := statusReport{Daemon: &workspace.State{Server: url, ServerError: "no answer"}, loginErr: errNoLogin}.problem()
		if got := hintOf(err); got != want {
			t.Errorf("the hint for a daemon of %s is %q; want %q", url, got, want)
		}
	}
}
