package keyserver_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// A user is made with a key of the algorithm asked for, else of the server's.
func TestKeyOfNewUser(t *testing.T) {
	s := newSite(t, func(c *keyserver.Config) { c.KeyAlgorithm = api.ECDSA })
	for name, algorithm := range map[string]api.Algorithm{"plain": "", "edward": api.Ed25519, "curtis": api.ECDSA, "ron": api.RSA} {
		created, err := s.Admin.CreateUser(t.Context(), api.CreateUserRequest{Name: name, KeyAlgorithm: algorithm})
		if err != nil {
			t.Fatal(err)
		}
		k, err := s.client(created.Token.Token).Key(t.Context(), api.Me, api.DefaultKey)
		if err != nil {
			t.Fatal(err)
		}
		want := map[api.Algorithm]string{"": ssh.KeyAlgoECDSA256, api.Ed25519: ssh.KeyAlgoED25519, api.ECDSA: ssh.KeyAlgoECDSA256, api.RSA: ssh.KeyAlgoRSA}[algorithm]
		public, comment, _, rest, err := ssh.ParseAuthorizedKey([]byte(k.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		if public.Type() != want || comment != "latchkey:"+name || len(rest) != 0 {
			t.Errorf("the key of %s is %s %q, with %d bytes behind it; want %s %q", name, public.Type(), comment, len(rest), want, "latchkey:"+name)
		}
		if line := string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(public))) + " latchkey:" + name; k.PublicKey != line {
			t.Errorf("the public key of %s is %q; want %q", name, k.PublicKey, line)
		}
		if k.Fingerprint != ssh.FingerprintSHA256(public) || k.Generation != 1 || k.Imported || k.ExpiresAt != nil || k.UserID != created.ID {
			t.Errorf("the key of %s is %+v; want generation 1, made here, with the fingerprint %s", name, k, ssh.FingerprintSHA256(public))
		}
	}
}

func TestKeys(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	work, err := alice.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "work", Algorithm: api.ECDSA})
	if err != nil {
		t.Fatal(err)
	}
	if work.Name != "work" || work.Algorithm != api.ECDSA || work.Generation != 1 {
		t.Errorf("CreateKey made %+v; want work, ecdsa-p256, generation 1", work)
	}
	if _, comment, _, _, _ := ssh.ParseAuthorizedKey([]byte(work.PublicKey)); comment != "latchkey:alice/work" {
		t.Errorf("the comment of the key work is %q; want latchkey:alice/work", comment)
	}
	if e := s.lastEvent(); e.Action != "key.create" || e.Target != "alice/work" || e.Actor != "user:alice" || string(e.TargetID) != alice.ID {
		t.Errorf("the audit log ends with %+v; want key.create of alice/work by alice", e)
	}
	_, err = alice.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "work"})
	wantError(t, "CreateKey of a name that is taken", err, api.ErrConflict, "name: is taken")
	_, err = alice.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "a/b", Algorithm: "dsa", Passphrase: "x"})
	wantError(t, "CreateKey with three problems", err, api.ErrInvalid, "name: ", "algorithm: ", "passphrase: ")
	_, err = alice.Key(t.Context(), api.Me, "none")
	wantError(t, "Key that is not there", err, api.ErrNotFound, "alice has no key none")
	wantError(t, "DeleteKey of the default key", alice.DeleteKey(t.Context(), api.Me, api.DefaultKey), api.ErrConflict, "rotate it instead")
	wantError(t, "DeleteKey that is not there", alice.DeleteKey(t.Context(), api.Me, "none"), api.ErrNotFound)
	if err := alice.DeleteKey(t.Context(), api.Me, "work"); err != nil {
		t.Fatal(err)
	}
	if e := s.lastEvent(); e.Action != "key.delete" || e.Target != "alice/work" {
		t.Errorf("the audit log ends with %+v; want key.delete of alice/work", e)
	}
	keys, err := s.Admin.Keys(t.Context(), "alice")
	if err != nil || len(keys) != 1 || keys[0].Name != api.DefaultKey {
		t.Errorf("Keys after the deletion, as an admin: %+v, %v; want the default key", keys, err)
	}
}

