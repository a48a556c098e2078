package keyserver_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// The policy matrix: what is signed under which policy.
func TestSignPolicy(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, _ := s.newWorkspace(alice, "laptop")
	key, git, other := publicKey(t, w), newHost(t), newHost(t)
	plain := newLogin(key, nil)
	uses := map[string]struct {
		data  []byte
		proof *api.HostProof
	}{
		"login":              {plain.with(nil), nil},
		"login proven git":   {plain.with(nil), git.proof(t, plain.SessionID)},
		"login proven other": {plain.with(nil), other.proof(t, plain.SessionID)},
		"login bound git":    {newLogin(key, git.PublicKey()).with(nil), nil},
		"login bound other":  {newLogin(key, other.PublicKey()).with(nil), nil},
		"login bound to a certificate of git": {newLogin(key, git.PublicKey()).with(func(l *login) {
			l.HostKey = other.certify(t, git.PublicKey(), ssh.HostCert).Marshal()
		}), nil},
		"signature git":  {sshsig("git"), nil},
		"signature file": {sshsig("file"), nil},
	}
	logins := []string{"login", "login proven git", "login proven other", "login bound git", "login bound other", "login bound to a certificate of git"}
	toGit := []string{"login proven git", "login bound git", "login bound to a certificate of git"}
	no, yes, hour := false, true, int64(3600)
	for _, tt := range []struct {
		name  string
		set   api.UpdateKeyRequest
		later time.Duration
		signs []string
	}{
		{"nothing set", api.UpdateKeyRequest{RefuseForwarded: &no}, 0, append([]string{"signature git"}, logins...)},
		{"named hosts", api.UpdateKeyRequest{Hosts: &[]api.KeyHost{{Name: "git", Fingerprint: git.fingerprint()}}}, 0, append([]string{"signature git"}, toGit...)},
		{"other namespaces", api.UpdateKeyRequest{Namespaces: &[]string{"file", "mail"}}, 0, append([]string{"signature file"}, toGit...)},
		{"any namespace", api.UpdateKeyRequest{Namespaces: &[]string{"*"}}, 0, append([]string{"signature git", "signature file"}, toGit...)},
		{"no forwarding, which only the daemon sees", api.UpdateKeyRequest{RefuseForwarded: &yes}, 0, append([]string{"signature git", "signature file"}, toGit...)},
		{"an hour, within it", api.UpdateKeyRequest{UsableSeconds: &hour}, 59 * time.Minute, append([]string{"signature git", "signature file"}, toGit...)},
		{"an hour, after it", api.UpdateKeyRequest{RefuseForwarded: &no}, time.Minute, nil},
		{"all of it taken back", api.UpdateKeyRequest{UsableSeconds: new(int64), Hosts: &[]api.KeyHost{}, Namespaces: &[]string{}}, 0, append([]string{"signature git"}, logins...)},
	} {
		if _, err := alice.UpdateKey(t.Context(), api.Me, api.DefaultKey, tt.set); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if e := s.lastEvent(); e.Action != "key.update" || e.Target != "alice/default" || !strings.Contains(e.Detail, "mode fetch") {
			t.Errorf("%s: the audit log ends with %+v; want key.update", tt.name, e)
		}
		s.Clock.Advance(tt.later)
		for name, use := range uses {
			err := sign(t, w, key, use.data, use.proof)
			if want := slices.Contains(tt.signs, name); want != (err == nil) {
				t.Errorf("%s: signing %s = %v; want signed: %t", tt.name, name, err, want)
			}
			if err != nil {
				wantError(t, tt.name+": signing "+name, err, api.ErrForbidden)
				if e := s.lastEvent(); e.Result != keyserver.Denied || !strings.Contains(e.Detail, "the key ") {
					t.Errorf("%s: signing %s: the audit log ends with %+v; want the denial, and what it was", tt.name, name, e)
				}
			}
		}
		// One whose time is over is listed too, so that the workspace can say why it does not serve.
		keys, err := w.OfferedKeys(t.Context())
		if err != nil || len(keys) != 1 || (keys[0].Policy.Shows(api.KeyUse{}, s.Clock.Now()) == nil) != (tt.signs != nil) {
			t.Errorf("%s: the workspace is listed %+v, %v", tt.name, keys, err)
		}
		if der, err := fetch(t, w, ssh.FingerprintSHA256(key)); (err == nil) != (tt.signs != nil) {
			t.Errorf("%s: fetching the key: %d bytes, %v", tt.name, len(der), err)
		}
		if k, err := alice.Key(t.Context(), api.Me, api.DefaultKey); err != nil || len(k.Policy.Namespaces) == 0 || k.Policy.Hosts == nil {
			t.Errorf("%s: the user sees %+v, %v; want the key with its policy", tt.name, k, err)
		}
	}
}

