package keyserver

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
)

// heavyAtOnce is how many computations of a second or more run at the same
// time: making RSA keys and stretching passphrases. More only wait.
const heavyAtOnce = 2

const (
	newRSABits = 4096
	minRSABits = 3072
	maxRSABits = 8192
)

// A keyPair is a new or imported key before it is sealed.
type keyPair struct {
	algorithm   api.Algorithm
	public      []byte // SSH wire form
	fingerprint string
	private     plaintext // PKCS #8 DER
	imported    bool
}

// newKeyPair makes a key pair.
func (s *Server) newKeyPair(ctx context.Context, a api.Algorithm) (keyPair, error) {
	var private crypto.Signer
	var err error
	switch a {
	case api.Ed25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case api.ECDSA:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case api.RSA:
		if err := s.beginHeavy(ctx); err != nil {
			return keyPair{}, err
		}
		defer s.endHeavy()
		private, err = rsa.GenerateKey(rand.Reader, newRSABits)
	default:
		err = fmt.Errorf("unknown algorithm %q", a)
	}
	if err != nil {
		return keyPair{}, fmt.Errorf("making a key pair: %w", err)
	}
	return keyPairOf(private)
}

// keyPairOf describes a private key of a kind that the server supports.
func keyPairOf(private crypto.Signer) (keyPair, error) {
	var a api.Algorithm
	switch private.(type) {
	case ed25519.PrivateKey:
		a = api.Ed25519
	case *ecdsa.PrivateKey:
		a = api.ECDSA
	case *rsa.PrivateKey:
		a = api.RSA
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		return keyPair{}, fmt.Errorf("encoding a public key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return keyPair{}, fmt.Errorf("encoding a private key as PKCS #8: %w", err)
	}
	return keyPair{
		algorithm:   a,
		public:      public.Marshal(),
		fingerprint: ssh.FingerprintSHA256(public),
		private:     newPlaintext(der),
	}, nil
}

// beginHeavy waits for its turn to compute for a second or more.
func (s *Server) beginHeavy(ctx context.Context) error {
	select {
	case s.heavy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return refusal(api.ErrUnavailable, "try again in a minute", "the server is busy")
	}
}

func (s *Server) endHeavy() { <-s.heavy }
