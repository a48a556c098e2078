package keyserver

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"hash"
)

// An encrypted PKCS #8 key (RFC 5958, section 3) as OpenSSL and the rest of the
// field write it by default: PBES2 (RFC 8018, section 6.2) with PBKDF2 and AES in
// CBC mode. The standard library reads PKCS #8, but not this.

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

// maxIterations bounds how often a file may ask its passphrase to be stretched;
// so many take some seconds.
const maxIterations = 10_000_000

var errEncryption = badKey("rewrite it with: openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out NEWFILE", "is encrypted in a way that is not supported")

func parseEncryptedPKCS8(block *pem.Block, passphrase string) (crypto.PrivateKey, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Encrypted []byte
	}
	if rest, err := asn1.Unmarshal(block.Bytes, &info); err != nil || len(rest) > 0 {
		return nil, errMalformed
	}
	if !info.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, errEncryption
	}
	if passphrase == "" {
		return nil, errPassphraseNeeded
	}
	var scheme struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	if rest, err := asn1.Unmarshal(info.Algorithm.Parameters.FullBytes, &scheme); err != nil || len(rest) > 0 {
		return nil, errMalformed
	}
	der, err := decryptPBES2(scheme.KDF, scheme.Cipher, passphrase, info.Encrypted)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		// One wrong passphrase in 256 passes the padding, the only check there is.
		return nil, errPassphraseWrong
	}
	return key, nil
}

func decryptPBES2(kdf, enc pkix.AlgorithmIdentifier, passphrase string, sealed []byte) ([]byte, error) {
	keyLen := aesCBC(enc.Algorithm)
	if keyLen == 0 {
		return nil, errEncryption
	}
	var iv []byte
	if _, err := asn1.Unmarshal(enc.Parameters.FullBytes, &iv); err != nil {
		return nil, errMalformed
	}
	if len(iv) != aes.BlockSize || len(sealed) == 0 || len(sealed)%aes.BlockSize != 0 {
		return nil, errMalformed
	}
	key, err := stretch(kdf, passphrase, keyLen)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	c, err := aes.NewCipher(key)
	if err != nil {
		return nil, errMalformed
	}
	der := make([]byte, len(sealed))
	cipher.NewCBCDecrypter(c, iv).CryptBlocks(der, sealed)
	pad := int(der[len(der)-1])
	if pad == 0 || pad > aes.BlockSize || !bytes.HasSuffix(der, bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, errPassphraseWrong
	}
	return der[:len(der)-pad], nil
}

// aesCBC returns the length of an encryption scheme's key (RFC 8018, appendix
// B.2.5), 0 if the scheme is not AES in CBC mode.
func aesCBC(oid asn1.ObjectIdentifier) int {
	switch oid.String() {
	case "2.16.840.1.101.3.4.1.2":
		return 16
	case "2.16.840.1.101.3.4.1.22":
		return 24
	case "2.16.840.1.101.3.4.1.42":
		return 32
	}
	return 0
}

// stretch derives the key that a passphrase stands for.
func stretch(kdf pkix.AlgorithmIdentifier, passphrase string, keyLen int) ([]byte, error) {
	if !kdf.Algorithm.Equal(oidPBKDF2) {
		return nil, errEncryption
	}
	var p struct {
		Salt       []byte
		Iterations int
		KeyLen     int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(kdf.Parameters.FullBytes, &p); err != nil || p.Iterations < 1 {
		return nil, errMalformed
	}
	newHash := pbkdf2Hash(p.PRF.Algorithm)
	if newHash == nil || p.KeyLen != 0 && p.KeyLen != keyLen || p.Iterations > maxIterations {
		return nil, errEncryption
	}
	key, err := pbkdf2.Key(newHash, passphrase, p.Salt, p.Iterations, keyLen)
	if err != nil {
		return nil, errEncryption
	}
	return key, nil
}

// pbkdf2Hash returns the hash of a pseudorandom function (RFC 8018, appendix
// B.1), HMAC-SHA-1 if none is named.
func pbkdf2Hash(prf asn1.ObjectIdentifier) func() hash.Hash {
	switch prf.String() {
	case "", "1.2.840.113549.2.7":
		return sha1.New
	case "1.2.840.113549.2.9":
		return sha256.New
	case "1.2.840.113549.2.10":
		return sha512.New384
	case "1.2.840.113549.2.11":
		return sha512.New
	}
	return nil
}