func TestUpdateKeyRefuses(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	good := newHost(t).fingerprint()
	for body, want := range map[string]string{
		`{}`:                             "there is nothing to change",
		`{"mode":"none"}`:                "mode: must be fetch or sign",
		`{"usable_seconds":-1}`:          "usable_seconds: must be 0 to",
		`{"usable_seconds":99999999999}`: "usable_seconds: must be 0 to",
		`{"namespaces":["git",""]}`:      "namespaces[1]: must have",
		`{"namespaces":["git","git"]}`:   "namespaces[1]: is there twice",
		`{"namespaces":["a b"]}`:         "namespaces[0]: must be one word",
		`{"hosts":[{"name":"","fingerprint":"` + good + `"}]}`:                                               "hosts[0].name: must have",
		`{"hosts":[{"name":"a b","fingerprint":"` + good + `"}]}`:                                            "hosts[0].name: must be one word",
		`{"hosts":[{"name":"a","fingerprint":"MD5:aa"}]}`:                                                    "hosts[0].fingerprint: must be",
		`{"hosts":[{"name":"a","fingerprint":"` + good + `="}]}`:                                             "hosts[0].fingerprint: must be",
		`{"hosts":[{"name":"a","fingerprint":"` + good + `"},{"name":"b","fingerprint":"` + good + `"}]}`:    "hosts[1].fingerprint: is there twice",
		`{"namespaces":[` + strings.TrimSuffix(strings.Repeat(`"x",`, 51), ",") + `]}`:                       "namespaces: has 51",
		`{"hosts":[` + strings.TrimSuffix(strings.Repeat(`{"name":"x","fingerprint":""},`, 201), ",") + `]}`: "hosts: has 201",
	} {
		status, text, _ := s.send("PATCH", "/api/v2/users/me/keys/default", alice.Token, body)
		var e api.Error
		if err := json.Unmarshal([]byte(text), &e); err != nil || status != 400 || !strings.Contains(e.Error(), want) {
			t.Errorf("PATCH %.80s = %d %s; want 400 and %q", body, status, text, want)
		}
	}
	if status, text, _ := s.send("PATCH", "/api/v2/users/me/keys/none", alice.Token, `{"mode":"sign"}`); status != 404 {
		t.Errorf("PATCH of no key = %d %s; want 404", status, text)
	}
}

// A rotation keeps what the key is set to.
func TestRotationKeepsSettings(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	mode := api.SignMode
	set, err := alice.UpdateKey(t.Context(), api.Me, api.DefaultKey, api.UpdateKeyRequest{Mode: &mode, Hosts: &[]api.KeyHost{{Name: "git", Fingerprint: newHost(t).fingerprint()}}})
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := alice.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{KeepOldSeconds: 60})
	if err != nil || rotated.Mode != api.SignMode || fmt.Sprint(rotated.Policy) != fmt.Sprint(set.Policy) {
		t.Errorf("RotateKey = %+v, %v; want mode and policy of %+v", rotated, err, set)
	}
	keys, err := alice.Keys(t.Context(), api.Me)
	for _, k := range keys {
		if k.Mode != api.SignMode || fmt.Sprint(k.Policy) != fmt.Sprint(set.Policy) {
			t.Errorf("after it, Keys has %+v; want mode and policy of %+v", k, set)
		}
	}
	if len(keys) != 2 || err != nil {
		t.Errorf("Keys = %d keys, %v; want both generations", len(keys), err)
	}
}
