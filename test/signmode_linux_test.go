package test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/keyserver/api"
)

// In sign mode clone, push and commit signing work with the real programs, while
// the key is never in the daemon's memory: not before, between and after them.
// The audit log has each signature, with its host or namespace.
func TestSignModeKeepsTheKeyOut(t *testing.T) {
	needRoot(t, "it reads the memory of a process that nobody else may look into")
	s, forge := startServer(t, nil, "--key-mode", "sign"), startSSHD(t, nil)
	repo := forge.Repository(t, "app")
	for i, key := range []func(testing.TB) crypto.Signer{ed25519Key, ecdsaKey, rsaKey} {
		user := fmt.Sprint("ada", i)
		k := startKeeper(t, s, user, key(t), program(t, "latchkey"), "agent", "--idle", "24h")
		t.Run(k.public.Type(), func(t *testing.T) {
			clean := func(when string) {
				t.Helper()
				if found := k.look(t); len(found) > 0 {
					t.Errorf("%s, this of the key is in the daemon's memory:\n%s", when, lines(found))
				}
				if n := k.held(t.Context(), t); n != 0 {
					t.Errorf("%s, the daemon holds %d keys; want none", when, n)
				}
			}
			before := len(s.signatures(t, "ok"))
			forge.Authorize(t, string(ssh.MarshalAuthorizedKey(k.public)))
			k.w.Knows(t, forge, "forge")
			clean("before it was asked for anything")
			k.w.Run(t, "git", "clone", "-q", "forge:"+repo, "app")
			clean("after a clone")
			k.commits(t, "app")
			clean("after a signed commit")
			k.w.Run(t, "git", "-C", "app", "push", "-q", "origin", "HEAD:refs/heads/"+user)
			clean("after a push")

			host := fingerprintOf(t, forge.HostKey)
			got := s.signatures(t, "ok")[before:]
			login := api.SignatureFacts{Kind: api.LoginSignature, Key: ssh.FingerprintSHA256(k.public), User: forge.User, Host: host, Bound: true}
			facts := []api.SignatureFacts{login, {Kind: api.FileSignature, Key: login.Key, Namespace: "git"}, login}
			wants := []string{
				"login as \"" + forge.User + "\", bound to host " + host, // of the clone
				`SSH signature in the namespace "git"`,
				"login as \"" + forge.User + "\", bound to host " + host, // of the push
			}
			if len(got) != len(wants) {
				t.Fatalf("the audit log has the signatures\n%+v\nwant %d", got, len(wants))
			}
			for i, e := range got {
				if e.Actor != "workspace:"+user || e.ActorID != k.w.ID || e.Target != user+"/default" || !strings.HasPrefix(e.Detail, wants[i]) || e.Signature == nil || *e.Signature != facts[i] {
					t.Errorf("signature %d is recorded as %+v, %+v; want %s/default by its workspace, %q and %+v", i, e, e.Signature, user, wants[i], facts[i])
				}
			}
		})
	}
	if n := s.fetches(t); n != 0 {
		t.Errorf("%d private keys were fetched; want none", n)
	}
}

// commits makes a commit that is signed through the agent, and has git verify it.
func (k *keeper) commits(t *testing.T, dir string) {
	t.Helper()
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.public)))
	allowed := k.w.Write(t, "allowed_signers", "me@example.com "+line+"\n")
	git := func(args ...string) string {
		t.Helper()
		return k.w.Run(t, "git", append([]string{"-C", dir, "-c", "gpg.format=ssh", "-c", "user.signingkey=key::" + line, "-c", "gpg.ssh.allowedSignersFile=" + allowed}, args...)...)
	}
	git("commit", "-q", "-S", "--allow-empty", "-m", "signed")
	if out := git("log", "-1", "--format=%G? %GS"); strings.TrimSpace(out) != "G me@example.com" {
		t.Errorf("git says of the signature %q; want a good one of me@example.com", out)
	}
}

