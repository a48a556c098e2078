package workspace

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/sshagent"
)

// errForgotten is what a signer says after Close.
var errForgotten = errors.New("the private key was forgotten")

// A signer holds one private key as PKCS #8 outside the Go heap and parses it
// for each signature, inside harden.Do. What Go's crypto packages make of it
// lies on the heap for that moment and is erased when the collector finds it.
// (Signing with bytes of the Buffer itself would crash: crypto/ed25519 keeps a
// weak pointer to its key, which must be on the heap.)
type signer struct {
	public ssh.PublicKey
	closed func() // called once, when the key is wiped

	mu  sync.RWMutex // held for reading while a signature is made
	der *harden.Buffer
}

var _ sshagent.Signer = (*signer)(nil)

func (s *signer) PublicKey() ssh.PublicKey { return s.public }

func (s *signer) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(random, data, "")
}

func (s *signer) SignWithAlgorithm(_ io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	var signature *ssh.Signature
	err := s.use(func(key ssh.AlgorithmSigner) (err error) {
		signature, err = key.SignWithAlgorithm(rand.Reader, data, algorithm)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", ssh.FingerprintSHA256(s.public), err)
	}
	// What was allocated in Do is made to be erased; what is kept is a copy.
	return &ssh.Signature{Format: signature.Format, Blob: slices.Clone(signature.Blob), Rest: slices.Clone(signature.Rest)}, nil
}

// check parses the key and holds it against the public key that was listed.
func (s *signer) check() error {
	return s.use(func(key ssh.AlgorithmSigner) error {
		if !samePublic(key.PublicKey(), s.public) {
			return fmt.Errorf("the server sent another key, %s", ssh.FingerprintSHA256(key.PublicKey()))
		}
		return nil
	})
}

// use calls f with the parsed key, which f must not keep.
func (s *signer) use(f func(ssh.AlgorithmSigner) error) (err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.der == nil {
		return errForgotten
	}
	harden.Do(func() {
		var key ssh.AlgorithmSigner
		if key, err = parse(s.der.Bytes()); err == nil {
			err = f(key)
		}
	})
	return err
}

func parse(der []byte) (ssh.AlgorithmSigner, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("the private key is not PKCS #8: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, fmt.Errorf("the private key is not one for SSH: %w", err)
	}
	// All of x/crypto's signers are; it says so since v0.15.
	return signer.(ssh.AlgorithmSigner), nil
}

// Close waits for the signatures under way, wipes the key and has what they left
// behind erased.
func (s *signer) Close() error {
	s.mu.Lock()
	der := s.der
	s.der = nil
	s.mu.Unlock()
	if der == nil {
		return nil
	}
	err := der.Close()
	s.closed()
	return err
}
