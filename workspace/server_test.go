package workspace

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A testServer is a key server as far as a Source sees one.
type testServer struct {
	mu      sync.Mutex
	keys    []testKey
	err     error         // what every request fails with
	hang    chan struct{} // if not nil, requests wait until it is closed
	lists   int
	fetches int
	mode    api.KeyMode
	policy  api.KeyPolicy
	expires *time.Time // of all keys
	signs   []api.SignRequest
	sign    func(api.SignRequest) ([]byte, error)                       // nil: as a server does, without looking
	send    func(fetch api.FetchKeyRequest, der []byte) ([]byte, error) // nil: seal der
	secrets *secretsServer                                              // nil: it is an older server, without secrets
}

type testKey struct {
	name    string
	private crypto.Signer
	public  ssh.PublicKey
}

func newTestKey(t testing.TB, name string, private crypto.Signer, err error) testKey {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return testKey{name, private, public}
}

func newEd25519(t testing.TB) testKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	return newTestKey(t, "ed25519", private, err)
}

func newECDSA(t testing.TB, name string, curve elliptic.Curve) testKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	return newTestKey(t, name, private, err)
}

func newRSA(t testing.TB, bits int) testKey {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	return newTestKey(t, fmt.Sprint("rsa", bits), private, err)
}

func (k testKey) der(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// answer waits as long as the server hangs and returns its error.
func (s *testServer) answer(ctx context.Context, count *int) error {
	s.mu.Lock()
	*count++
	hang, err := s.hang, s.err
	s.mu.Unlock()
	if hang == nil {
		return err
	}
	select {
	case <-hang:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// become changes the server.
func (s *testServer) become(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *testServer) requests() (lists, fetches int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists, s.fetches
}

func (s *testServer) OfferedKeys(ctx context.Context) ([]api.Key, error) {
	if err := s.answer(ctx, &s.lists); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := []api.Key{}
	for _, k := range s.keys {
		line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.public))) + " alice@latchkey " + k.name
		keys = append(keys, api.Key{Name: k.name, Generation: 1, PublicKey: line, Fingerprint: ssh.FingerprintSHA256(k.public), Mode: s.mode, Policy: s.policy, ExpiresAt: s.expires})
	}
	return keys, nil
}

func (s *testServer) FetchKey(ctx context.Context, r api.FetchKeyRequest) ([]byte, error) {
	if err := s.answer(ctx, &s.fetches); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if ssh.FingerprintSHA256(k.public) != r.Fingerprint {
			continue
		}
		der, err := x509.MarshalPKCS8PrivateKey(k.private)
		if err != nil {
			return nil, err
		}
		if s.send != nil {
			return s.send(r, der)
		}
		return api.SealPrivateKey(r.Recipient, r.Fingerprint, der)
	}
	return nil, &api.Error{Kind: api.ErrNotFound, Message: "no key " + r.Fingerprint}
}

func (s *testServer) Sign(ctx context.Context, r api.SignRequest) ([]byte, error) {
	if err := s.answer(ctx, new(int)); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signs = append(s.signs, r)
	if s.sign != nil {
		return s.sign(r)
	}
	for _, k := range s.keys {
		if ssh.FingerprintSHA256(k.public) == r.Fingerprint {
			return k.signature(r.Data, r.Algorithm)
		}
	}
	return nil, &api.Error{Kind: api.ErrNotFound, Message: "no key " + r.Fingerprint}
}

// signature is one in SSH's wire form.
func (k testKey) signature(data []byte, algorithm string) ([]byte, error) {
	signer, err := ssh.NewSignerFromSigner(k.private)
	if err != nil {
		return nil, err
	}
	sig, err := signer.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, data, algorithm)
	if err != nil {
		return nil, err
	}
	return ssh.Marshal(sig), nil
}

// serveTLS makes an HTTPS server of a testServer.
func serveTLS(t *testing.T, s *testServer) (url, ca string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v2/workspaceagents/me", func(w http.ResponseWriter, r *http.Request) {
		err := s.answer(r.Context(), new(int))
		self, _ := json.Marshal(api.WorkspaceSelf{User: api.User{Name: "alice"}, Workspace: api.Workspace{Name: "dev"}})
		respond(w, self, err)
	})
	mux.HandleFunc("GET /api/v2/workspaceagents/me/keys", func(w http.ResponseWriter, r *http.Request) {
		keys, err := s.OfferedKeys(r.Context())
		list, _ := json.Marshal(keys)
		respond(w, list, err)
	})
	mux.HandleFunc("POST /api/v2/workspaceagents/me/keys/fetch", func(w http.ResponseWriter, r *http.Request) {
		var request api.FetchKeyRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		sealed, err := s.FetchKey(r.Context(), request)
		respond(w, sealed, err)
	})
	mux.HandleFunc("POST /api/v2/workspaceagents/me/sign", func(w http.ResponseWriter, r *http.Request) {
		var request api.SignRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		signature, err := s.Sign(r.Context(), request)
		answer, _ := json.Marshal(api.Signature{Signature: signature})
		respond(w, answer, err)
	})
	if s.secrets != nil {
		s.secrets.routes(t, mux)
	}
	h := httptest.NewTLSServer(mux)
	t.Cleanup(h.Close)
	return h.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}))
}

// respond answers as a key server does.
func respond(w http.ResponseWriter, body []byte, err error) {
	if err == nil {
		w.Write(body)
		return
	}
	w.WriteHeader(api.Status(err))
	var e *api.Error
	if !errors.As(err, &e) {
		e = &api.Error{Message: err.Error()}
	}
	json.NewEncoder(w).Encode(e)
}
