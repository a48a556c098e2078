package keyserver

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"

	"golang.org/x/crypto/ssh"
)

// parseOpenSSH reads OpenSSH's own form (its PROTOCOL.key).
func parseOpenSSH(block *pem.Block, passphrase string) (crypto.PrivateKey, error) {
	var head struct {
		Cipher, KDF, KDFOptions string
		Keys                    uint32
		Public                  []byte
		Private                 []byte
		Tag                     []byte `ssh:"rest"` // of ciphers that make one
	}
	body, ok := bytes.CutPrefix(block.Bytes, []byte("openssh-key-v1\x00"))
	if !ok || ssh.Unmarshal(body, &head) != nil {
		return nil, errMalformed
	}
	if head.Keys != 1 {
		return nil, badKey("give one private key", "holds %d keys", head.Keys)
	}
	// The kind stands outside of what is encrypted.
	var public struct {
		Kind string
		Rest []byte `ssh:"rest"`
	}
	if ssh.Unmarshal(head.Public, &public) != nil {
		return nil, errMalformed
	}
	switch public.Kind {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoRSA:
	default:
		return nil, unsupported(public.Kind)
	}
	alone := pem.EncodeToMemory(block)
	defer clear(alone)
	if head.Cipher == "none" {
		if passphrase != "" {
			return nil, errPassphraseUnused
		}
		key, err := ssh.ParseRawPrivateKey(alone)
		if err != nil {
			return nil, errMalformed
		}
		return key, nil
	}
	if p := openSSHCipher(head.Cipher, head.KDF, head.KDFOptions); p != nil {
		return nil, p
	}
	if passphrase == "" {
		return nil, errPassphraseNeeded
	}
	key, err := ssh.ParseRawPrivateKeyWithPassphrase(alone, []byte(passphrase))
	if errors.Is(err, x509.IncorrectPasswordError) {
		return nil, errPassphraseWrong
	}
	if err != nil {
		return nil, errMalformed
	}
	return key, nil
}

// maxRounds bounds how often a file may ask its passphrase to be stretched:
// ssh-keygen makes 16 or 24 rounds unless told otherwise, 256 take some seconds.
const maxRounds = 256

func openSSHCipher(cipher, kdf, options string) *importProblem {
	const rewrite = "rewrite it with: ssh-keygen -p -Z aes256-ctr -a 24 -f FILE"
	var bcrypt struct {
		Salt   []byte
		Rounds uint32
	}
	switch {
	case cipher != "aes256-ctr" && cipher != "aes256-cbc":
		return badKey(rewrite, "is encrypted with %s, which is not supported", asName(cipher))
	case kdf != "bcrypt" || ssh.Unmarshal([]byte(options), &bcrypt) != nil:
		return errMalformed
	case bcrypt.Rounds > maxRounds:
		return badKey(rewrite, "asks for %d rounds on its passphrase; at most %d are allowed", bcrypt.Rounds, maxRounds)
	}
	return nil
}

// writeOpenSSH writes a private key in OpenSSH's form.
func writeOpenSSH(private plaintext, comment string) ([]byte, error) {
	// The parsers' errors might quote the key.
	key, err := x509.ParsePKCS8PrivateKey(private.reveal())
	if err != nil {
		return nil, errors.New("a stored private key is not PKCS #8")
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return nil, errors.New("a stored private key can't be written in OpenSSH's form")
	}
	defer clear(block.Bytes)
	return pem.EncodeToMemory(block), nil
}
