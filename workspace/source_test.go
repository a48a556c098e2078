package workspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
)

func mustKeys(t *testing.T, s *Source) []sshagent.Key {
	t.Helper()
	keys, err := s.Keys(t.Context())
	if err != nil {
		t.Fatalf("Keys: %v", err)
	}
	return keys
}

func TestKeysKeepTheServersOrder(t *testing.T) {
	server := &testServer{keys: []testKey{newEd25519(t), newEd25519(t), newEd25519(t)}}
	keys := mustKeys(t, newSource(server, nil))
	if len(keys) != 3 {
		t.Fatalf("there are %d keys; want the server's 3", len(keys))
	}
	for i, k := range keys {
		if !samePublic(k.Public, server.keys[i].public) || k.Comment != "alice@latchkey ed25519" {
			t.Errorf("key %d is %s %q; want %s with the server's comment", i, ssh.FingerprintSHA256(k.Public), k.Comment, ssh.FingerprintSHA256(server.keys[i].public))
		}
	}
	if _, fetches := server.requests(); fetches != 0 {
		t.Errorf("listing fetched %d private keys; want none", fetches)
	}
}

type brokenKeys struct{ *testServer }

func (b brokenKeys) OfferedKeys(ctx context.Context) ([]api.Key, error) {
	keys, err := b.testServer.OfferedKeys(ctx)
	return append([]api.Key{{Name: "broken", PublicKey: "ssh-ed25519 AAAA"}}, keys...), err
}

func TestKeysLeavesOutWhatItCannotRead(t *testing.T) {
	var log bytes.Buffer
	s := newSource(brokenKeys{&testServer{keys: []testKey{newEd25519(t)}}}, slog.New(slog.NewTextHandler(&log, nil)))
	if keys := mustKeys(t, s); len(keys) != 1 {
		t.Errorf("there are %d keys; want the one that can be read", len(keys))
	}
	if !strings.Contains(log.String(), "name=broken") {
		t.Errorf("the log says %q; want it to name the key that was left out", log.String())
	}
}

func TestKeysTogetherAreOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &testServer{keys: []testKey{newEd25519(t)}, hang: make(chan struct{})}
		s := newSource(server, nil)
		impatient, leave := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := s.Keys(impatient)
			left <- err
		}()
		synctest.Wait()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if keys, err := s.Keys(t.Context()); err != nil || len(keys) != 1 {
					t.Errorf("Keys = %d keys, %v; want one", len(keys), err)
				}
			})
		}
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the caller who left got %v; want context.Canceled", err)
		}
		close(server.hang)
		wg.Wait()
		if lists, _ := server.requests(); lists != 1 {
			t.Errorf("51 callers at once made %d requests; want 1", lists)
		}
		// What was answered is not kept for the next: a revoked token counts at once.
		mustKeys(t, s)
		if lists, _ := server.requests(); lists != 2 {
			t.Errorf("a later caller was answered without asking the server; want a request of its own")
		}
	})
}

func TestKeysWhileTheServerIsAway(t *testing.T) {
	away := fmt.Errorf("no route: %w", api.ErrUnavailable)
	for _, tt := range []struct {
		name string
		err  error
		hang bool
		keys int           // offered
		wait time.Duration // at most
	}{
		{name: "down", err: away, keys: 1},
		{name: "broken", err: &api.Error{Kind: api.ErrInternal, Message: "a bug"}, keys: 1},
		{name: "busy", err: &api.Error{Kind: api.ErrTooMany, Message: "slow down"}, keys: 1},
		{name: "another program answers", err: errors.New("not a Latchkey server"), keys: 1},
		{name: "silent", hang: true, keys: 1, wait: knownListTimeout},
		{name: "token revoked", err: &api.Error{Kind: api.ErrUnauthenticated, Message: "revoked"}},
		{name: "user disabled", err: &api.Error{Kind: api.ErrForbidden, Message: "disabled"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &testServer{keys: []testKey{newEd25519(t)}}
				s := newSource(server, nil)
				refusals := 0
				s.refused = func(error) { refusals++ }
				mustKeys(t, s)
				server.become(func() {
					server.err = tt.err
					if tt.hang {
						server.hang = make(chan struct{})
					}
				})
				began := time.Now()
				keys, err := s.Keys(t.Context())
				if len(keys) != tt.keys || (err == nil) != (tt.keys > 0) {
					t.Errorf("Keys = %d keys, %v; want %d", len(keys), err, tt.keys)
				}
				if waited := time.Since(began); waited > tt.wait {
					t.Errorf("that took %v; want at most %v", waited, tt.wait)
				}
				if want := 1 - tt.keys; refusals != want {
					t.Errorf("refused was called %d times; want %d", refusals, want)
				}
				// After a refusal nothing is left that a later failure could bring back.
				server.become(func() { server.err, server.hang = away, nil })
				if keys, _ := s.Keys(t.Context()); len(keys) != tt.keys {
					t.Errorf("with the server away after that, Keys = %d keys; want %d", len(keys), tt.keys)
				}
			})
		})
	}
}

