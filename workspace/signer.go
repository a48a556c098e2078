package workspace

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/sshagent"
)

// errForgotten is what a signer says after Close.
var errForgotten = errors.New("the private key was forgotten")

// A signer holds one private key shielded, in the form of keep, and expands it to
// sign, inside harden.Do. What Go's crypto packages make of it lies on the heap, for
// as long as it signs and a moment more: see eraser. (Signing with the kept bytes
// themselves would crash: crypto/ed25519 keeps a weak pointer to its key, which
// must be on the heap.)
type signer struct {
	public ssh.PublicKey
	closed func() // called once, when the key is wiped; erases what its use has left
	eraser *eraser

	mu       sync.RWMutex // held for reading while a signature is made
	kept     *harden.Shielded
	expanded atomic.Pointer[expandedKey] // nil: not now
}

// An expandedKey is a private key on the heap, made in harden.Do.
type expandedKey struct{ crypto.Signer }

// newSigner returns a signer that owns kept, which was made a moment ago: that,
// too, has left something to erase.
func newSigner(public ssh.PublicKey, kept *harden.Shielded, e *eraser, closed func()) *signer {
	s := &signer{public: public, kept: kept, eraser: e, closed: closed}
	e.note(s)
	return s
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
	s.eraser.note(s)
	defer s.eraser.note(s)
	harden.Do(func() {
		key := s.expanded.Load()
		if key == nil {
			if key, err = s.expand(); err != nil {
				return
			}
		}
		signature, err = key.Sign(rand.Reader, digest, hash)
	})
	// A copy: what was allocated in Do is marked to be erased, which costs.
	return bytes.Clone(signature), err
}

// expand must be called in harden.Do.
func (s *signer) expand() (*expandedKey, error) {
	e := new(expandedKey)
	err := s.kept.Use(func(kept []byte) (err error) {
		e.Signer, err = expand(s.public.Type(), kept)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.expanded.Store(e)
	return e, nil
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
	s.expanded.Store(nil)
	s.eraser.forget(s)
	s.closed()
	return err
}