// What a key's policy does not allow is refused, with a daemon and without, and
// its user sees why.
func TestSignModeRefuses(t *testing.T) {
	s, forge, other := startServer(t, nil, "--key-mode", "sign"), startSSHD(t, nil), startSSHD(t, nil)
	u := s.newUser(t, "ada", nil)
	w := u.newWorkspace(t, "dev", nil)
	forge.Authorize(t, u.publicKey(t))
	other.Authorize(t, u.publicKey(t))
	w.Reaches(t, forge.host("forge"), other.host("other"))
	repo, elsewhere := "forge:"+forge.Repository(t, "app"), "other:"+other.Repository(t, "app")
	_, err := u.UpdateKey(t.Context(), api.Me, api.DefaultKey, api.UpdateKeyRequest{Hosts: &[]api.KeyHost{{Name: "forge", Fingerprint: fingerprintOf(t, forge.HostKey)}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, daemon := range []bool{false, true} {
		if daemon {
			w.StartDaemon(t)
		}
		w.Run(t, "git", "ls-remote", repo)
		if out, err := w.Try(t, "git", "ls-remote", elsewhere); err == nil {
			t.Errorf("daemon %t: the host that the policy does not name let us in:\n%s", daemon, out)
		}
	}
	if got, want := w.Run(t, "latchkey", "status"), "the key logs in to forge only, not to the host with the key "+fingerprintOf(t, other.HostKey); !strings.Contains(got, want) {
		t.Errorf("latchkey status says\n%s\nwant %q", got, want)
	}
	file, key := w.Write(t, "file", "text"), w.Write(t, "key.pub", u.publicKey(t)+"\n")
	if out, err := w.Try(t, "ssh-keygen", "-Y", "sign", "-n", "file", "-f", key, file); err == nil {
		t.Errorf("ssh-keygen signed in a namespace that the key does not have:\n%s", out)
	}
	if err := w.signs(t, u.publicKey(t), []byte("what is to be signed")); err == nil {
		t.Error("any text was signed; want a refusal")
	}
	if n := s.fetches(t); n != 0 {
		t.Errorf("%d private keys were fetched; want none", n)
	}
}

// Whoever has the workspace's token and asks the server without a daemon gets no
// further, and each try is on record.
func TestSignModeRefusesWhoAsksItself(t *testing.T) {
	s := startServer(t, nil, "--key-mode", "sign")
	u := s.newUser(t, "ada", nil)
	w := u.newWorkspace(t, "dev", nil)
	thief := s.client(t, w.Token)
	for data, want := range map[string]string{
		"what is to be signed":                            "neither an SSH login nor an SSH signature",
		"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n": "neither an SSH login nor an SSH signature",
		"SSHSIG\x00\x00\x00\x04file\x00\x00\x00\x00\x00\x00\x00\x06sha256\x00\x00\x00\x20" + strings.Repeat("h", 32): "in the namespace git only",
	} {
		before := len(s.signatures(t, "denied"))
		if _, err := thief.Sign(t.Context(), api.SignRequest{Fingerprint: fingerprintOf(t, u.publicKey(t)), Data: []byte(data)}); !errors.Is(err, api.ErrForbidden) {
			t.Errorf("asked to sign %q, the server said %v; want ErrForbidden", data, err)
		}
		got := s.signatures(t, "denied")[before:]
		if len(got) != 1 || got[0].Actor != "workspace:dev" || got[0].Target != "ada/default" || !strings.Contains(got[0].Detail, want) {
			t.Errorf("after that the audit log has the denials %+v; want one that says %q", got, want)
		}
	}
	if n := len(s.signatures(t, "ok")); n != 0 {
		t.Errorf("the audit log has %d signatures; want none", n)
	}
}

// signs asks the daemon's agent for a signature.
func (w *workspace) signs(t *testing.T, line string, data []byte) error {
	t.Helper()
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := new(net.Dialer).DialContext(context.Background(), "unix", w.AgentSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = agent.NewClient(conn).Sign(public, data)
	return err
}

// signatures are what the audit log has of signatures that ended in a way.
func (s *server) signatures(t testing.TB, result string) (list []api.Event) {
	t.Helper()
	events, err := s.Admin.Audit(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Action == "key.sign" && e.Result == result {
			list = append(list, e)
		}
	}
	return list
}

// fingerprintOf is that of a public key's line.
func fingerprintOf(t testing.TB, line string) string {
	t.Helper()
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	return ssh.FingerprintSHA256(public)
}
