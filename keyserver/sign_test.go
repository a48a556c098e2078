package keyserver_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func signMode(c *keyserver.Config) { c.KeyMode = api.SignMode }

// Each kind of key signs each kind of what is signed, by each of its algorithms,
// and the audit log says what it was.
func TestSign(t *testing.T) {
	s := newSite(t, signMode)
	git := newHost(t)
	for _, algorithm := range []api.Algorithm{api.Ed25519, api.ECDSA, api.RSA} {
		created, err := s.Admin.CreateUser(t.Context(), api.CreateUserRequest{Name: string(algorithm), KeyAlgorithm: algorithm})
		if err != nil {
			t.Fatal(err)
		}
		user := s.account(created.Token.Token)
		w, workspace := s.newWorkspace(user, "laptop")
		key := publicKey(t, w)
		l := newLogin(key, nil)
		for _, tt := range []struct {
			name  string
			data  []byte
			proof *api.HostProof
			want  string // in the audit log
		}{
			{"login", l.with(nil), nil, `login as "git", host not known; `},
			{"hostbound login", newLogin(key, git.PublicKey()).with(nil), nil, `login as "git", bound to host ` + git.fingerprint()},
			{"login in a proven session", l.with(nil), git.proof(t, l.SessionID), `login as "git", in a session with host ` + git.fingerprint()},
			{"hostbound login in a proven session", newLogin(key, git.PublicKey()).with(nil), git.proof(t, l.SessionID), "bound to host"},
			{"login by a certificate", l.with(func(l *login) {
				cert := git.certify(t, key, ssh.UserCert)
				l.Key, l.Algorithm = cert.Marshal(), cert.Type()
			}), nil, "login as"},
			{"login as somebody with a strange name", l.with(func(l *login) { l.User = "\xff\n\"" }), nil, "login as \"\ufffd\\n\\\"\""},
			{"commit", sshsig("git"), nil, `SSH signature in the namespace "git"; `},
		} {
			if err := sign(t, w, key, tt.data, tt.proof); err != nil {
				t.Errorf("%s, %s: %v; want it signed", algorithm, tt.name, err)
				continue
			}
			e := s.lastEvent()
			if e.Action != "key.sign" || e.Actor != "workspace:laptop" || e.ActorID != workspace.ID || e.Target != user.Name+"/default" || string(e.TargetID) != user.ID ||
				e.Result != keyserver.OK || !strings.Contains(e.Detail, tt.want) || !strings.Contains(e.Detail, ssh.FingerprintSHA256(key)) {
				t.Errorf("%s, %s: the audit log ends with %+v; want a key.sign by the workspace with %q and the key", algorithm, tt.name, e, tt.want)
			}
		}
		testSignAlgorithms(t, w, key)
	}
}

func testSignAlgorithms(t *testing.T, w *api.Client, key ssh.PublicKey) {
	t.Helper()
	good := []string{"", key.Type()}
	if key.Type() == ssh.KeyAlgoRSA {
		good = []string{"", ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512}
	}
	for _, algorithm := range []string{"", ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoRSA, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512, "none"} {
		blob, err := w.Sign(t.Context(), api.SignRequest{Fingerprint: ssh.FingerprintSHA256(key), Data: sshsig("git"), Algorithm: algorithm})
		if !slices.Contains(good, algorithm) {
			wantError(t, "Sign by "+algorithm, err, api.ErrInvalid, "algorithm: must be")
			continue
		}
		var sig ssh.Signature
		if err != nil || ssh.Unmarshal(blob, &sig) != nil || key.Verify(sshsig("git"), &sig) != nil || algorithm != "" && sig.Format != algorithm {
			t.Errorf("Sign by %q with a key of type %s = %+v, %v; want a signature by it", algorithm, key.Type(), sig, err)
		}
	}
}

