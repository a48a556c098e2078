package keyserver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// Each limit lets in what just fits, and refuses one byte or one secret more,
// with the limit and what to do.
func TestSecretLimits(t *testing.T) {
	limits := api.Limits{Secrets: 3, EnvValue: 20, FileValue: 40, EnvTotal: 40, Total: 60, Versions: 2}
	of := func(n int) api.SecretValue { return text(strings.Repeat("x", n)) }
	type secret struct {
		env, file string
		n         int
	}
	for _, tt := range []struct {
		name    string
		have    []secret
		next    func(n int) secret
		fits    int // n that just fits
		refusal []string
	}{
		{"a value in the environment", nil, func(n int) secret { return secret{"E", "", n} }, 20, []string{"value: has 21 bytes; at most 20", "40 bytes"}},
		{"a value in both", nil, func(n int) secret { return secret{"E", "~/f", n} }, 20, []string{"value: has 21 bytes; at most 20"}},
		{"a value in a file", nil, func(n int) secret { return secret{"", "~/f", n} }, 40, []string{"value: has 41 bytes; at most 40"}},
		{"all variables", []secret{{"AA", "", 20}}, func(n int) secret { return secret{"B", "", n} }, 13, []string{"value: the user would have 41 bytes in environment variables", "at most 40 are allowed, and 24 are in use", "put long values into files"}},
		{"all values", []secret{{"", "~/a", 40}}, func(n int) secret { return secret{"", "~/f", n} }, 20, []string{"value: the user would have 61 bytes in all values; at most 60 are allowed, and 40 are in use", "delete a secret"}},
	} {
		s := newSite(t, func(c *keyserver.Config) { c.Limits = limits })
		alice := s.newUser("alice", api.RoleUser)
		create := func(name string, sec secret) error {
			_, err := alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: name, EnvName: sec.env, FilePath: sec.file, SecretValue: of(sec.n)})
			return err
		}
		for i, sec := range tt.have {
			if err := create(fmt.Sprint("have", i), sec); err != nil {
				t.Fatal(err)
			}
		}
		wantError(t, tt.name+", one over", create("s", tt.next(tt.fits+1)), api.ErrInvalid, tt.refusal...)
		for _, n := range []int{tt.fits, tt.fits - 1} {
			if err := create("s", tt.next(n)); err != nil {
				t.Errorf("%s: %d bytes: %v; want it stored", tt.name, n, err)
			}
			// What is counted is what is there: a change is held to the same.
			_, err := alice.UpdateSecret(t.Context(), api.Me, "s", api.UpdateSecretRequest{SecretValue: of(tt.fits + 1)})
			wantError(t, tt.name+", changed to one over", err, api.ErrInvalid, tt.refusal[0][:10])
			if _, err := alice.UpdateSecret(t.Context(), api.Me, "s", api.UpdateSecretRequest{SecretValue: of(tt.fits)}); err != nil {
				t.Errorf("%s: changed to %d bytes: %v", tt.name, tt.fits, err)
			}
			if err := alice.DeleteSecret(t.Context(), api.Me, "s"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestSecretCount(t *testing.T) {
	store := newStore(t)
	s := newSite(t, func(c *keyserver.Config) { c.Store, c.Limits.Secrets = store, 3 })
	alice := s.newUser("alice", api.RoleUser)
	for _, name := range []string{"A", "B", "C"} {
		s.newSecret(alice, name, name, "x")
	}
	_, err := alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "D", EnvName: "D", SecretValue: text("x")})
	wantError(t, "one over", err, api.ErrInvalid, "the user would have 4 secrets; at most 3 are allowed, and 3 are in use", "delete one")
	_, err = alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "C", EnvName: "C", SecretValue: text("x")})
	wantError(t, "one that is there, at the limit", err, api.ErrConflict, "name already in use")
	_, err = alice.ImportSecrets(t.Context(), api.Me, api.ImportSecretsRequest{Format: api.Dotenv, Content: "E=1\nF=2\n"})
	wantError(t, "two over, imported", err, api.ErrInvalid, "the user would have 5 secrets", "line 2, F")

	// Limits that were lowered refuse more, and nothing else.
	lower, err := keyserver.New(t.Context(), keyserver.Config{Store: store, MasterKey: s.Master, Now: s.Clock.Now, Limits: api.Limits{Secrets: 1, EnvTotal: 5, Total: 1, EnvValue: 1, FileValue: 1}})
	if err != nil {
		t.Fatal(err)
	}
	s.serve(lower)
	if _, err := s.account(alice.Token).UpdateSecret(t.Context(), api.Me, "A", api.UpdateSecretRequest{Name: ptr("renamed"), SecretValue: text("y"), Enabled: ptr(false)}); err != nil {
		t.Errorf("changing a secret, with fewer allowed than there are: %v", err)
	}
	_, err = s.account(alice.Token).CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "D", FilePath: "~/d", SecretValue: text("")})
	wantError(t, "one more", err, api.ErrInvalid, "at most 1 are allowed, and 3 are in use")
	if err := s.account(alice.Token).DeleteSecret(t.Context(), api.Me, "B"); err != nil {
		t.Errorf("deleting, with fewer allowed than there are: %v", err)
	}
}

