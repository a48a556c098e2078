package workspace

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/sshagent"
)

// errForgotten is what a signer says after Close.
var errForgotten = errors.New("the private key was forgotten")

// A signer holds one private key shielded, in the form of keep, and expands it
// for each signature inside harden.Do. What Go's crypto packages make of it lies
// on the heap for that moment and is erased when the collector finds it. (Signing
// with the kept bytes themselves would crash: crypto/ed25519 keeps a weak pointer
// to its key, which must be on the heap.)
type signer struct {
	public ssh.PublicKey
	closed func() // called once, when the key is wiped

	mu   sync.RWMutex // held for reading while a signature is made
	kept *harden.Shielded
}

var _ sshagent.Signer = (*signer)(nil)

func (s *signer) PublicKey() ssh.PublicKey { return s.public }

func (s *signer) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(random, data, "")
}

func (s *signer) SignWithAlgorithm(_ io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	algorithm, hash, err := algorithmFor(s.public.Type(), algorithm)
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", ssh.FingerprintSHA256(s.public), err)
	}
	digest := data
	if hash != 0 {
		h := hash.New()
		h.Write(data) // never fails: see hash.Hash
		digest = h.Sum(nil)
	}
	blob, err := s.sign(digest, hash)
	if err == nil {
		blob, err = wireForm(s.public.Type(), blob)
	}
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", ssh.FingerprintSHA256(s.public), err)
	}
	return &ssh.Signature{Format: algorithm, Blob: blob}, nil
}

func (s *signer) sign(digest []byte, hash crypto.Hash) (signature []byte, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.kept == nil {
		return nil, errForgotten
	}
	err = s.kept.Use(func(kept []byte) error {
		key, err := expand(s.public.Type(), kept)
		if err == nil {
			signature, err = key.Sign(rand.Reader, digest, hash)
		}
		return err
	})
	// A copy: what was allocated in Do is marked to be erased, which costs.
	return bytes.Clone(signature), err
}

// Close waits for the signatures under way, wipes the key and has what they left
// behind erased.
func (s *signer) Close() error {
	s.mu.Lock()
	kept := s.kept
	s.kept = nil
	s.mu.Unlock()
	if kept == nil {
		return nil
	}
	err := kept.Close()
	s.closed()
	return err
}
