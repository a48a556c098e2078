package workspace

import (
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/sshagent"
)

func mustSigner(t testing.TB, s *Source, key testKey) sshagent.Signer {
	t.Helper()
	signer, err := s.Signer(t.Context(), key.public)
	if err != nil {
		t.Fatalf("Signer: %v", err)
	}
	t.Cleanup(func() { signer.Close() })
	return signer
}

func TestSign(t *testing.T) {
	r := newRSA(t, 3072)
	for _, tt := range []struct {
		key       testKey
		algorithm string
	}{
		{newEd25519(t), ""},
		{newEd25519(t), ssh.KeyAlgoED25519},
		{newECDSA(t, "p256", elliptic.P256()), ""},
		{newECDSA(t, "p384", elliptic.P384()), ""},
		{newECDSA(t, "p521", elliptic.P521()), ""},
		{r, ""},
		{r, ssh.KeyAlgoRSASHA256},
		{r, ssh.KeyAlgoRSASHA512},
	} {
		t.Run(tt.key.name+" "+tt.algorithm, func(t *testing.T) {
			s := newSource(&testServer{keys: []testKey{tt.key}}, nil)
			signer := mustSigner(t, s, tt.key)
			if n := s.Held(); n != 1 {
				t.Errorf("%d keys are held; want 1", n)
			}
			data := []byte("what is to be signed")
			signature, err := signer.SignWithAlgorithm(rand.Reader, data, tt.algorithm)
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.key.public.Verify(data, signature); err != nil {
				t.Errorf("the signature does not verify: %v", err)
			}
			if tt.algorithm != "" && signature.Format != tt.algorithm {
				t.Errorf("the signature is in the format %s; want %s", signature.Format, tt.algorithm)
			}
		})
	}
}

func TestSignRefusesAlgorithms(t *testing.T) {
	ed, r := newEd25519(t), newRSA(t, 3072)
	for _, tt := range []struct {
		key       testKey
		algorithm string
		want      string
	}{
		{ed, ssh.KeyAlgoRSASHA512, "does not sign as"},
		{ed, ssh.KeyAlgoECDSA256, "does not sign as"},
		{ed, ssh.CertAlgoED25519v01, "does not sign as"},
		{r, ssh.KeyAlgoED25519, "does not sign as"},
		{r, ssh.KeyAlgoRSA, "SHA-2 only"},
		{r, "no such algorithm", "does not sign as"},
	} {
		signer := mustSigner(t, newSource(&testServer{keys: []testKey{tt.key}}, nil), tt.key)
		_, err := signer.SignWithAlgorithm(rand.Reader, []byte("data"), tt.algorithm)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), ssh.FingerprintSHA256(tt.key.public)) {
			t.Errorf("the key %s signs as %q: %v; want an error that names the key and says %q", tt.key.name, tt.algorithm, err, tt.want)
		}
	}
}

func TestCloseForgets(t *testing.T) {
	key := newEd25519(t)
	s := newSource(&testServer{keys: []testKey{key}}, nil)
	signer := mustSigner(t, s, key)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				signature, err := signer.Sign(rand.Reader, []byte("data"))
				if errors.Is(err, errForgotten) {
					return
				}
				if err != nil {
					t.Errorf("Sign: %v", err)
					return
				}
				if err := key.public.Verify([]byte("data"), signature); err != nil {
					t.Errorf("a signature made beside Close: %v", err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			if err := signer.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()
	if n := s.Held(); n != 0 {
		t.Errorf("%d keys are held after Close; want none", n)
	}
	if !samePublic(signer.PublicKey(), key.public) {
		t.Error("the public key is gone after Close; want it still there")
	}
}

func BenchmarkSign(b *testing.B) {
	for _, key := range []testKey{newEd25519(b), newECDSA(b, "ecdsa-p256", elliptic.P256()), newRSA(b, 3072), newRSA(b, 4096)} {
		b.Run(key.name, func(b *testing.B) {
			signer := mustSigner(b, newSource(&testServer{keys: []testKey{key}}, nil), key)
			data := make([]byte, 400)
			for b.Loop() {
				algorithm := ""
				if strings.HasPrefix(key.name, "rsa") {
					algorithm = ssh.KeyAlgoRSASHA512
				}
				if _, err := signer.SignWithAlgorithm(rand.Reader, data, algorithm); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