// A conflictingStore counts the changes that came too late.
type conflictingStore struct {
	keyserver.Store
	conflicts atomic.Int64
}

func (s *conflictingStore) ChangeSecrets(ctx context.Context, user keyserver.UserID, revision int64, change keyserver.SecretChange, e keyserver.Event) error {
	err := s.Store.ChangeSecrets(ctx, user, revision, change, e)
	if errors.Is(err, api.ErrConflict) {
		s.conflicts.Add(1)
	}
	return err
}

// However many come at once, the limit is the limit, and none is turned away
// below it.
func TestSecretsAtOnce(t *testing.T) {
	const limit, writers = 20, 30
	store := &conflictingStore{}
	s := newSite(t, func(c *keyserver.Config) { store.Store, c.Store, c.Limits.Secrets = c.Store, store, limit })
	alice := s.newUser("alice", api.RoleUser)
	var made, refused atomic.Int64
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			name := fmt.Sprint("S", i)
			_, err := alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: name, EnvName: name, SecretValue: text("x")})
			switch {
			case err == nil:
				made.Add(1)
			case errors.Is(err, api.ErrInvalid):
				refused.Add(1)
			default:
				t.Errorf("CreateSecret(%s): %v", name, err)
			}
		})
	}
	all.Wait()
	list, err := alice.Secrets(t.Context(), api.Me)
	if err != nil || len(list) != limit || made.Load() != limit || refused.Load() != writers-limit {
		t.Errorf("%d secrets, %v; %d made, %d refused; want %d", len(list), err, made.Load(), refused.Load(), limit)
	}
	if n := store.conflicts.Load(); n > 0 {
		t.Errorf("one server's writers were in each other's way %d times; want them to take turns", n)
	}
}

// Two servers over one store do not overwrite each other: what was checked
// against an older list is checked again.
func TestSecretsOfTwoServers(t *testing.T) {
	late := &lateSecrets{}
	s := newSite(t, func(c *keyserver.Config) { late.Store, c.Store, c.Limits.Secrets = c.Store, late, 2 })
	alice := s.newUser("alice", api.RoleUser)
	other, err := keyserver.New(t.Context(), keyserver.Config{Store: s.Store, MasterKey: s.Master, Now: s.Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := &account{Client: s.clientOf(other, alice.Token)}
	late.happens = func() { s.newSecret(elsewhere, "a", "KEY", "first") }
	_, err = alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "b", EnvName: "KEY", SecretValue: text("x")})
	wantError(t, "the variable that another server has given away", err, api.ErrConflict, "already in use by secret a")
	late.happens = func() { s.newSecret(elsewhere, "c", "C", "second") }
	_, err = alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "b", EnvName: "B", SecretValue: text("x")})
	wantError(t, "the place that another server has given away", err, api.ErrInvalid, "would have 3 secrets")
	late.happens = func() {
		if _, err := elsewhere.UpdateSecret(t.Context(), api.Me, "a", api.UpdateSecretRequest{SecretValue: text("third")}); err != nil {
			t.Error(err)
		}
	}
	got, err := alice.UpdateSecret(t.Context(), api.Me, "a", api.UpdateSecretRequest{SecretValue: api.SecretValue{ValueBase64: []byte("fourth")}})
	if err != nil || got.Version != 3 {
		t.Errorf("a value behind another server's = %+v, %v; want version 3", got, err)
	}
	w, _ := s.newWorkspace(alice, "box")
	if v := values(t, w)["a"]; v != "fourth" {
		t.Errorf("the value is %q; want the one that was stored last", v)
	}
}