// What is neither a login by the key nor an SSH signature is not signed, and
// the refusal is on record.
func TestSignRefuses(t *testing.T) {
	s := newSite(t, nil)
	alice, bob := s.newUser("alice", api.RoleUser), s.newUser("bob", api.RoleUser)
	w, _ := s.newWorkspace(alice, "laptop")
	key, git, evil := publicKey(t, w), newHost(t), newHost(t)
	l, bound := newLogin(key, nil), newLogin(key, git.PublicKey())
	const neither = "neither an SSH login nor an SSH signature"
	for name, tt := range map[string]struct {
		data  []byte
		proof *api.HostProof
		want  string
	}{
		"any text":                        {[]byte("what is to be signed"), nil, neither},
		"a certificate":                   {git.certify(t, key, ssh.UserCert).Marshal(), nil, neither},
		"a commit as it is":               {[]byte("tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"), nil, neither},
		"a TLS transcript":                {append(bytes.Repeat([]byte{' '}, 64), "TLS 1.3, client CertificateVerify\x00"...), nil, neither},
		"an exchange hash":                {make([]byte, 32), nil, neither},
		"another message":                 {l.with(func(l *login) { l.Message = 51 }), nil, neither},
		"another service":                 {l.with(func(l *login) { l.Service = "ssh-userauth" }), nil, neither},
		"the hostbased method":            {l.with(func(l *login) { l.Method = "hostbased" }), nil, neither},
		"a login that is not signed":      {l.with(func(l *login) { l.Signed = false }), nil, neither},
		"a login and a byte":              {append(l.with(nil), 0), nil, neither},
		"a login cut short":               {l.with(nil)[:len(l.with(nil))-1], nil, neither},
		"a login by another key":          {newLogin(otherKey(t), nil).with(nil), nil, "by another key"},
		"a login by another certificate":  {newLogin(git.certify(t, otherKey(t), ssh.UserCert), nil).with(nil), nil, "by another key"},
		"a signature and a byte":          {append(sshsig("git"), 0), nil, "malformed SSHSIG"},
		"a signature in no namespace":     {sshsig(""), nil, "without a namespace"},
		"a signature in another":          {sshsig("file"), nil, "in the namespace git only"},
		"a signature for a host":          {sshsig("git"), git.proof(t, l.SessionID), "not made for a host"},
		"a session that is another one's": {l.with(nil), git.proof(t, []byte("another session")), "did not sign the session"},
		"a session of another host":       {bound.with(nil), evil.proof(t, l.SessionID), "but the session is with " + evil.fingerprint()},
		"a forged session": {l.with(nil), &api.HostProof{Key: git.PublicKey().Marshal(), Signature: evil.proof(t, l.SessionID).Signature},
			"did not sign the session"},
		"a session with junk":           {l.with(nil), &api.HostProof{Key: []byte("junk"), Signature: []byte("junk")}, "not one for SSH"},
		"a session with half a proof":   {l.with(nil), &api.HostProof{Key: git.PublicKey().Marshal()}, "signature is malformed"},
		"a session with an empty proof": {l.with(nil), &api.HostProof{}, "not one for SSH"},
	} {
		before := s.lastEvent().Seq
		wantError(t, "signing "+name, sign(t, w, key, tt.data, tt.proof), api.ErrForbidden, tt.want)
		events := s.events(before)
		if len(events) != 1 || events[0].Action != "key.sign" || events[0].Result != keyserver.Denied || events[0].Target != "alice/default" || !strings.Contains(events[0].Detail, tt.want) {
			t.Errorf("signing %s: the audit log got %+v; want one denial of alice/default with %q", name, events, tt.want)
		}
	}

	theirs, _ := s.newWorkspace(bob, "laptop")
	for name, other := range map[string]ssh.PublicKey{"another user's key": publicKey(t, theirs), "no key of this server": otherKey(t)} {
		wantError(t, "signing with "+name, sign(t, w, other, newLogin(other, nil).with(nil), nil), api.ErrNotFound, "list the keys again")
		if e := s.lastEvent(); e.Action != "key.sign" || e.Result != keyserver.Denied {
			t.Errorf("after signing with %s the audit log ends with %+v; want a denied key.sign", name, e)
		}
	}
	for name, in := range map[string]api.SignRequest{
		"fingerprint: must be": {Data: sshsig("git")},
		"data: must have 1":    {Fingerprint: ssh.FingerprintSHA256(key)},
		"data: must have":      {Fingerprint: ssh.FingerprintSHA256(key), Data: make([]byte, 64<<10+1)},
		"host: must have":      {Fingerprint: ssh.FingerprintSHA256(key), Data: l.with(nil), Host: &api.HostProof{Key: make([]byte, 4<<10+1)}},
	} {
		_, err := w.Sign(t.Context(), in)
		wantError(t, "signing with a bad field", err, api.ErrInvalid, name)
	}
}

