package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sqlstore"
)

const (
	stormRounds   = 10
	stormCreators = 4
	stormRotators = 4
)

// A stormUser is what a server has acknowledged about one user.
type stormUser struct {
	id, token   string
	generations map[int64]string // fingerprints
}

// A storm is what was acknowledged in all rounds.
type storm struct {
	mu    sync.Mutex
	names []string // in the order in which they were acknowledged
	users map[string]*stormUser
	acks  int
}

// Whatever a server acknowledged is there after kill -9, and nothing is
// half-made: not a user without a key, not a key that does not open, not a
// change without its event.
func TestKillStorm(t *testing.T) {
	s := newSite(t)
	st := &storm{users: map[string]*stormUser{}}
	admin := ""
	for round := range stormRounds {
		r := s.serve(t)
		if round == 0 {
			admin = r.firstToken()
		}
		st.check(t, r.client(admin))
		st.rage(t, r, admin, round)
	}
	r := s.serve(t)
	users := st.check(t, r.client(admin))
	r.stop()
	if len(st.names) < stormRounds {
		t.Fatalf("only %d users were acknowledged in %d rounds: that was no storm", len(st.names), stormRounds)
	}
	t.Logf("%d changes acknowledged, %d users there", st.acks, len(users))
	checkWhole(t, s, users)
	s.must(t, "audit", "verify")
}

// rage makes users and rotates keys until the server is killed, which is after
// some number of acknowledgements, while others are under way.
func (st *storm) rage(t *testing.T, r *running, admin string, round int) {
	kill := sync.OnceFunc(func() { r.cmd.Process.Kill() })
	left := 15 + rand.IntN(30)
	acknowledged := func(note func()) {
		st.mu.Lock()
		defer st.mu.Unlock()
		note()
		st.acks++
		if left--; left == 0 {
			kill()
		}
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	for w := range stormCreators {
		workers.Go(func() {
			c := r.client(admin)
			for i := 0; ; i++ {
				name := fmt.Sprintf("user-%d-%d-%d", round, w, i)
				u, err := c.CreateUser(t.Context(), api.CreateUserRequest{Name: name})
				if st.over(t, err) {
					return
				}
				acknowledged(func() {
					st.names = append(st.names, name)
					st.users[name] = &stormUser{u.ID, u.Token.Token, map[int64]string{}}
				})
			}
		})
	}
	for range stormRotators {
		workers.Go(func() {
			for {
				u := st.some()
				if u == nil { // none yet: ask until there is one, or the server is gone
					if _, err := r.client(admin).User(t.Context(), api.Me); st.over(t, err) {
						return
					}
					continue
				}
				k, err := r.client(u.token).RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{})
				if errors.Is(err, api.ErrConflict) {
					continue // another one was first
				}
				if st.over(t, err) {
					return
				}
				acknowledged(func() {
					if u.generations[k.Generation] != "" {
						t.Errorf("two rotations were both told that theirs is generation %d", k.Generation)
					}
					u.generations[k.Generation] = k.Fingerprint
				})
			}
		})
	}
}

// over reports whether the server is gone.
func (st *storm) over(t *testing.T, err error) bool {
	var answer *api.Error
	if err != nil && (errors.As(err, &answer) || !errors.Is(err, api.ErrUnavailable)) {
		t.Errorf("in the storm: %v; want nothing but a server that is gone", err)
	}
	return err != nil
}

// some is one of the newest users, so that rotations of one key race.
func (st *storm) some() *stormUser {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.names) == 0 {
		return nil
	}
	newest := st.names[max(0, len(st.names)-5):]
	return st.users[newest[rand.IntN(len(newest))]]
}

// check holds what is there against what was acknowledged, and returns all users.
func (st *storm) check(t *testing.T, admin *api.Client) []api.User {
	t.Helper()
	users, err := admin.Users(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]api.User{}
	for _, u := range users {
		there[u.Name] = u
	}
	for _, name := range st.names {
		want := st.users[name]
		if there[name].ID != want.id {
			t.Fatalf("user %s was acknowledged with the ID %s; there is %q", name, want.id, there[name].ID)
		}
		k, err := admin.Key(t.Context(), name, api.DefaultKey)
		if err != nil {
			t.Fatal(err)
		}
		newest := int64(1)
		for g := range want.generations {
			newest = max(newest, g)
		}
		// Each round, what was under way may have been stored as well.
		if k.Generation < newest || k.Generation > newest+stormRounds*stormRotators {
			t.Errorf("user %s: the key has generation %d; %d was acknowledged", name, k.Generation, newest)
		}
		if f := want.generations[k.Generation]; f != "" && f != k.Fingerprint {
			t.Errorf("user %s: generation %d is %s; acknowledged was %s", name, k.Generation, k.Fingerprint, f)
		}
	}
	return users
}

// checkWhole checks each user, acknowledged or not, with the store itself: one
// key, which opens, and events that tell of all that there is.
func checkWhole(t *testing.T, s *site, users []api.User) {
	t.Helper()
	store, err := sqlstore.Open(t.Context(), s.data("latchkey.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	key, err := keyserver.LoadMasterKey(s.data("master.key"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := keyserver.New(t.Context(), keyserver.Config{Store: store, MasterKey: key})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server.Handler())
	defer web.Close()
	created, rotated := map[string]int64{}, map[string]int64{}
	for after := int64(0); ; {
		events, err := store.Events(t.Context(), after, 500)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			after = e.Seq
			switch {
			case e.Result != keyserver.OK:
			case e.Action == "user.create":
				created[string(e.TargetID)]++
			case e.Action == "key.rotate":
				rotated[string(e.TargetID)]++
			}
		}
	}
	if len(created) != len(users) {
		t.Errorf("the audit log tells of %d users; there are %d", len(created), len(users))
	}
	for _, u := range users {
		generation := fetchable(t, server, web.URL, u.Name)
		if created[u.ID] != 1 || rotated[u.ID] != generation-1 {
			t.Errorf("user %s has a key of generation %d; the audit log tells of %d creations and %d rotations", u.Name, generation, created[u.ID], rotated[u.ID])
		}
	}
}

// fetchable fetches a user's private key as a workspace does, checks that it is
// the one of the public key, and returns its generation.
func fetchable(t *testing.T, server *keyserver.Server, url, name string) int64 {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	session, err := server.IssueToken(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	client := func(token string) *api.Client {
		c, err := api.NewClient(url, nil, func() string { return token })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	w, err := client(session).CreateWorkspace(ctx, api.Me, api.CreateWorkspaceRequest{Name: "check"})
	if err != nil {
		t.Fatal(err)
	}
	workspace := client(w.Token.Token)
	keys, err := workspace.OfferedKeys(ctx)
	if err != nil || len(keys) != 1 {
		t.Fatalf("user %s has %d keys, %v; want one", name, len(keys), err)
	}
	recipient, err := api.NewRecipient()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := workspace.FetchKey(ctx, api.FetchKeyRequest{Fingerprint: keys[0].Fingerprint, Recipient: recipient.PublicKey()})
	if err != nil {
		t.Fatalf("fetching the key of user %s: %v", name, err)
	}
	der, err := recipient.Open(keys[0].Fingerprint, sealed)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if got := ssh.FingerprintSHA256(signer.PublicKey()); got != keys[0].Fingerprint {
		t.Errorf("the private key of user %s is %s; the public one is %s", name, got, keys[0].Fingerprint)
	}
	return keys[0].Generation
}
