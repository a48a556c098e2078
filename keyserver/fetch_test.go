package keyserver_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// fetch fetches and opens a private key as the workspace daemon does.
func fetch(t testing.TB, w *api.Client, fingerprint string) (der []byte, err error) {
	t.Helper()
	r, err := api.NewRecipient()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := w.FetchKey(t.Context(), api.FetchKeyRequest{Fingerprint: fingerprint, Recipient: r.PublicKey()})
	if err != nil {
		return nil, err
	}
	return r.Open(fingerprint, sealed)
}

// signs checks that a private key is that of a fingerprint.
func signs(t *testing.T, der []byte, fingerprint string) {
	t.Helper()
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		t.Fatal("the fetched key is not PKCS #8")
	}
	signer, err := ssh.NewSignerFromSigner(key.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	if got := ssh.FingerprintSHA256(signer.PublicKey()); got != fingerprint {
		t.Errorf("the fetched key is %s; want %s", got, fingerprint)
	}
	sig, err := signer.Sign(rand.Reader, []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if err := signer.PublicKey().Verify([]byte("text"), sig); err != nil {
		t.Errorf("what the fetched key signs does not verify: %v", err)
	}
}

func TestFetchKey(t *testing.T) {
	s := newSite(t, nil)
	for _, algorithm := range []api.Algorithm{api.Ed25519, api.ECDSA, api.RSA} {
		created, err := s.Admin.CreateUser(t.Context(), api.CreateUserRequest{Name: string(algorithm), KeyAlgorithm: algorithm})
		if err != nil {
			t.Fatal(err)
		}
		user := s.account(created.Token.Token)
		w, workspace := s.newWorkspace(user, "laptop")
		self, err := w.Self(t.Context())
		if err != nil || self.User.ID != user.ID || self.Workspace.ID != workspace.ID {
			t.Errorf("Self = %+v, %v; want the user %s and the workspace %s", self, err, user.ID, workspace.ID)
		}
		keys, err := w.OfferedKeys(t.Context())
		if err != nil || len(keys) != 1 {
			t.Fatalf("OfferedKeys = %+v, %v; want one key", keys, err)
		}
		s.Clock.Advance(time.Second)
		der, err := fetch(t, w, keys[0].Fingerprint)
		if err != nil {
			t.Fatal(err)
		}
		signs(t, der, keys[0].Fingerprint)
		e := s.lastEvent()
		if e.Action != "key.fetch" || e.Actor != "workspace:laptop" || e.ActorID != workspace.ID || e.Target != user.Name+"/default" ||
			string(e.TargetID) != user.ID || e.Remote != "127.0.0.1" || e.Result != keyserver.OK {
			t.Errorf("the audit log ends with %+v; want key.fetch of %s by the workspace", e, user.Name)
		}
		k, err := user.Key(t.Context(), api.Me, api.DefaultKey)
		if err != nil || k.LastFetchedAt == nil || !k.LastFetchedAt.Equal(s.Clock.Now()) || k.LastFetchedBy != workspace.ID {
			t.Errorf("after the fetch the key is %+v, %v; want when and by whom it was fetched", k, err)
		}
	}
}

// The form for scripts is OpenSSH's, and on record as well.
func TestFetchPrivateKey(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	_, w := s.newWorkspace(alice, "laptop")
	status, text, header := s.send("GET", "/api/v2/workspaceagents/me/gitsshkey", "", "", "Coder-Session-Token", w.Token.Token)
	var got api.PrivateKey
	if err := json.Unmarshal([]byte(text), &got); status != 200 || err != nil {
		t.Fatalf("GET gitsshkey of a workspace = %d, %v", status, err)
	}
	if header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control is %q; want no-store", header.Get("Cache-Control"))
	}
	signer, err := ssh.ParsePrivateKey([]byte(got.PrivateKey))
	if err != nil {
		t.Fatal("the private key does not parse")
	}
	if want := keyNamed(t, alice, api.DefaultKey); ssh.FingerprintSHA256(signer.PublicKey()) != want {
		t.Errorf("the private key is %s; want %s", ssh.FingerprintSHA256(signer.PublicKey()), want)
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(got.PublicKey)); err != nil || !bytes.Equal(public.Marshal(), signer.PublicKey().Marshal()) {
		t.Errorf("the public key %q, %v is not that of the private one", got.PublicKey, err)
	}
	if e := s.lastEvent(); e.Action != "key.fetch" || e.Result != keyserver.OK {
		t.Errorf("the audit log ends with %+v; want key.fetch", e)
	}
}