// In sign mode, whoever has asked for it, no private key leaves in either form;
// the server signs all the same.
func TestSignModeKeepsKeys(t *testing.T) {
	sign1, fetch1 := api.SignMode, api.FetchMode
	for name, tt := range map[string]struct {
		server api.KeyMode
		set    func(t *testing.T, a *account)
		signs  bool
	}{
		"nobody":                  {signs: false},
		"the server":              {server: api.SignMode, signs: true},
		"the server before all":   {server: api.SignMode, signs: true, set: func(t *testing.T, a *account) { setMode(t, a, &fetch1, &fetch1) }},
		"the key":                 {set: func(t *testing.T, a *account) { setMode(t, a, &sign1, &fetch1) }, signs: true},
		"the workspace":           {set: func(t *testing.T, a *account) { setMode(t, a, &fetch1, &sign1) }, signs: true},
		"somebody who regrets it": {set: func(t *testing.T, a *account) { setMode(t, a, &sign1, &sign1); setMode(t, a, &fetch1, &fetch1) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(c *keyserver.Config) { c.KeyMode = tt.server })
			alice := s.newUser("alice", api.RoleUser)
			w, workspace := s.newWorkspace(alice, "laptop")
			if tt.set != nil {
				tt.set(t, alice)
			}
			keys, err := w.OfferedKeys(t.Context())
			if err != nil || len(keys) != 1 || (keys[0].Mode == api.SignMode) != tt.signs {
				t.Fatalf("OfferedKeys = %+v, %v; want one key, sign mode: %t", keys, err, tt.signs)
			}
			_, err = fetch(t, w, keys[0].Fingerprint)
			status, text, _ := s.send("GET", "/api/v2/workspaceagents/me/gitsshkey", workspace.Token.Token, "")
			if tt.signs {
				wantError(t, "FetchKey", err, api.ErrForbidden, "does not leave the server", "has the server sign")
				if e := s.lastEvent(); status != 403 || !strings.Contains(text, "does not leave the server") || e.Action != "key.fetch" || e.Result != keyserver.Denied || e.Target != "alice/default" {
					t.Errorf("GET gitsshkey = %d %s, and the audit log ends with %+v; want a refusal on record", status, text, e)
				}
			} else if err != nil || status != 200 {
				t.Errorf("FetchKey = %v, GET gitsshkey = %d %s; want the key", err, status, text)
			}
			key := publicKey(t, w)
			if err := sign(t, w, key, newLogin(key, nil).with(nil), nil); err != nil {
				t.Errorf("Sign = %v; want a signature in each mode", err)
			}
		})
	}
	if _, err := keyserver.New(t.Context(), keyserver.Config{Store: newStore(t), MasterKey: newMasterKey(t), KeyMode: "none"}); !errors.Is(err, api.ErrInvalid) {
		t.Errorf("New with an unknown key mode = %v; want ErrInvalid", err)
	}
}

// setMode sets the modes of a user's default key and of their workspace.
func setMode(t *testing.T, a *account, key, workspace *api.KeyMode) {
	t.Helper()
	k, err := a.UpdateKey(t.Context(), api.Me, api.DefaultKey, api.UpdateKeyRequest{Mode: key})
	if err != nil {
		t.Fatal(err)
	}
	w, err := a.UpdateWorkspace(t.Context(), api.Me, "laptop", api.UpdateWorkspaceRequest{KeyMode: workspace})
	if err != nil || w.KeyMode != *workspace {
		t.Fatalf("UpdateWorkspace = %+v, %v; want key mode %s", w, err, *workspace)
	}
	if k.Mode != api.Strictest(k.Mode, *key) {
		t.Fatalf("UpdateKey = %+v; want mode %s at least", k, *key)
	}
}
