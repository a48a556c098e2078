package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/memstore"
)

// A testServer is a key server in this process, and its first admin's token.
type testServer struct {
	*httptest.Server
	Admin string
}

// Close ends the server, whoever watches it.
func (s *testServer) Close() {
	s.Listener.Close()
	s.CloseClientConnections()
	s.Server.Close()
}

// newServer serves until the test ends, over TLS if secure.
func newServer(t testing.TB, secure bool) *testServer {
	t.Helper()
	key, err := keyserver.CreateMasterKey(filepath.Join(t.TempDir(), "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := keyserver.New(t.Context(), keyserver.Config{
		Store: memstore.New(), MasterKey: key, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ts := &testServer{Server: httptest.NewUnstartedServer(s.Handler())}
	ts.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(t.Output(), nil), slog.LevelInfo)
	if secure {
		ts.StartTLS()
	} else {
		ts.Start()
	}
	t.Cleanup(func() {
		ts.Close()
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("closing the key server: %v", err)
		}
	})
	if ts.Admin, _, err = s.FirstAdmin(t.Context()); err != nil {
		t.Fatal(err)
	}
	return ts
}

// CAFile writes the server's certificate to a file.
func (s *testServer) CAFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// client speaks to a server without TLS.
func (s *testServer) client(t testing.TB, token string) *api.Client {
	t.Helper()
	c, err := api.NewClient(s.URL, nil, func() string { return token })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// newUser makes a user and returns their first token.
func (s *testServer) newUser(t testing.TB, name string, role api.Role) (token string) {
	t.Helper()
	u, err := s.client(t, s.Admin).CreateUser(t.Context(), api.CreateUserRequest{Name: name, Role: role})
	if err != nil {
		t.Fatal(err)
	}
	return u.Token.Token
}

// loggedIn gives the test a home in which a user is logged in to a new server.
func loggedIn(t *testing.T) *testServer {
	t.Helper()
	s := newServer(t, false)
	newHome(t)
	got := latchkeyWith(t, s.newUser(t, "ada", api.RoleUser), "login", s.URL)
	if got.code != 0 {
		t.Fatalf("login: %+v", got)
	}
	return s
}

// savedToken is the token that login has kept.
func savedToken(t *testing.T) string {
	t.Helper()
	l, err := savedLogin()
	if err != nil {
		t.Fatal(err)
	}
	return l.token()
}

// ok fails the test at once if a run of latchkey failed.
func (got result) ok(t *testing.T) result {
	t.Helper()
	if got.code != 0 {
		t.Fatalf("exit status %d; stdout:\n%s\nstderr:\n%s", got.code, got.stdout, got.stderr)
	}
	return got
}

// decode reads what a run of latchkey printed as JSON.
func decode[T any](t *testing.T, got result) (v T) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(got.ok(t).stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in\n%s", err, got.stdout)
	}
	return v
}

// newKeyFile writes a new private key, and returns the public one as well.
func newKeyFile(t *testing.T, passphrase string) (path, public string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return path, string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(p)))
}
