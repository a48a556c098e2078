package keyserver_test

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// The audit log says in fields whom each signature logs in, and where, or what
// else it is for; also of one that the policy refuses.
func TestSignatureFacts(t *testing.T) {
	s := newSite(t, signMode)
	alice := s.newUser("alice", api.RoleUser)
	w, workspace := s.newWorkspace(alice, "laptop")
	key, named, known, hashed, unknown := publicKey(t, w), newHost(t), newHost(t), newHost(t), newHost(t)
	line := func(hosts string, h host) string {
		return hosts + " " + string(ssh.MarshalAuthorizedKey(h.PublicKey()))
	}
	_, err := s.Admin.AddKnownHosts(t.Context(), api.AddKnownHostsRequest{Content: line("@revoked *", known) + line("!not.example,git.example,192.0.2.7", known) +
		line("other.example", known) + line("another.example", named) + line("|1|"+strings.Repeat("A", 27)+"=|"+strings.Repeat("A", 27)+"=", hashed)})
	if err != nil {
		t.Fatal(err)
	}
	by, l := ssh.FingerprintSHA256(key), newLogin(key, nil)
	to := func(h host, name string, bound bool) api.SignatureFacts {
		return api.SignatureFacts{Kind: api.LoginSignature, Key: by, User: "git", Host: h.fingerprint(), HostName: name, Bound: bound}
	}
	bound := func(h host) []byte { return newLogin(key, h.PublicKey()).with(nil) }
	sees := func(what string, data []byte, proof *api.HostProof, result keyserver.Result, want api.SignatureFacts) {
		t.Helper()
		before := s.lastEvent().Seq
		if err := sign(t, w, key, data, proof); (err == nil) != (result == keyserver.OK) {
			t.Errorf("signing %s: %v; want it %s", what, err, result)
		}
		events, err := s.Admin.Audit(t.Context(), before, 10)
		if err != nil || len(events) != 1 || events[0].Result != string(result) || events[0].ActorID != workspace.ID || events[0].Signature == nil || *events[0].Signature != want {
			t.Errorf("signing %s: the audit log got %+v, %v; want one by the workspace, with %+v", what, events, err, want)
		}
	}
	only := []api.KeyHost{{Name: "forge", Fingerprint: named.fingerprint()}, {Name: "unused", Fingerprint: hashed.fingerprint()}}
	sees("a login", l.with(nil), nil, keyserver.OK, api.SignatureFacts{Kind: api.LoginSignature, Key: by, User: "git"})
	sees("one bound to a known host", bound(known), nil, keyserver.OK, to(known, "git.example", true))
	sees("one in a session with it", l.with(nil), known.proof(t, l.SessionID), keyserver.OK, to(known, "git.example", false))
	sees("one to a hashed host", bound(hashed), nil, keyserver.OK, to(hashed, "", true))
	sees("one to an unknown host", bound(unknown), nil, keyserver.OK, to(unknown, "", true))
	sees("a commit", sshsig("git"), nil, keyserver.OK, api.SignatureFacts{Kind: api.FileSignature, Key: by, Namespace: "git"})
	sees("a file", sshsig("file"), nil, keyserver.Denied, api.SignatureFacts{Kind: api.FileSignature, Key: by, Namespace: "file"})
	if _, err := alice.UpdateKey(t.Context(), api.Me, api.DefaultKey, api.UpdateKeyRequest{Hosts: &only}); err != nil {
		t.Fatal(err)
	}
	sees("one to a host of the policy", bound(named), nil, keyserver.OK, to(named, "forge", true))
	sees("one to a host outside", bound(known), nil, keyserver.Denied, to(known, "git.example", true))
	strange := l.with(func(l *login) { l.User = strings.Repeat("long", 1000) + "\xff" })
	sees("one with a long user", strange, named.proof(t, l.SessionID), keyserver.OK, api.SignatureFacts{
		Kind: api.LoginSignature, Key: by, User: strings.Repeat("long", 20) + "…", Host: named.fingerprint(), HostName: "forge"})

	// What is no signature has none, and what can't be read has no facts.
	wantError(t, "signing junk", sign(t, w, key, []byte("junk"), nil), api.ErrForbidden)
	events, err := s.Admin.Audit(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if (e.Signature != nil) != (e.Action == "key.sign" && !strings.Contains(e.Detail, "neither an SSH login")) {
			t.Errorf("the audit log has %+v with facts %+v", e, e.Signature)
		}
	}
	if n, err := keyserver.VerifyAudit(t.Context(), s.Store); err != nil || n != int64(len(events)) {
		t.Errorf("VerifyAudit = %d, %v; want %d", n, err, len(events))
	}
}
