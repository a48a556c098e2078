package workspace

import (
	"context"
	"crypto/elliptic"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
)

// sshsig is what ssh-keygen -Y sign has signed.
func sshsig(namespace string) []byte {
	return append([]byte("SSHSIG"), ssh.Marshal(struct{ Namespace, Reserved, Algorithm, Hash string }{namespace, "", "sha256", string(make([]byte, 32))})...)
}

// In sign mode the daemon signs, with keys of each kind, and holds none.
func TestDaemonHasTheServerSign(t *testing.T) {
	for _, key := range []testKey{newEd25519(t), newECDSA(t, "ecdsa-p256", elliptic.P256()), newRSA(t, 3072)} {
		server := &testServer{keys: []testKey{key}, mode: api.SignMode}
		c := Config{Dir: filepath.Join(socketDir(t), "run"), Client: newClient(t, server), Idle: time.Hour, Log: slog.New(slog.DiscardHandler)}
		_, stop := startDaemon(t, c)
		a := dial(t, AgentSocket(c.Dir))
		flags := map[string]agent.SignatureFlags{"": 0}
		if key.public.Type() == ssh.KeyAlgoRSA {
			flags = map[string]agent.SignatureFlags{ssh.KeyAlgoRSASHA256: agent.SignatureFlagRsaSha256, ssh.KeyAlgoRSASHA512: agent.SignatureFlagRsaSha512}
		}
		for algorithm, flag := range flags {
			sig, err := a.SignWithFlags(key.public, sshsig("git"), flag)
			if err != nil || key.public.Verify(sshsig("git"), sig) != nil || algorithm != "" && sig.Format != algorithm {
				t.Errorf("%s: SignWithFlags(%q) = %+v, %v; want a signature", key.name, algorithm, sig, err)
			}
		}
		if _, fetches := server.requests(); fetches != 0 || len(server.signs) != len(flags) {
			t.Errorf("%s: %d private keys were fetched and %d signatures asked for; want none and %d", key.name, fetches, len(server.signs), len(flags))
		}
		if s := mustStatus(t, c.Dir); s.Held != 0 || s.Keys[0].Mode != api.SignMode {
			t.Errorf("%s: the status says %d keys are held, and %+v; want none, and sign mode", key.name, s.Held, s.Keys)
		}
		stop()
	}
}

// What the server sends is held against what was asked for.
func TestRemoteSignerRefusesWhatTheServerSends(t *testing.T) {
	key, other := newRSA(t, 3072), newEd25519(t)
	for _, tt := range []struct {
		name string
		sign func(api.SignRequest) ([]byte, error)
		want string
	}{
		{"nothing", func(api.SignRequest) ([]byte, error) { return nil, nil }, "no signature"},
		{"junk", func(api.SignRequest) ([]byte, error) { return []byte("junk"), nil }, "no signature"},
		{"another key's", func(r api.SignRequest) ([]byte, error) { return other.signature(r.Data, "") }, "not what was asked for"},
		{"one of something else", func(r api.SignRequest) ([]byte, error) { return key.signature([]byte("else"), r.Algorithm) }, "not what was asked for"},
		{"one by another algorithm", func(r api.SignRequest) ([]byte, error) { return key.signature(r.Data, ssh.KeyAlgoRSASHA256) }, "not what was asked for"},
		{"a refusal", func(api.SignRequest) ([]byte, error) {
			return nil, &api.Error{Kind: api.ErrForbidden, Message: "not to this host", Detail: "allow it"}
		}, "not to this host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSource(&testServer{keys: []testKey{key}, mode: api.SignMode, sign: tt.sign}, nil)
			s.refused = func(error) { t.Error("the whole workspace counts as refused") }
			mustKeys(t, s)
			signer, err := s.Signer(t.Context(), key.public)
			if err != nil {
				t.Fatal(err)
			}
			if sig, err := signer.Sign(nil, sshsig("git")); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Sign = %+v, %v; want an error that says %q", sig, err, tt.want)
			}
			if last := s.refusals.last(); len(last) != 1 || !strings.Contains(last[0].Why, tt.want) || last[0].Key != ssh.FingerprintSHA256(key.public) {
				t.Errorf("the refusals are %+v; want this one", last)
			}
			if keys := mustKeys(t, s); len(keys) != 1 {
				t.Errorf("after it %d keys are offered; want the key still", len(keys))
			}
		})
	}
}

