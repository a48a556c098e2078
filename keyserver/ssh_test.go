package keyserver_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// publicLine is a public key as a file of ssh-keygen has it.
func publicLine(t *testing.T, key any, comment string) string {
	t.Helper()
	public, err := ssh.NewPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)) + " " + comment)
}

func newLoginKey(t *testing.T, comment string) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(publicLine(t, public, comment), "\n", "")
}

func TestLoginKeys(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	box, _ := s.newWorkspace(alice, "box")
	line := newLoginKey(t, "me@laptop")
	k, err := alice.CreateLoginKey(t.Context(), api.Me, api.CreateLoginKeyRequest{PublicKey: line + "\n"})
	if err != nil {
		t.Fatal(err)
	}
	if k.Name != "me@laptop" || k.PublicKey+" me@laptop" != line || !strings.HasPrefix(k.Fingerprint, "SHA256:") || !k.CreatedAt.Equal(s.Clock.Now()) {
		t.Errorf("the login key is %+v; want that of %q, called by its comment", k, line)
	}
	if e := s.lastEvent(); e.Action != "loginkey.create" || e.Target != "alice/me@laptop" || e.Detail != k.Fingerprint || e.Result != keyserver.OK {
		t.Errorf("the last event is %+v", e)
	}
	access, err := box.SSHAccess(t.Context())
	if err != nil || access.User != "alice" || len(access.LoginKeys) != 1 || access.LoginKeys[0] != k {
		t.Errorf("the workspace is told %+v, %v; want alice and her key", access, err)
	}
	_, err = alice.CreateLoginKey(t.Context(), api.Me, api.CreateLoginKeyRequest{Name: "again", PublicKey: line})
	wantError(t, "the same key again", err, api.ErrConflict, "already, under the name me@laptop", "public_key")
	_, err = alice.CreateLoginKey(t.Context(), api.Me, api.CreateLoginKeyRequest{Name: "me@laptop", PublicKey: newLoginKey(t, "")})
	wantError(t, "another key of that name", err, api.ErrConflict, "me@laptop already", "name")
	unnamed, err := alice.CreateLoginKey(t.Context(), api.Me, api.CreateLoginKeyRequest{PublicKey: newLoginKey(t, "my own laptop")})
	if err != nil || !strings.HasPrefix(unnamed.Name, "key-") {
		t.Errorf("a key without a good name = %+v, %v; want it called by its hash", unnamed, err)
	}
	if err := alice.DeleteLoginKey(t.Context(), api.Me, "me@laptop"); err != nil {
		t.Fatal(err)
	}
	if e := s.lastEvent(); e.Action != "loginkey.delete" || e.Target != "alice/me@laptop" || e.Detail != k.Fingerprint {
		t.Errorf("the last event is %+v", e)
	}
	wantError(t, "a key that is gone", alice.DeleteLoginKey(t.Context(), api.Me, "me@laptop"), api.ErrNotFound, "alice has no login key me@laptop")
	if keys, err := alice.LoginKeys(t.Context(), api.Me); err != nil || len(keys) != 1 || keys[0] != unnamed {
		t.Errorf("LoginKeys = %+v, %v; want the one that is left", keys, err)
	}
	bob := s.newUser("bob", api.RoleUser)
	if _, err := bob.CreateLoginKey(t.Context(), api.Me, api.CreateLoginKeyRequest{PublicKey: line}); err != nil {
		t.Errorf("a key that another user has: %v", err)
	}
}

func TestLoginKeyRefused(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	good := newLoginKey(t, "me")
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, signer, _ := ed25519.GenerateKey(rand.Reader)
	by, err := ssh.NewSignerFromKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate := &ssh.Certificate{Key: by.PublicKey(), CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity}
	if err := certificate.SignCert(rand.Reader, by); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ name, line, want string }{
		"nothing":         {"", "", "is missing"},
		"junk":            {"", "hello", "is not a public key"},
		"a private key":   {"", "-----BEGIN OPENSSH PRIVATE KEY-----", "is a private key"},
		"two keys":        {"", good + "\n" + newLoginKey(t, "two"), "one line"},
		"options":         {"", `from="10.0.0.1" ` + good, "has options"},
		"a short RSA key": {"", publicLine(t, &small.PublicKey, ""), "RSA key of 1024 bits; 2048 to 16384"},
		"a certificate":   {"", string(ssh.MarshalAuthorizedKey(certificate)), "is a certificate"},
		"a bad name":      {"no/slash", good, "must be letters"},
		"a long line":     {"", good + strings.Repeat("x", 17<<10), "16384 bytes at most"},
	} {
		_, err := alice.CreateLoginKey(t.Context(), api.Me, api.CreateLoginKeyRequest{Name: c.name, PublicKey: c.line})
		wantError(t, what, err, api.ErrInvalid, c.want)
	}
	if keys, err := alice.LoginKeys(t.Context(), api.Me); err != nil || len(keys) != 0 {
		t.Errorf("LoginKeys = %+v, %v; want none", keys, err)
	}
}