func TestKeysOfAServerNeverSeen(t *testing.T) {
	s := newSource(&testServer{err: api.ErrUnavailable}, nil)
	if keys, err := s.Keys(t.Context()); keys != nil || !errors.Is(err, api.ErrUnavailable) {
		t.Errorf("Keys = %v, %v; want none, and ErrUnavailable", keys, err)
	}
}

func TestSignerRefusesWhatTheServerSends(t *testing.T) {
	key, other := newEd25519(t), newEd25519(t)
	for _, tt := range []struct {
		name string
		send func(api.FetchKeyRequest, []byte) ([]byte, error)
		want string
	}{
		{"another key", func(r api.FetchKeyRequest, _ []byte) ([]byte, error) {
			return api.SealPrivateKey(r.Recipient, r.Fingerprint, other.der(t))
		}, "the server sent another key, " + ssh.FingerprintSHA256(other.public)},
		{"sealed as another key", func(r api.FetchKeyRequest, der []byte) ([]byte, error) {
			return api.SealPrivateKey(r.Recipient, ssh.FingerprintSHA256(other.public), der)
		}, "opening the sealed private key"},
		{"in the clear", func(_ api.FetchKeyRequest, der []byte) ([]byte, error) { return der, nil }, "opening the sealed private key"},
		{"not a key", func(r api.FetchKeyRequest, _ []byte) ([]byte, error) {
			return api.SealPrivateKey(r.Recipient, r.Fingerprint, []byte("-----BEGIN"))
		}, "not PKCS #8"},
		{"nothing in the seal", func(r api.FetchKeyRequest, _ []byte) ([]byte, error) {
			return api.SealPrivateKey(r.Recipient, r.Fingerprint, nil)
		}, "not PKCS #8"},
		{"nothing", func(api.FetchKeyRequest, []byte) ([]byte, error) { return nil, nil }, "opening the sealed private key"},
		{"too much", func(api.FetchKeyRequest, []byte) ([]byte, error) { return make([]byte, api.MaxSealed+1), nil }, "too large"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSource(&testServer{keys: []testKey{key}, send: tt.send}, nil)
			_, err := s.Signer(t.Context(), key.public)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Signer: %v; want an error that says %q", err, tt.want)
			}
			if n := s.Held(); n != 0 {
				t.Errorf("%d keys are held after that; want none", n)
			}
		})
	}
}

func TestSignerOfAKeyThatIsGone(t *testing.T) {
	s := newSource(&testServer{}, nil)
	refused := false
	s.refused = func(error) { refused = true }
	if _, err := s.Signer(t.Context(), newEd25519(t).public); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("Signer: %v; want ErrNotFound", err)
	}
	if refused {
		t.Error("a key that was rotated away counts as a refusal of the workspace; want that it does not")
	}
}

func TestSourceTellsOfRefusedFetch(t *testing.T) {
	key := newEd25519(t)
	s := newSource(&testServer{keys: []testKey{key}, err: api.ErrUnauthenticated}, nil)
	refused := false
	s.refused = func(error) { refused = true }
	if _, err := s.Signer(t.Context(), key.public); !errors.Is(err, api.ErrUnauthenticated) {
		t.Errorf("Signer: %v; want ErrUnauthenticated", err)
	}
	if !refused {
		t.Error("refused was not called")
	}
}
