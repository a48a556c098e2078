package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

func TestLogin(t *testing.T) {
	s := newServer(t, false)
	home := newHome(t)
	given := s.newUser(t, "ada", api.RoleUser)

	got := latchkeyWith(t, given+"\n", "login", s.URL+"/")
	got.expect(t, 0, "", fmt.Sprintf("logged in to %s as ada (user)\n", s.URL))

	path := filepath.Join(home, "config", "latchkey", "login.json")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the login's file has mode %v; want 0600", info.Mode())
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("the login's directory: %v, %v; want mode 0700", dir.Mode(), err)
	}
	onlyFiles(t, filepath.Dir(path), "login.json")

	saved := savedToken(t)
	if saved == given {
		t.Error("the token that was given was kept; want a new one in its place")
	}
	if _, err := s.client(t, given).User(t.Context(), api.Me); !errors.Is(err, api.ErrUnauthenticated) {
		t.Errorf("with the token that was given: %v; want it to be revoked", err)
	}
	tokens, err := s.client(t, saved).Tokens(t.Context(), api.Me)
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	if last := tokens[len(tokens)-1]; last.Description != "login from "+host {
		t.Errorf("the new token is described as %q; want %q", last.Description, "login from "+host)
	}
}

func TestLoginKeepsTheToken(t *testing.T) {
	s := newServer(t, false)
	newHome(t)
	given := s.newUser(t, "ada", api.RoleUser)
	latchkeyWith(t, given, "login", "--keep-token", s.URL).ok(t)
	if savedToken(t) != given {
		t.Error("login --keep-token saved another token")
	}
	latchkey(t, "publickey").ok(t)
}

// A second login leaves no token behind that nothing knows any more.
func TestLoginReplacesLogin(t *testing.T) {
	s := loggedIn(t)
	before := savedToken(t)
	latchkeyWith(t, s.newUser(t, "bob", api.RoleUser), "login", s.URL).ok(t)
	if _, err := s.client(t, before).User(t.Context(), api.Me); !errors.Is(err, api.ErrUnauthenticated) {
		t.Errorf("with the token of the earlier login: %v; want it to be revoked", err)
	}
}

func TestLoginOverTLS(t *testing.T) {
	s := newServer(t, true)
	newHome(t)
	ca := s.CAFile(t)
	got := latchkeyWith(t, s.Admin, "login", s.URL)
	if got.code != 1 || !strings.Contains(got.stderr, "\nlatchkey: hint: if the server has a certificate authority of its own: latchkey login "+s.URL+" --ca-file FILE\n") {
		t.Errorf("login to a server with its own authority = %+v; want a hint about --ca-file", got)
	}
	latchkeyWith(t, s.Admin, "login", s.URL, "--ca-file", ca).ok(t)
	if err := os.Remove(ca); err != nil { // what it was is kept
		t.Fatal(err)
	}
	latchkey(t, "publickey").ok(t)
}

func TestLoginRefused(t *testing.T) {
	s := newServer(t, false)
	newHome(t)
	good := s.newUser(t, "ada", api.RoleUser)
	const whole = "copy the whole token, from lk_s_ to its last letter"
	typo := good[:10] + "x" + good[11:]
	if typo == good {
		typo = good[:10] + "y" + good[11:]
	}
	for _, test := range []struct {
		name, token string
		args        []string
		message     string
		hint        string
	}{
		{"typo", typo, []string{s.URL}, "session token is mistyped: its checksum does not match: not authenticated", whole},
		{"cut", good[:20], []string{s.URL}, "session token has 20 characters, not 54: it was cut or something was added: not authenticated", whole},
		{"nothing", "", []string{s.URL}, "no token was given for " + s.URL, "type it when asked, or give it on stdin; the server's admin makes one for you"},
		{"another's", "ghp_abc", []string{s.URL}, "not a Latchkey token: it must begin with lk_s_ or lk_w_: not authenticated", whole},
		{"workspace token", api.NewToken(api.WorkspaceToken), []string{s.URL}, "that is a workspace token, which is for a workspace's daemon", `"latchkey agent --token-file FILE" takes it; logging in takes a session token (lk_s_…)`},
		{"too much", strings.Repeat("x", maxAnswer+1), []string{s.URL}, "the token on stdin is over 4 KiB", ""},
		{"no URL", good, []string{"keys.example"}, "the server URL is not one: want https://HOST[:PORT]", "an address looks like https://keys.example:7843"},
		{"plain http", good, []string{"http://keys.example"}, `server URL "http://keys.example": plain http is for loopback only, use https`, "an address looks like https://keys.example:7843"},
		{"no CA file", good, []string{s.URL, "--ca-file", "/none/ca.pem"}, "reading the CA file: open /none/ca.pem: no such file or directory", "give a file of PEM certificates, as the server's admin has it"},
		{"no certificate", good, []string{s.URL, "--ca-file", "login_test.go"}, "the CA file holds no PEM certificate", "an address looks like https://keys.example:7843"},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := "latchkey: error: " + test.message + "\n"
			if test.hint != "" {
				want += "latchkey: hint: " + test.hint + "\n"
			}
			latchkeyWith(t, test.token, append([]string{"login"}, test.args...)...).expect(t, 1, "", want)
			if _, err := savedLogin(); !errors.Is(err, errNoLogin) {
				t.Errorf("after a login that failed there is a saved one: %v", err)
			}
		})
	}
	if _, err := s.client(t, good).User(t.Context(), api.Me); err != nil {
		t.Errorf("after logins that failed the token is of no use: %v", err)
	}
}

