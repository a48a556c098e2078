package keyserver_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// A signature that can't be put on record does not leave.
func TestNoSignatureWithoutRecord(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, _ := s.newWorkspace(alice, "laptop")
	key := publicKey(t, w)
	for _, broken := range []error{api.ErrUnavailable, errors.New("disk on fire"), context.Canceled} {
		s.Store.set(func(b *brokenStore) { b.record, b.fetch = broken, broken })
		for name, data := range map[string][]byte{"a login": newLogin(key, nil).with(nil), "an SSH signature": sshsig("git"), "what is refused": []byte("junk")} {
			wantError(t, "signing "+name, sign(t, w, key, data, nil), api.ErrUnavailable, "the audit log can't be written", "request")
		}
	}
}

// The store records a signature before the answer begins.
func TestSignatureIsRecordedFirst(t *testing.T) {
	late := &lateStore{}
	s := newSite(t, func(c *keyserver.Config) { late.Store, c.Store = c.Store, late })
	alice := s.newUser("alice", api.RoleUser)
	w, workspace := s.newWorkspace(alice, "laptop")
	key := publicKey(t, w)
	body := toJSON(t, api.SignRequest{Fingerprint: ssh.FingerprintSHA256(key), Data: sshsig("git")})
	r := httptest.NewRequest("POST", "/api/v2/workspaceagents/me/sign", strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+workspace.Token.Token)
	answer := &watchedAnswer{ResponseRecorder: httptest.NewRecorder()}
	late.happens = func() {
		if answer.begun {
			t.Error("the answer had begun before the signature was on record")
		}
	}
	s.Server.Handler().ServeHTTP(answer, r)
	if late.happens != nil || answer.Code != 200 {
		t.Errorf("POST sign = %d %s; want it recorded and signed", answer.Code, answer.Body)
	}
}

type watchedAnswer struct {
	*httptest.ResponseRecorder
	begun bool
}

func (a *watchedAnswer) WriteHeader(status int) {
	a.begun = true
	a.ResponseRecorder.WriteHeader(status)
}

func (a *watchedAnswer) Write(b []byte) (int, error) {
	a.begun = true
	return a.ResponseRecorder.Write(b)
}

// What happens between the checks and the record counts.
func TestSignWhileThingsChange(t *testing.T) {
	late := &lateStore{}
	s := newSite(t, func(c *keyserver.Config) { late.Store, c.Store = c.Store, late })
	refuse := true
	for name, tt := range map[string]struct {
		happens func(a *account) error
		want    error
		text    string
	}{
		"the key is rotated": {func(a *account) error {
			_, err := a.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{})
			return err
		}, api.ErrNotFound, "was replaced at the same time"},
		"the policy is changed": {func(a *account) error {
			_, err := a.UpdateKey(t.Context(), api.Me, api.DefaultKey, api.UpdateKeyRequest{RefuseForwarded: &refuse})
			return err
		}, api.ErrConflict, "was changed at the same time"},
		"the workspace is deleted": {func(a *account) error { return a.DeleteWorkspace(t.Context(), api.Me, "laptop") }, api.ErrUnauthenticated, "revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.newUser(strings.ReplaceAll(name, " ", "-"), api.RoleUser)
			w, _ := s.newWorkspace(a, "laptop")
			key := publicKey(t, w)
			late.happens = func() {
				if err := tt.happens(a); err != nil {
					t.Error(err)
				}
			}
			wantError(t, "Sign while "+name, sign(t, w, key, sshsig("git"), nil), tt.want, tt.text)
			if e := s.lastEvent(); e.Result != keyserver.Denied {
				t.Errorf("the audit log ends with %+v; want a denial", e)
			}
		})
	}
}

// A stored key that does not open signs nothing, and that is on record.
func TestSignWithDamagedKey(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, _ := s.newWorkspace(alice, "laptop")
	key := publicKey(t, w)
	s.Store.set(func(b *brokenStore) {
		b.keys = func(keys []keyserver.Key) []keyserver.Key {
			keys[0].Sealed[20] ^= 1
			return keys
		}
	})
	wantError(t, "Sign", sign(t, w, key, sshsig("git"), nil), api.ErrInternal, "does not open")
	if e := s.lastEvent(); e.Action != "key.sign" || e.Result != keyserver.Failed {
		t.Errorf("the audit log ends with %+v; want a failed key.sign", e)
	}
}

// One workspace has a bounded number of RSA signatures under way; who waits is
// answered in the end.
func TestRSAIsBounded(t *testing.T) {
	s := newSite(t, nil)
	created, err := s.Admin.CreateUser(t.Context(), api.CreateUserRequest{Name: "rsa", KeyAlgorithm: api.RSA})
	if err != nil {
		t.Fatal(err)
	}
	user := s.account(created.Token.Token)
	w, workspace := s.newWorkspace(user, "laptop")
	key := publicKey(t, w)
	body := toJSON(t, api.SignRequest{Fingerprint: ssh.FingerprintSHA256(key), Data: sshsig("git")})
	statuses := make(chan int, 200)
	var all sync.WaitGroup
	for range cap(statuses) {
		all.Go(func() {
			r := httptest.NewRequest("POST", "/api/v2/workspaceagents/me/sign", strings.NewReader(body))
			r.RemoteAddr = "127.0.0.1:1"
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+workspace.Token.Token)
			answer := httptest.NewRecorder()
			s.Server.Handler().ServeHTTP(answer, r)
			statuses <- answer.Code
		})
	}
	all.Wait()
	close(statuses)
	count := map[int]int{}
	for status := range statuses {
		count[status]++
	}
	if count[http.StatusOK] < 32 || count[http.StatusTooManyRequests] == 0 || count[http.StatusOK]+count[http.StatusTooManyRequests] != cap(statuses) {
		t.Errorf("%d requests at once were answered %v; want 32 signed at least, and 429 for the rest", cap(statuses), count)
	}
	if err := sign(t, w, key, sshsig("git"), nil); err != nil {
		t.Errorf("after them, Sign = %v; want a signature", err)
	}
}