// A key that can't be put on record does not leave, in either form, and neither
// is anything else done without its record.
func TestNothingWithoutRecord(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, workspace := s.newWorkspace(alice, "laptop")
	fingerprint := keyNamed(t, alice, api.DefaultKey)
	for _, broken := range []error{api.ErrUnavailable, errors.New("disk on fire"), context.Canceled} {
		s.Store.set(func(b *brokenStore) { b.record, b.fetch = broken, broken })
		der, err := fetch(t, w, fingerprint)
		wantError(t, "FetchKey", err, api.ErrUnavailable, "the audit log can't be written", "request")
		if der != nil {
			t.Error("FetchKey gave a key all the same")
		}
		for name, tt := range map[string]struct{ method, path, token string }{
			"a private key":     {"GET", "/api/v2/workspaceagents/me/gitsshkey", workspace.Token.Token},
			"a failed login":    {"GET", "/api/v2/users/me", "lk_s_wrong"},
			"a denial":          {"GET", "/api/v2/users", alice.Token},
			"a workspace's try": {"GET", "/api/v2/users/me", workspace.Token.Token},
		} {
			status, text, _ := s.send(tt.method, tt.path, tt.token, "")
			if status != 503 || !bytes.Contains([]byte(text), []byte("the audit log can't be written")) || bytes.Contains([]byte(text), []byte("PRIVATE")) {
				t.Errorf("%s that can't be recorded: %d %s; want 503 and why", name, status, text)
			}
		}
		if bytes.Contains([]byte(s.Log.String()), []byte("PRIVATE KEY")) {
			t.Error("the log holds a private key")
		}
	}
	if !bytes.Contains([]byte(s.Log.String()), []byte("disk on fire")) {
		t.Error("the log does not say why the audit log can't be written")
	}
}

func TestFetchRefused(t *testing.T) {
	s := newSite(t, nil)
	alice, bob := s.newUser("alice", api.RoleUser), s.newUser("bob", api.RoleUser)
	w, _ := s.newWorkspace(alice, "laptop")
	first := keyNamed(t, alice, api.DefaultKey)
	if _, err := alice.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{KeepOldSeconds: 60}); err != nil {
		t.Fatal(err)
	}
	if _, err := fetch(t, w, first); err != nil {
		t.Errorf("fetching a replaced generation in its grace time: %v", err)
	}
	s.Clock.Advance(time.Minute)
	for name, fingerprint := range map[string]string{
		"another user's key": keyNamed(t, bob, api.DefaultKey),
		"no key at all":      "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
		"an expired one":     first,
	} {
		_, err := fetch(t, w, fingerprint)
		wantError(t, "fetching "+name, err, api.ErrNotFound, "list the keys again")
		if e := s.lastEvent(); e.Action != "key.fetch" || e.Result != keyserver.Denied || e.Actor != "workspace:laptop" {
			t.Errorf("after fetching %s the audit log ends with %+v; want a denied key.fetch", name, e)
		}
	}
	recipient := bytes.Repeat([]byte{0}, 32) // of low order: no secret can be shared with it
	for name, in := range map[string]api.FetchKeyRequest{
		"recipient: must be the 32 bytes": {Fingerprint: keyNamed(t, alice, api.DefaultKey), Recipient: recipient[:31]},
		"recipient: is not an X25519":     {Fingerprint: keyNamed(t, alice, api.DefaultKey), Recipient: recipient},
		"fingerprint: must be that":       {Recipient: recipient},
	} {
		_, err := w.FetchKey(t.Context(), in)
		wantError(t, "fetching with a bad field", err, api.ErrInvalid, name)
		if e := s.lastEvent(); e.Result == keyserver.OK {
			t.Errorf("after a fetch that gave nothing the audit log ends with %+v", e)
		}
	}
}