func TestLoginWithRevokedToken(t *testing.T) {
	s := newServer(t, false)
	newHome(t)
	got := latchkeyWith(t, api.NewToken(api.SessionToken), "login", s.URL)
	hint := "latchkey: hint: tokens of new users are good for a day, and logging in replaces them; on the server, \"latchkeyd token USER\" makes another\n"
	if got.code != 1 || !strings.HasSuffix(got.stderr, hint) {
		t.Errorf("login with a token that the server does not know = %+v; want it to end with %q", got, hint)
	}
}

// If the login can't be kept, the token that was given still works, and the new
// one does not.
func TestLoginThatCannotBeSaved(t *testing.T) {
	s := newServer(t, false)
	home := newHome(t)
	if err := os.WriteFile(filepath.Join(home, "config"), nil, 0o600); err != nil { // where the directory should be
		t.Fatal(err)
	}
	given := s.newUser(t, "ada", api.RoleUser)
	if got := latchkeyWith(t, given, "login", s.URL); got.code != 1 || !strings.HasPrefix(got.stderr, "latchkey: error: keeping the login: ") {
		t.Errorf("login without a place to keep it = %+v; want an error that says so", got)
	}
	tokens, err := s.client(t, given).Tokens(t.Context(), api.Me)
	if err != nil {
		t.Fatalf("with the token that was given: %v", err)
	}
	for _, tok := range tokens {
		if strings.HasPrefix(tok.Description, "login from") && tok.RevokedAt == nil {
			t.Errorf("the token %s that could not be saved is not revoked", tok.ID)
		}
	}
}

func TestLogout(t *testing.T) {
	s := loggedIn(t)
	token := savedToken(t)
	latchkey(t, "logout").expect(t, 0, "", "logged out of "+s.URL+"\n")
	if _, err := s.client(t, token).User(t.Context(), api.Me); !errors.Is(err, api.ErrUnauthenticated) {
		t.Errorf("with the token after logout: %v; want it to be revoked", err)
	}
	if _, err := savedLogin(); !errors.Is(err, errNoLogin) {
		t.Errorf("after logout the login is %v; want none", err)
	}
	latchkey(t, "logout").expect(t, 0, "", "not logged in\n")
}

func TestLogoutWithoutServer(t *testing.T) {
	s := loggedIn(t)
	s.Close()
	got := latchkey(t, "logout")
	hint := "latchkey: hint: it is good until it is revoked: \"latchkey token list\" after another login, or an admin\n"
	if got.code != 1 || !strings.Contains(got.stderr, "is removed from this machine, but its token was not revoked") || !strings.HasSuffix(got.stderr, hint) {
		t.Errorf("logout without a server = %+v; want it to say that the token is still good", got)
	}
	if _, err := savedLogin(); !errors.Is(err, errNoLogin) {
		t.Errorf("after logout the login is %v; want none", err)
	}
}

func TestLogoutOfWhatOthersCouldRead(t *testing.T) {
	s := loggedIn(t)
	token := savedToken(t)
	path, _ := loginPath()
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	got := latchkey(t, "publickey")
	got.expect(t, 1, "", "latchkey: error: "+path+" can be read by others (mode 0644)\nlatchkey: hint: if nobody has: chmod 600 "+path+"\n")
	latchkey(t, "logout").ok(t)
	if _, err := s.client(t, token).User(t.Context(), api.Me); !errors.Is(err, api.ErrUnauthenticated) {
		t.Errorf("with the token after logout: %v; want it to be revoked", err)
	}
}