// A signer has the server sign again if the key's settings were changed at that
// moment, tells of a token that was revoked, and does nothing once it is closed.
func TestRemoteSigner(t *testing.T) {
	key := newEd25519(t)
	server := &testServer{keys: []testKey{key}, mode: api.SignMode}
	s := newSource(server, nil)
	refused := 0
	s.refused = func(error) { refused++ }
	mustKeys(t, s)
	signer, err := s.Signer(t.Context(), key.public)
	if err != nil {
		t.Fatal(err)
	}
	server.sign = func(r api.SignRequest) ([]byte, error) {
		if len(server.signs) == 1 {
			return nil, &api.Error{Kind: api.ErrConflict, Message: "changed at the same time"}
		}
		return key.signature(r.Data, r.Algorithm)
	}
	if _, err := signer.Sign(nil, sshsig("git")); err != nil || len(server.signs) != 2 {
		t.Errorf("Sign = %v after %d requests; want it signed by the second", err, len(server.signs))
	}
	server.become(func() { server.err = api.ErrUnauthenticated })
	if _, err := signer.Sign(nil, sshsig("git")); !errors.Is(err, api.ErrUnauthenticated) || refused != 1 {
		t.Errorf("with a revoked token Sign = %v, and the workspace counts as refused %d times; want ErrUnauthenticated, once", err, refused)
	}
	server.become(func() { server.err = nil })
	for range 2 {
		if err := signer.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := signer.Sign(nil, sshsig("git")); !errors.Is(err, errForgotten) || len(server.signs) != 2 {
		t.Errorf("after Close Sign = %v; want errForgotten without a request", err)
	}
}

// A key that is held when its mode becomes sign is forgotten with the next list.
func TestModeBecomesSign(t *testing.T) {
	key := newEd25519(t)
	server := &testServer{keys: []testKey{key}}
	c := Config{Dir: filepath.Join(socketDir(t), "run"), Client: newClient(t, server), Idle: time.Hour, Log: slog.New(slog.DiscardHandler)}
	startDaemon(t, c)
	a := dial(t, AgentSocket(c.Dir))
	sign := func() {
		t.Helper()
		if _, err := a.Sign(key.public, sshsig("git")); err != nil {
			t.Fatalf("Sign: %v", err)
		}
	}
	sign()
	if s := mustStatus(t, c.Dir); s.Held != 1 {
		t.Fatalf("in fetch mode %d keys are held after a signature; want 1", s.Held)
	}
	server.become(func() { server.mode = api.SignMode })
	mustStatus(t, c.Dir) // lists
	if s := mustStatus(t, c.Dir); s.Held != 0 {
		t.Errorf("in sign mode %d keys are held; want none", s.Held)
	}
	sign()
	if len(server.signs) != 1 {
		t.Errorf("the server was asked to sign %d times; want once", len(server.signs))
	}
}

// A signature that nobody waits for any more is not asked for any longer, and is not
// told as a refusal.
func TestRemoteSignerWhoseClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := newEd25519(t)
		server := &testServer{keys: []testKey{key}, mode: api.SignMode}
		s := newSource(server, nil)
		mustKeys(t, s)
		signer, err := s.Signer(t.Context(), key.public)
		if err != nil {
			t.Fatal(err)
		}
		server.become(func() { server.hang = make(chan struct{}) })
		ctx, leave := context.WithCancelCause(t.Context())
		gone := errors.New("the client hung up")
		began, ended := time.Now(), make(chan error)
		go func() {
			_, err := signer.(sshagent.ContextSigner).SignContext(ctx, sshsig("git"), "")
			ended <- err
		}()
		synctest.Wait()
		leave(gone)
		if err := <-ended; !errors.Is(err, gone) || time.Since(began) != 0 {
			t.Errorf("SignContext = %v after %v; want %v at once", err, time.Since(began), gone)
		}
		if last := s.refusals.last(); len(last) != 0 || s.err != nil {
			t.Errorf("the refusals are %+v, and the server's error is %v; want neither", last, s.err)
		}
		if _, err := signer.Sign(nil, sshsig("git")); err == nil || time.Since(began) != signTimeout {
			t.Errorf("Sign = %v after %v; want it to give up after %v", err, time.Since(began), signTimeout)
		}
		if last := s.refusals.last(); len(last) != 1 {
			t.Errorf("the refusals are %+v; want that of who has waited", last)
		}
	})
}
