package sshagent

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"math/big"
	"sync"

	"golang.org/x/crypto/ssh"
)

var errPrivateKey = errors.New("the private key is malformed, or of another public key")

// ParsePrivateKey parses the private fields of a key that a client adds, as
// [Server.Keep] gets them, and checks that they are of the public key. It is for
// use by Keep: what it makes of the key, in variables and in what it returns, is
// on the heap and not erased, unless it is called where whatever is allocated is.
func ParsePrivateKey(public ssh.PublicKey, private []byte) (crypto.Signer, error) {
	cryptoKey, ok := public.(ssh.CryptoPublicKey)
	if !ok {
		return nil, errPrivateKey
	}
	var fields [4][]byte
	rest, n := private, 0
	for ; n < len(fields) && len(rest) > 0; n++ {
		if fields[n], rest, ok = cutString(rest); !ok {
			return nil, errPrivateKey
		}
	}
	if len(rest) > 0 {
		return nil, errPrivateKey
	}
	switch key := cryptoKey.CryptoPublicKey().(type) {
	case ed25519.PublicKey:
		if n == 1 {
			return parseEd25519(key, fields[0])
		}
	case *ecdsa.PublicKey:
		if n == 1 {
			return parseECDSA(key, fields[0])
		}
	case *rsa.PublicKey:
		if n == 4 {
			return parseRSA(key, fields)
		}
	}
	return nil, errPrivateKey
}

// parseEd25519 parses k || A.
func parseEd25519(public ed25519.PublicKey, k []byte) (crypto.Signer, error) {
	if len(k) != ed25519.PrivateKeySize {
		return nil, errPrivateKey
	}
	key := ed25519.NewKeyFromSeed(k[:ed25519.SeedSize])
	if !bytes.Equal(key, k) || !public.Equal(key.Public()) {
		return nil, errPrivateKey
	}
	return key, nil
}

// parseECDSA parses d.
func parseECDSA(public *ecdsa.PublicKey, d []byte) (crypto.Signer, error) {
	size := (public.Curve.Params().BitSize + 7) / 8
	d, ok := cutMPInt(d)
	if !ok || len(d) > size {
		return nil, errPrivateKey
	}
	raw := make([]byte, size)
	defer clear(raw)
	copy(raw[size-len(d):], d)
	key, err := ecdsa.ParseRawPrivateKey(public.Curve, raw)
	if err != nil || !public.Equal(&key.PublicKey) {
		return nil, errPrivateKey
	}
	return key, nil
}

// parseRSA parses d, iqmp, p, q. The fields that can be
// had from the others are computed anew: a wrong iqmp would give the key away
// with the first signature.
func parseRSA(public *rsa.PublicKey, fields [4][]byte) (crypto.Signer, error) {
	var n [4]*big.Int
	for i, f := range fields {
		b, ok := cutMPInt(f)
		if !ok || len(b) > maxRSABits/8 {
			return nil, errPrivateKey
		}
		n[i] = new(big.Int).SetBytes(b)
	}
	key := &rsa.PrivateKey{PublicKey: *public, D: n[0], Primes: []*big.Int{n[2], n[3]}}
	key.Precompute()
	if key.Validate() != nil {
		return nil, errPrivateKey
	}
	return key, nil
}

// cutMPInt returns the bytes of an mpint that is positive (RFC 4251, section 5).
func cutMPInt(b []byte) ([]byte, bool) {
	if len(b) == 0 || b[0] >= 0x80 {
		return nil, false
	}
	return bytes.TrimLeft(b, "\x00"), true
}

func rsaKey(key ssh.PublicKey) *rsa.PublicKey {
	return key.(ssh.CryptoPublicKey).CryptoPublicKey().(*rsa.PublicKey)
}

// keepPlain is Keep for a Server that was given none: the key lies on the heap.
func keepPlain(public ssh.PublicKey, private []byte) (Signer, error) {
	key, err := ParsePrivateKey(public, private)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, err
	}
	return &plainSigner{public: public, signer: signer.(ssh.AlgorithmSigner)}, nil
}

// A plainSigner is a private key on the heap.
type plainSigner struct {
	public ssh.PublicKey
	mu     sync.RWMutex
	signer ssh.AlgorithmSigner // nil when closed
}

func (s *plainSigner) PublicKey() ssh.PublicKey { return s.public }

func (s *plainSigner) Sign(random io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(random, data, "")
}

func (s *plainSigner) SignWithAlgorithm(random io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	s.mu.RLock()
	signer := s.signer
	s.mu.RUnlock()
	if signer == nil {
		return nil, errors.New("the private key was forgotten")
	}
	return signer.SignWithAlgorithm(random, data, algorithm)
}

func (s *plainSigner) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signer = nil
	return nil
}

// tryKey checks that what Keep gave signs for a key: once here, and not for the
// first time when a host refuses what it signed.
func tryKey(signer Signer, public ssh.PublicKey) error {
	if !bytes.Equal(signer.PublicKey().Marshal(), public.Marshal()) {
		return errors.New("the private key that was kept is of another public key")
	}
	algorithm, err := algorithmOf(public, flagRSASHA256)
	if err != nil {
		return err
	}
	probe := make([]byte, 32) // no SSH program signs what looks like this
	rand.Read(probe)
	sig, err := signer.SignWithAlgorithm(rand.Reader, probe, algorithm)
	if err != nil {
		return fmt.Errorf("trying the key: %w", err)
	}
	if err := public.Verify(probe, sig); err != nil {
		return errPrivateKey
	}
	return nil
}