func TestDamagedLogin(t *testing.T) {
	loggedIn(t)
	path, _ := loginPath()
	if err := os.WriteFile(path, []byte(`{"url": "https://x", "token": `), 0o600); err != nil {
		t.Fatal(err)
	}
	latchkey(t, "publickey").expect(t, 1, "", "latchkey: error: "+path+" is damaged\nlatchkey: hint: log in anew: \"latchkey login URL\"\n")
	latchkey(t, "logout")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after logout the damaged login is there: %v", err)
	}
}

func TestNotLoggedIn(t *testing.T) {
	newHome(t)
	latchkey(t, "key", "list").expect(t, 1, "", "latchkey: error: not logged in\nlatchkey: hint: \"latchkey login URL\", with the token that the server's admin gave you\n")
	t.Setenv("LATCHKEY_URL", "https://keys.example")
	latchkey(t, "key", "list").expect(t, 1, "", "latchkey: error: not logged in\nlatchkey: hint: latchkey login https://keys.example\n")
}

// Scripts have no login, and must not use the one of whoever runs them.
func TestSessionTokenInTheEnvironment(t *testing.T) {
	s := loggedIn(t)
	t.Setenv("LATCHKEY_URL", s.URL)
	t.Setenv("LATCHKEY_SESSION_TOKEN", s.newUser(t, "robot", api.RoleUser))
	if u := decode[api.User](t, latchkey(t, "user", "show", "--json")); u.Name != "robot" {
		t.Errorf("with LATCHKEY_SESSION_TOKEN the user is %s; want robot", u.Name)
	}
	t.Setenv("LATCHKEY_SESSION_TOKEN", api.NewToken(api.SessionToken))
	if got := latchkey(t, "key", "list"); !strings.HasSuffix(got.stderr, "hint: it is the token in LATCHKEY_SESSION_TOKEN: set another, or unset it to use your login\n") {
		t.Errorf("with an unknown LATCHKEY_SESSION_TOKEN: %+v", got)
	}
	t.Setenv("LATCHKEY_SESSION_TOKEN", "lk_s_typo")
	latchkey(t, "key", "list").expect(t, 1, "", "latchkey: error: LATCHKEY_SESSION_TOKEN: session token has 9 characters, not 54: it was cut or something was added: not authenticated\nlatchkey: hint: set it to a session token, or unset it to use your login\n")
	t.Setenv("LATCHKEY_SESSION_TOKEN", "")
	t.Setenv("LATCHKEY_CA_FILE", "/none/ca.pem")
	latchkey(t, "key", "list").expect(t, 1, "", "latchkey: error: LATCHKEY_CA_FILE: open /none/ca.pem: no such file or directory\nlatchkey: hint: set it to a file of PEM certificates, or unset it\n")
}

// The token of one server never reaches another.
func TestTokenIsForItsServer(t *testing.T) {
	s := loggedIn(t)
	t.Setenv("LATCHKEY_URL", "http://127.0.0.1:1")
	latchkey(t, "key", "list").expect(t, 1, "", "latchkey: error: LATCHKEY_URL is http://127.0.0.1:1, but you are logged in to "+s.URL+
		"\nlatchkey: hint: latchkey login http://127.0.0.1:1, or unset LATCHKEY_URL\n")
	t.Setenv("LATCHKEY_URL", s.URL+"/")
	latchkey(t, "key", "list").ok(t)
}

// A login is printed without its token, however it is printed.
func TestLoginPrintsNoToken(t *testing.T) {
	loggedIn(t)
	l, err := savedLogin()
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, struct{ in login }{l}); strings.Contains(got, l.token()[5:]) || strings.Contains(got, fmt.Sprintf("%x", l.token())) {
			t.Errorf("%s of a login shows its token: %s", verb, got)
		}
	}
}

func TestLeaveSaysWhatIsStillGood(t *testing.T) {
	s := loggedIn(t)
	other := newServer(t, false)
	before := s.URL
	s.Close()
	got := latchkeyWith(t, other.Admin, "login", other.URL).ok(t)
	if !strings.Contains(got.stderr, "latchkey: warning: your earlier login to "+before+" is still good") || !strings.Contains(got.stderr, "latchkey: hint: ask its admin\n") {
		t.Errorf("login elsewhere while the earlier server is away says\n%s", got.stderr)
	}
}