// One variable must fit the kernel with its name, whatever the limits are.
func TestKernelLimit(t *testing.T) {
	s := newSite(t, func(c *keyserver.Config) { c.Limits.EnvValue = 131069 })
	alice := s.newUser("alice", api.RoleUser)
	for n, fits := range map[int]bool{131072 - 6: true, 131072 - 5: false} { // ABCD= and the NUL are 6
		name := fmt.Sprint("s", n)
		_, err := alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: name, EnvName: "ABCD", SecretValue: text(strings.Repeat("x", n))})
		if fits && err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		if !fits {
			wantError(t, name, err, api.ErrInvalid, "more than the 131072 that the kernel takes")
		} else if err := alice.DeleteSecret(t.Context(), api.Me, name); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckLimits(t *testing.T) {
	def := keyserver.DefaultLimits()
	if got, err := keyserver.CheckLimits(api.Limits{}); err != nil || got != def {
		t.Errorf("CheckLimits of none = %+v, %v; want the defaults", got, err)
	}
	for want, l := range map[string]api.Limits{
		"-1 secrets": {Secrets: -1}, "1001 secrets": {Secrets: 1001}, "101 versions": {Versions: 101},
		"131070 bytes of a value with": {EnvValue: 131070}, "1048577 bytes of all variables": {EnvTotal: 1<<20 + 1},
		"5242881 bytes of a value in a file": {FileValue: 5<<20 + 1}, "8388609 bytes of all values": {Total: 8<<20 + 1},
	} {
		_, err := keyserver.CheckLimits(l)
		wantError(t, want, err, api.ErrInvalid, "a limit of "+want)
		if _, err := keyserver.New(t.Context(), keyserver.Config{Store: newStore(t), MasterKey: newMasterKey(t), Limits: l}); !errors.Is(err, api.ErrInvalid) {
			t.Errorf("New with %s: %v; want it refused", want, err)
		}
	}
	for _, pattern := range []string{"", "*", "A-B", "A*B"} {
		if _, err := keyserver.New(t.Context(), keyserver.Config{Store: newStore(t), MasterKey: newMasterKey(t), ReservedEnv: []string{pattern}}); !errors.Is(err, api.ErrInvalid) {
			t.Errorf("New with the pattern %q: %v; want it refused", pattern, err)
		}
	}
	s := newSite(t, nil)
	if got, err := s.Admin.Limits(t.Context()); err != nil || got != def {
		t.Errorf("Limits = %+v, %v; want the defaults", got, err)
	}
}

// The body of a request with values may be long enough for the longest, and
// other bodies not.
func TestValueBody(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	_, err := alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "a", FilePath: "~/a", SecretValue: api.SecretValue{ValueBase64: make([]byte, 1<<20)}})
	if err != nil {
		t.Errorf("a value of 1 MiB: %v", err)
	}
	_, err = alice.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "b", FilePath: "~/b", SecretValue: text(strings.Repeat("x", 8<<20))})
	wantError(t, "a body of over 8 MiB", err, api.ErrTooLarge, "the body is over 8192 KiB")
	_, err = alice.CreateToken(t.Context(), api.Me, api.CreateTokenRequest{Description: strings.Repeat("x", 1<<20)})
	wantError(t, "another body of over 1 MiB", err, api.ErrTooLarge, "the body is over 1024 KiB")

	// Nobody makes the server hold a large one without a good token.
	for token, most := range map[string]int{"": 2 << 20, alice.Token + "x": 2 << 20, alice.Token: 9 << 20} {
		body := &countedBody{left: 20 << 20}
		r := httptest.NewRequest("POST", "/api/v2/users/me/secrets", body)
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		s.Server.Handler().ServeHTTP(w, r)
		if body.read > most || token == alice.Token && (w.Code != 413 || body.read < 8<<20) || token != alice.Token && w.Code != 401 {
			t.Errorf("with %d bytes of a token: %d, %d bytes read; want %d at most", len(token), w.Code, body.read, most)
		}
	}
}

// A countedBody is a long body that notes how much of it was read.
type countedBody struct{ left, read int }

func (b *countedBody) Read(p []byte) (int, error) {
	n := min(len(p), b.left)
	if n == 0 {
		return 0, io.EOF
	}
	b.left -= n
	b.read += n
	return n, nil
}