func TestRotateKey(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	first, err := alice.Key(t.Context(), api.Me, api.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	s.Clock.Advance(time.Hour)
	second, err := alice.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{Generation: 1, Algorithm: api.ECDSA, KeepOldSeconds: 3600})
	if err != nil {
		t.Fatal(err)
	}
	if second.Generation != 2 || second.Fingerprint == first.Fingerprint || second.Algorithm != api.ECDSA ||
		!second.CreatedAt.Equal(first.CreatedAt) || !second.UpdatedAt.Equal(s.Clock.Now()) {
		t.Errorf("RotateKey gave %+v; want generation 2 with a new key, made first at %v", second, first.CreatedAt)
	}
	offered := func() (fingerprints []string) {
		keys, err := alice.Keys(t.Context(), api.Me)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			fingerprints = append(fingerprints, k.Fingerprint)
		}
		return fingerprints
	}
	if _, err := alice.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	keys, err := alice.Keys(t.Context(), api.Me)
	if err != nil || len(keys) != 3 || keys[0].Fingerprint != second.Fingerprint || keys[1].Name != "a" || keys[2].Fingerprint != first.Fingerprint {
		t.Fatalf("Keys = %+v, %v; want the default key, then a, then the replaced one", keys, err)
	}
	if keys[2].ExpiresAt == nil || !keys[2].ExpiresAt.Equal(s.Clock.Now().Add(time.Hour)) {
		t.Errorf("the replaced generation expires at %v; want in an hour", keys[2].ExpiresAt)
	}
	s.Clock.Advance(time.Hour)
	if got := offered(); len(got) != 2 {
		t.Errorf("after the grace time %q are offered; want the two current keys", got)
	}
	third, err := alice.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{})
	if err != nil || third.Generation != 3 || third.Algorithm != api.ECDSA {
		t.Errorf("RotateKey without wishes = %+v, %v; want generation 3 of the same algorithm", third, err)
	}
	if got := offered(); len(got) != 2 || got[0] != third.Fingerprint {
		t.Errorf("after a rotation without a grace time %q are offered; want the new key and a", got)
	}
	_, err = alice.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{Generation: 1})
	wantError(t, "RotateKey of generation 1", err, api.ErrConflict, "its generation is 3, not 1", "generation: ")
	_, err = alice.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{Generation: -1, Algorithm: "dsa", KeepOldSeconds: 31 * 24 * 3600})
	wantError(t, "RotateKey with three problems", err, api.ErrInvalid, "generation: ", "algorithm: ", "keep_old_seconds: ")
	_, err = alice.RotateKey(t.Context(), api.Me, "none", api.RotateKeyRequest{})
	wantError(t, "RotateKey of none", err, api.ErrNotFound)
}

// The documented addresses of the one key do what those of the key "default" do.
func TestGitSSHKey(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	k, err := alice.Key(t.Context(), api.Me, api.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	status, text, _ := s.send("GET", "/api/v2/users/me/gitsshkey", alice.Token, "")
	if status != 200 || text != toJSON(t, k)+"\n" {
		t.Errorf("GET gitsshkey = %d %s; want the default key", status, text)
	}
	status, text, _ = s.send("PUT", "/api/v2/users/alice/gitsshkey", alice.Token, "")
	next, err := alice.Key(t.Context(), api.Me, api.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	if status != 200 || text != toJSON(t, next)+"\n" || next.Generation != 2 {
		t.Errorf("PUT gitsshkey = %d %s; want generation 2 of the default key, %+v", status, text, next)
	}
}

// Of rotations that race, whether they name the generation or not, one wins and
// the others are told.
func TestRotationsRace(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	for _, generation := range []int64{1, 0} {
		// All have read the current generation before one of them stores the next.
		const racers = 4
		var arrived sync.WaitGroup
		arrived.Add(racers)
		s.Store.set(func(b *brokenStore) {
			b.keys = func(keys []keyserver.Key) []keyserver.Key {
				arrived.Done()
				arrived.Wait()
				return keys
			}
		})
		errs := make([]error, racers)
		var done sync.WaitGroup
		for i := range racers {
			done.Go(func() {
				_, errs[i] = alice.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{Generation: generation})
			})
		}
		done.Wait()
		s.Store.set(func(b *brokenStore) { b.keys = nil })
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else {
				wantError(t, "a rotation that lost", err, api.ErrConflict, "rotated already")
			}
		}
		if won != 1 {
			t.Errorf("of %d rotations that race %d won: %v; want 1", racers, won, errs)
		}
	}
	k, err := alice.Key(t.Context(), api.Me, api.DefaultKey)
	if err != nil || k.Generation != 3 {
		t.Errorf("after two races the generation is %d, %v; want 3", k.Generation, err)
	}
}

