package api

import (
	"crypto/ecdh"
	"crypto/hpke"
	"fmt"
)

// A private key travels to the workspace daemon sealed with HPKE (RFC 9180, base
// mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM) to a key pair that
// the daemon makes for the one request. TLS and HTTP buffers, proxies and logs
// on the way hold ciphertext only. What is sealed is the key as PKCS #8 DER
// (RFC 5958); on the wire it is the encapsulated key followed by the ciphertext.

// MaxSealed bounds a sealed private key: an RSA key of 8192 bits is 4.7 KiB.
const MaxSealed = 16 << 10

// secretsInfo tells sealed secrets from sealed keys.
const secretsInfo = "latchkey secrets v1"

// A Recipient is the daemon's key pair for one fetch. It holds secret bytes on
// the heap: make it, and call Open, where such bytes are erased (runtime/secret).
type Recipient struct{ key hpke.PrivateKey }

// NewRecipient makes a key pair.
func NewRecipient() (*Recipient, error) {
	k, err := hpke.DHKEM(ecdh.X25519()).GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("making the recipient's key: %w", err)
	}
	return &Recipient{k}, nil
}

// PublicKey is what [FetchKeyRequest] carries: 32 bytes.
func (r *Recipient) PublicKey() []byte { return r.key.PublicKey().Bytes() }

// Open returns the private key with the given fingerprint as PKCS #8 DER. It
// fails if the bytes were sealed for another request, or as another key.
func (r *Recipient) Open(fingerprint string, sealed []byte) ([]byte, error) {
	der, err := hpke.Open(r.key, hpke.HKDFSHA256(), hpke.AES256GCM(), sealInfo(fingerprint), sealed)
	if err != nil {
		return nil, fmt.Errorf("opening the sealed private key %s: %w", fingerprint, err)
	}
	return der, nil
}

// OpenSecrets returns the [WorkspaceSecrets] that were sealed, as JSON.
func (r *Recipient) OpenSecrets(sealed []byte) ([]byte, error) {
	b, err := hpke.Open(r.key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(secretsInfo), sealed)
	if err != nil {
		return nil, fmt.Errorf("opening the sealed secrets: %w", err)
	}
	return b, nil
}

// SealSecrets seals [WorkspaceSecrets], as JSON, to a recipient's public key.
func SealSecrets(recipient, secrets []byte) ([]byte, error) {
	return seal(recipient, []byte(secretsInfo), secrets)
}

// SealPrivateKey seals a private key, as PKCS #8 DER, to a recipient's public key.
func SealPrivateKey(recipient []byte, fingerprint string, der []byte) ([]byte, error) {
	return seal(recipient, sealInfo(fingerprint), der)
}

func seal(recipient, info, plaintext []byte) ([]byte, error) {
	pub, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(recipient)
	if err != nil {
		return nil, fmt.Errorf("recipient is not an X25519 public key of 32 bytes: %w", ErrInvalid)
	}
	sealed, err := hpke.Seal(pub, hpke.HKDFSHA256(), hpke.AES256GCM(), info, plaintext)
	if err != nil {
		// A point of low order is told only now (RFC 7748, section 6.1).
		return nil, fmt.Errorf("sealing to recipient: %w: %w", err, ErrInvalid)
	}
	return sealed, nil
}

func sealInfo(fingerprint string) []byte {
	return []byte("latchkey private key v1\x00" + fingerprint)
}
