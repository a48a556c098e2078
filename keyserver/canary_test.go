package keyserver_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// A private key and the tokens of a user are followed through all that the
// server does with them, also where it fails: they are in no log, no error, no
// answer but the one that is asked for them, and not in the store.
func TestCanaries(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, workspace := s.newWorkspace(alice, "laptop")
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := openSSHPEM(t, key)
	const passphrase = "correct horse battery"
	canaries := map[string][]byte{
		"seed":            key.Seed(),
		"seed in hex":     []byte(hex.EncodeToString(key.Seed())),
		"PEM":             []byte(strings.Split(text, "\n")[2]),
		"session token":   []byte(alice.Token),
		"workspace token": []byte(workspace.Token.Token),
		"passphrase":      []byte(passphrase),
	}
	for i := range 3 { // base64 at any offset
		canaries[fmt.Sprint("seed in base64 at ", i)] = []byte(base64.StdEncoding.EncodeToString(append(make([]byte, i), key.Seed()...)))[4:40]
	}

	var said bytes.Buffer // all answers and errors
	tell := func(v any, err error) {
		e, _ := err.(*api.Error)
		fmt.Fprintf(&said, "%+v %v %+v\n", v, err, e)
	}
	send := func(method, path, token, body string) {
		_, text, header := s.send(method, path, token, body)
		fmt.Fprintln(&said, text, header)
	}
	k, err := alice.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{PrivateKey: text, KeepOldSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	tell(k, err)
	for _, broken := range []error{nil, fmt.Errorf("disk on fire: %w", api.ErrUnavailable)} {
		s.Store.set(func(b *brokenStore) { b.record, b.fetch = broken, broken })
		for _, in := range []api.CreateKeyRequest{
			{Name: "again", PrivateKey: text},
			{Name: "locked", PrivateKey: text, Passphrase: passphrase},
			{Name: text, PrivateKey: "x", Passphrase: text},
			{Name: "cut", PrivateKey: text[:len(text)-80]},
			{Name: "kind", PrivateKey: strings.Replace(text, "OPENSSH PRIVATE KEY", "PRIVATE KEY", 2)},
			{Name: "rsa", PrivateKey: strings.Replace(text, "OPENSSH", "RSA", 2)},
			{Name: alice.Token, Algorithm: api.Algorithm(text)},
		} {
			got, err := alice.CreateKey(t.Context(), api.Me, in)
			tell(got, err)
		}
		send("POST", "/api/v2/users/me/keys", alice.Token, toJSON(t, text))
		send("POST", "/api/v2/users/me/keys", alice.Token, `{"name":`+toJSON(t, text))
		send("POST", "/api/v2/users/me/keys", alice.Token, `{"private_key":{"x":`+toJSON(t, text)+`}}`)
		send("GET", "/api/v2/users/"+alice.Token, alice.Token, "")
		send("GET", "/api/v2/users/me/keys/"+alice.Token, alice.Token, "")
		send("DELETE", "/api/v2/users/me/tokens/"+alice.Token, alice.Token, "")
		send("GET", "/api/v2/"+alice.Token, alice.Token, "")
		send("GET", "/api/v2/users/me?token="+alice.Token, alice.Token, "")
		send("GET", "/api/v2/users/me", alice.Token+"x", "")
		send("GET", "/api/v2/users", alice.Token, "")
		send("GET", "/api/v2/users/me", workspace.Token.Token, "")
		tell(fetch(t, w, keyNamed(t, s.Admin, api.DefaultKey)))
		r, err := api.NewRecipient()
		if err != nil {
			t.Fatal(err)
		}
		tell(w.FetchKey(t.Context(), api.FetchKeyRequest{Fingerprint: k.Fingerprint, Recipient: r.PublicKey()}))
		tell(w.OfferedKeys(t.Context()))
		tell(alice.Keys(t.Context(), api.Me))
		tell(alice.Tokens(t.Context(), api.Me))
		tell(alice.WorkspaceTokens(t.Context(), api.Me, "laptop"))
		tell(s.Admin.User(t.Context(), "alice"))
	}
	s.Store.set(func(b *brokenStore) { b.record, b.fetch = nil, nil })
	tell(s.Admin.Audit(t.Context(), 0, 1000))

	// Base64 is broken into lines, in JSON as well.
	unbroken := func(b []byte) []byte {
		return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\n"), nil), []byte(`\n`), nil)
	}
	for name, found := range map[string][]byte{
		"the answers and errors": said.Bytes(),
		"the log":                []byte(s.Log.String()),
		"the store":              s.records(),
	} {
		for canary, b := range canaries {
			if at := bytes.Index(unbroken(found), b); at >= 0 {
				t.Errorf("%s hold the %s, behind %q", name, canary, unbroken(found)[max(0, at-100):at])
			}
		}
	}

	// They are found where they are.
	_, answer, _ := s.send("GET", "/api/v2/workspaceagents/me/gitsshkey", workspace.Token.Token, "")
	found := false
	for _, b := range canaries {
		found = found || bytes.Contains(unbroken([]byte(answer)), b)
	}
	if !found {
		t.Error("the one answer that holds the key does not, for this test")
	}
}

// records is all that the store holds, as text.
func (s *site) records() []byte {
	s.Helper()
	var all bytes.Buffer
	write := func(records ...any) {
		for _, r := range records {
			fmt.Fprintf(&all, "%s\n", r)
		}
	}
	users, err := s.Store.Users(s.Context(), "", 1000)
	if err != nil {
		s.Fatal(err)
	}
	for _, u := range users {
		keys, err1 := s.Store.Keys(s.Context(), u.ID)
		tokens, err2 := s.Store.Tokens(s.Context(), u.ID, "")
		workspaces, err3 := s.Store.Workspaces(s.Context(), u.ID)
		for _, err := range []error{err1, err2, err3} {
			if err != nil {
				s.Fatal(err)
			}
		}
		write(u, keys, tokens, workspaces)
		for _, w := range workspaces {
			tokens, err := s.Store.Tokens(s.Context(), u.ID, w.ID)
			if err != nil {
				s.Fatal(err)
			}
			write(tokens)
		}
	}
	for _, e := range s.events(0) {
		write(e)
	}
	return all.Bytes()
}

var _ keyserver.Store = (*brokenStore)(nil)