// Nobody has so many keys that ssh would never come to the last.
func TestKeysBounded(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	for i := range 99 {
		if _, err := alice.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: fmt.Sprint("k", i)}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := alice.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "more"})
	wantError(t, "key 101", err, api.ErrConflict, "100 keys")
}

// A sealed key that is put into the place of another, of the same user or not,
// does not open, and that is on record.
func TestSealedKeysCannotBeSwapped(t *testing.T) {
	s := newSite(t, nil)
	alice, bob := s.newUser("alice", api.RoleUser), s.newUser("bob", api.RoleUser)
	w, _ := s.newWorkspace(alice, "laptop")
	if _, err := alice.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "work"}); err != nil {
		t.Fatal(err)
	}
	old, err := alice.Key(t.Context(), api.Me, api.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{KeepOldSeconds: 60}); err != nil {
		t.Fatal(err)
	}
	k, err := alice.Key(t.Context(), api.Me, api.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	sealed := map[string][]byte{}
	for _, of := range []*account{alice, bob} {
		keys, err := s.Store.Keys(t.Context(), keyserver.UserID(of.ID))
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			sealed[k.Fingerprint] = k.Sealed
		}
	}
	for fingerprint, of := range map[string]string{
		keyNamed(t, bob, api.DefaultKey): "of another user",
		old.Fingerprint:                  "of an older generation",
		keyNamed(t, alice, "work"):       "of another name",
	} {
		s.Store.set(func(b *brokenStore) {
			b.keys = func(keys []keyserver.Key) []keyserver.Key {
				for i := range keys {
					if keys[i].Fingerprint == k.Fingerprint {
						keys[i].Sealed = bytes.Clone(sealed[fingerprint])
					}
				}
				return keys
			}
		})
		_, err := fetch(t, w, k.Fingerprint)
		wantError(t, "fetching a key in whose place is one "+of, err, api.ErrInternal, "does not open")
		if e := s.lastEvent(); e.Action != "key.fetch" || e.Result != keyserver.Failed {
			t.Errorf("the audit log ends with %+v; want a failed fetch", e)
		}
	}
	// So is another user's data key.
	s.Store.set(func(b *brokenStore) {
		b.keys = nil
		b.user = func(u keyserver.User) keyserver.User {
			if u.Name == "alice" {
				other, err := s.Store.Store.User(t.Context(), keyserver.UserID(bob.ID))
				if err != nil {
					t.Error(err)
				}
				u.DataKey = other.DataKey
			}
			return u
		}
	})
	_, err = fetch(t, w, k.Fingerprint)
	wantError(t, "fetching a key with another user's data key", err, api.ErrInternal, "does not open")
	s.Store.set(func(b *brokenStore) { b.user = nil })
	if _, err := fetch(t, w, k.Fingerprint); err != nil {
		t.Errorf("fetching the key when all is in its place again: %v", err)
	}
}

func keyNamed(t *testing.T, a *account, name string) (fingerprint string) {
	t.Helper()
	k, err := a.Key(t.Context(), api.Me, name)
	if err != nil {
		t.Fatal(err)
	}
	return k.Fingerprint
}

// Deleting a user leaves nothing that could be opened.
func TestDeleteUserShreds(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, _ := s.newWorkspace(alice, "laptop")
	if err := s.Admin.DeleteUser(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if u, err := s.Store.Store.User(t.Context(), keyserver.UserID(alice.ID)); !errors.Is(err, api.ErrNotFound) || len(u.DataKey) != 0 {
		t.Errorf("after DeleteUser the store has the user with a data key of %d bytes, %v", len(u.DataKey), err)
	}
	if keys, err := s.Store.Store.Keys(t.Context(), keyserver.UserID(alice.ID)); len(keys) != 0 {
		t.Errorf("after DeleteUser the store has %d of their keys, %v", len(keys), err)
	}
	_, err := w.OfferedKeys(t.Context())
	wantError(t, "the workspace of a deleted user", err, api.ErrUnauthenticated)
	_, err = s.Admin.User(t.Context(), "alice")
	wantError(t, "User who was deleted", err, api.ErrNotFound, "alice")
	wantError(t, "DeleteUser again", s.Admin.DeleteUser(t.Context(), "alice"), api.ErrNotFound, "alice")
}