func TestTooManyLoginKeys(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	var adding sync.WaitGroup
	for i := range 101 {
		line := newLoginKey(t, fmt.Sprint("key", i))
		adding.Go(func() { alice.CreateLoginKey(t.Context(), api.Me, api.CreateLoginKeyRequest{PublicKey: line}) })
	}
	adding.Wait()
	if keys, err := alice.LoginKeys(t.Context(), api.Me); err != nil || len(keys) != 100 {
		t.Errorf("of 101 keys %d were taken, %v; want 100", len(keys), err)
	}
	_, err := alice.CreateLoginKey(t.Context(), api.Me, api.CreateLoginKeyRequest{PublicKey: newLoginKey(t, "")})
	wantError(t, "one more", err, api.ErrConflict, "100 login keys, which is the most", "delete one")
}

func TestHostKey(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	box, w := s.newWorkspace(alice, "box")
	other, _ := s.newWorkspace(alice, "other")
	if w.HostKey != "" {
		t.Errorf("a new workspace has the host key %q; want none until somebody asks", w.HostKey)
	}
	var asking sync.WaitGroup
	for range 8 { // who ask at once get one key
		asking.Go(func() { alice.WorkspaceHostKey(t.Context(), api.Me, "box") })
		asking.Go(func() { box.HostKey(t.Context()) })
	}
	asking.Wait()
	k, err := alice.WorkspaceHostKey(t.Context(), api.Me, "box")
	if err != nil || !strings.HasPrefix(k.PublicKey, "ssh-ed25519 ") {
		t.Fatalf("WorkspaceHostKey = %+v, %v", k, err)
	}
	if own, err := box.HostKey(t.Context()); err != nil || own != k {
		t.Errorf("HostKey = %+v, %v; want %+v", own, err, k)
	}
	made := 0
	for _, e := range s.events(0) {
		if e.Action == "hostkey.create" {
			made++
			if e.Target != "alice/box" || e.Detail != k.Fingerprint {
				t.Errorf("the event is %+v", e)
			}
		}
	}
	if made != 1 {
		t.Errorf("the host key was made %d times; want once", made)
	}
	if all, err := alice.Workspaces(t.Context(), api.Me); err != nil || all[0].HostKey != k.PublicKey || all[1].HostKey != "" {
		t.Errorf("the list of workspaces = %+v, %v; want the one host key", all, err)
	}

	recipient, err := api.NewRecipient()
	if err != nil {
		t.Fatal(err)
	}
	request := api.FetchKeyRequest{Fingerprint: k.Fingerprint, Recipient: recipient.PublicKey()}
	sealed, err := box.FetchHostKey(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	der, err := recipient.Open(k.Fingerprint, sealed)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		t.Fatal(err)
	}
	if signer, err := ssh.NewSignerFromKey(private); err != nil || ssh.FingerprintSHA256(signer.PublicKey()) != k.Fingerprint {
		t.Errorf("the private host key is another's, %v", err)
	}
	if e := s.lastEvent(); e.Action != "hostkey.fetch" || e.Actor != "workspace:box" || e.Target != "alice/box" || e.Detail != k.Fingerprint || e.Result != keyserver.OK {
		t.Errorf("the last event is %+v", e)
	}

	_, err = other.FetchHostKey(t.Context(), request)
	wantError(t, "another workspace fetches it", err, api.ErrNotFound)
	if e := s.lastEvent(); e.Action != "hostkey.fetch" || e.Result != keyserver.Denied || e.Actor != "workspace:other" {
		t.Errorf("the last event is %+v; want the denial", e)
	}
	for _, r := range [][]byte{nil, make([]byte, 31), make([]byte, 32)} {
		_, err := box.FetchHostKey(t.Context(), api.FetchKeyRequest{Fingerprint: k.Fingerprint, Recipient: r})
		wantError(t, fmt.Sprintf("to %x", r), err, api.ErrInvalid, "recipient")
	}
	_, err = alice.WorkspaceHostKey(t.Context(), api.Me, "none")
	wantError(t, "no workspace", err, api.ErrNotFound)
}

// A sealed host key opens for no other workspace, even of the same user.
func TestHostKeyMoved(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	box, created := s.newWorkspace(alice, "box")
	other, moved := s.newWorkspace(alice, "other")
	k, err := box.HostKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Store.Workspace(t.Context(), keyserver.WorkspaceID(created.ID))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := s.Store.SealedHostKey(t.Context(), w.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Store.CreateHostKey(t.Context(), keyserver.WorkspaceID(moved.ID), w.HostKey, sealed, keyserver.Event{}); err != nil {
		t.Fatal(err)
	}
	recipient, err := api.NewRecipient()
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.FetchHostKey(t.Context(), api.FetchKeyRequest{Fingerprint: k.Fingerprint, Recipient: recipient.PublicKey()})
	if api.Status(err) != http.StatusInternalServerError {
		t.Errorf("a host key that was moved: %v; want it not to open", err)
	}
	if e := s.lastEvent(); e.Action != "hostkey.fetch" || e.Result != keyserver.Failed {
		t.Errorf("the last event is %+v; want the failure", e)
	}
}
