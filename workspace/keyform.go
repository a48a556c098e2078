package workspace

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/ssh"
)

// A private key is kept in the smallest form that expands quickly: each
// allocation in harden.Do costs some microseconds, and parsing PKCS #8 makes
// dozens. Ed25519: the seed (RFC 8032). ECDSA: the scalar (SEC 1, 2.3.7). RSA:
// PKCS #1 with its precomputed values.

// keep turns a private key as PKCS #8, of which public must be the public key,
// into the form in which it is kept. It must be called in harden.Do.
func keep(der []byte, public ssh.PublicKey) (kept []byte, err error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("the private key is not PKCS #8: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("the private key is a %T, which does not sign", key)
	}
	got, err := ssh.NewPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("the private key is not one for SSH: %w", err)
	}
	// The server, or who stands in for it, may have sent another key.
	if !samePublic(got, public) {
		return nil, fmt.Errorf("the server sent another key, %s", ssh.FingerprintSHA256(got))
	}
	return formOf(signer)
}

// formOf is a private key in the form in which it is kept. It must be called in
// harden.Do.
func formOf(key crypto.Signer) (kept []byte, err error) {
	switch key := key.(type) {
	case ed25519.PrivateKey:
		return key.Seed(), nil
	case *ecdsa.PrivateKey:
		return key.Bytes()
	case *rsa.PrivateKey:
		return x509.MarshalPKCS1PrivateKey(key), nil
	}
	return nil, fmt.Errorf("private keys of type %T are not supported", key)
}

// expand is the reverse. keyType is the public key's.
func expand(keyType string, kept []byte) (crypto.Signer, error) {
	switch keyType {
	case ssh.KeyAlgoED25519:
		return ed25519.NewKeyFromSeed(kept), nil
	case ssh.KeyAlgoECDSA256:
		return ecdsa.ParseRawPrivateKey(elliptic.P256(), kept)
	case ssh.KeyAlgoECDSA384:
		return ecdsa.ParseRawPrivateKey(elliptic.P384(), kept)
	case ssh.KeyAlgoECDSA521:
		return ecdsa.ParseRawPrivateKey(elliptic.P521(), kept)
	case ssh.KeyAlgoRSA:
		return x509.ParsePKCS1PrivateKey(kept)
	}
	return nil, fmt.Errorf("keys of type %s are not supported", keyType)
}

// hashes are the hashes of the signature algorithms (RFC 8709, RFC 5656 6.2.1,
// RFC 8332). Ed25519 hashes for itself. SHA-1, which is what plain "ssh-rsa"
// means, is left out: servers have refused it since OpenSSH 8.8.
var hashes = map[string]crypto.Hash{
	ssh.KeyAlgoED25519:   0,
	ssh.KeyAlgoECDSA256:  crypto.SHA256,
	ssh.KeyAlgoECDSA384:  crypto.SHA384,
	ssh.KeyAlgoECDSA521:  crypto.SHA512,
	ssh.KeyAlgoRSASHA256: crypto.SHA256,
	ssh.KeyAlgoRSASHA512: crypto.SHA512,
}

// algorithmFor checks an algorithm that was asked for; "" is the key's own.
func algorithmFor(keyType, algorithm string) (string, crypto.Hash, error) {
	isRSA := keyType == ssh.KeyAlgoRSA
	if algorithm == "" {
		algorithm = keyType
		if isRSA {
			algorithm = ssh.KeyAlgoRSASHA512
		}
	}
	if isRSA && algorithm == ssh.KeyAlgoRSA {
		return "", 0, errors.New("an RSA key signs with SHA-2 only: rsa-sha2-256 or rsa-sha2-512, not ssh-rsa")
	}
	hash, known := hashes[algorithm]
	rsaAlgorithm := algorithm == ssh.KeyAlgoRSASHA256 || algorithm == ssh.KeyAlgoRSASHA512
	if !known || isRSA != rsaAlgorithm || !isRSA && algorithm != keyType {
		return "", 0, fmt.Errorf("a key of type %s does not sign as %s", keyType, algorithm)
	}
	return algorithm, hash, nil
}

// wireForm makes what SSH calls a signature's blob of what Go's crypto packages
// call a signature: they differ for ECDSA, two mpint (RFC 5656 3.1.2) against
// ASN.1.
func wireForm(keyType string, signature []byte) ([]byte, error) {
	switch keyType {
	case ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		var rs struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(signature, &rs); err != nil {
			return nil, fmt.Errorf("encoding the signature: %w", err)
		}
		return ssh.Marshal(rs), nil
	}
	return signature, nil
}
