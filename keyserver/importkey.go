package keyserver

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/keyserver/api"
)

// maxImport bounds the text of a private key. An RSA key of 8192 bits has some
// 6,500 bytes.
const maxImport = 16 << 10

// An importProblem says why a private key can't be imported. It never holds a
// part of the key: the errors of the parsers below, which might, are replaced.
type importProblem struct {
	field  string // of the request: "private_key" or "passphrase"
	detail string
	todo   string
}

func (p *importProblem) Error() string { return p.field + ": " + p.detail }

func badKey(todo, format string, args ...any) *importProblem {
	return &importProblem{"private_key", fmt.Sprintf(format, args...), todo}
}

var (
	errPassphraseNeeded = &importProblem{"passphrase", "is needed: the private key is encrypted", "give the passphrase of the private key"}
	errPassphraseWrong  = &importProblem{"passphrase", "is wrong", "give the passphrase of the private key; ssh-keygen -y -f FILE tries it"}
	errPassphraseUnused = &importProblem{"passphrase", "was given, but the private key is not encrypted", "leave the passphrase out"}
	errMalformed        = badKey("give the whole file, from its BEGIN line to its END line, unchanged", "is malformed: it was cut or changed")
)

const (
	supportedKinds = "Ed25519, ECDSA on P-256, and RSA of 3072 to 8192 bits"
	makeAnother    = "make another key with: ssh-keygen -t ed25519"
)

// importKeyPair reads a private key in PEM. An error is an *importProblem, or
// that ctx ended first.
func (s *Server) importKeyPair(ctx context.Context, text, passphrase string) (keyPair, error) {
	// Stretching a passphrase takes as long as the file asks for.
	if passphrase != "" {
		if err := s.beginHeavy(ctx); err != nil {
			return keyPair{}, err
		}
		defer s.endHeavy()
	}
	private, err := parsePrivateKey(text, passphrase)
	if err != nil {
		return keyPair{}, err
	}
	signer, err := supported(private)
	if err != nil {
		return keyPair{}, err
	}
	pair, err := keyPairOf(signer)
	if err != nil {
		return keyPair{}, errMalformed
	}
	pair.imported = true
	return pair, nil
}

// parsePrivateKey finds the one private key in text.
func parsePrivateKey(text, passphrase string) (crypto.PrivateKey, error) {
	if len(text) > maxImport {
		return nil, badKey("give the file of one private key", "is over %d KiB", maxImport>>10)
	}
	if p := notPrivate(text); p != nil {
		return nil, p
	}
	block, rest := pem.Decode([]byte(text))
	for block != nil && strings.HasSuffix(block.Type, " PARAMETERS") { // "openssl ecparam -genkey" writes them first
		block, rest = pem.Decode(rest)
	}
	switch {
	case block == nil && strings.Contains(text, "-----BEGIN "):
		return nil, errMalformed
	case block == nil:
		return nil, badKey("give the content of a file such as ~/.ssh/id_ed25519", "is not a private key in PEM")
	}
	defer clear(block.Bytes)
	if more, _ := pem.Decode(rest); more != nil {
		return nil, badKey("give one private key and nothing behind it", "holds more than one PEM block")
	}
	switch block.Type {
	case "OPENSSH PRIVATE KEY":
		return parseOpenSSH(block, passphrase)
	case "ENCRYPTED PRIVATE KEY":
		return parseEncryptedPKCS8(block, passphrase)
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
		return parseDER(block, passphrase)
	case "DSA PRIVATE KEY":
		return nil, unsupported("DSA")
	default:
		return nil, badKey("give a private key in the form OpenSSH, PKCS #8, PKCS #1 or SEC 1", "is a PEM block, %s, not a private key", asName(block.Type))
	}
}

// notPrivate recognises what people paste instead of a private key.
func notPrivate(text string) *importProblem {
	text = strings.TrimSpace(text)
	switch {
	case strings.HasPrefix(text, "ssh-"), strings.HasPrefix(text, "ecdsa-"), strings.HasPrefix(text, "sk-"),
		strings.HasPrefix(text, "---- BEGIN SSH2 PUBLIC KEY"),
		strings.Contains(text, "-----BEGIN PUBLIC KEY"), strings.Contains(text, "-----BEGIN RSA PUBLIC KEY"):
		return badKey("give the private key: the file of the same name without .pub", "is a public key")
	case strings.HasPrefix(text, "PuTTY-User-Key-File"):
		return badKey("convert it with: puttygen FILE -O private-openssh -o NEWFILE", "is in PuTTY's own form")
	}
	return nil
}

// parseDER reads the forms that OpenSSL writes, also with the encryption that
// stands in the PEM header (RFC 1423).
func parseDER(block *pem.Block, passphrase string) (crypto.PrivateKey, error) {
	der := block.Bytes
	encrypted := strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED")
	switch {
	case encrypted && passphrase == "":
		return nil, errPassphraseNeeded
	case !encrypted && passphrase != "":
		return nil, errPassphraseUnused
	case encrypted && !x509.IsEncryptedPEMBlock(block):
		return nil, errMalformed
	case encrypted:
		var err error
		der, err = x509.DecryptPEMBlock(block, []byte(passphrase))
		if errors.Is(err, x509.IncorrectPasswordError) {
			return nil, errPassphraseWrong
		}
		if err != nil {
			return nil, errEncryption
		}
		defer clear(der)
	}
	var key crypto.PrivateKey
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(der)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(der)
	default:
		key, err = x509.ParsePKCS8PrivateKey(der)
	}
	switch {
	case err != nil && encrypted:
		// One wrong passphrase in 256 passes that encryption's only check.
		return nil, errPassphraseWrong
	case err != nil:
		return nil, errMalformed
	}
	return key, nil
}

// supported returns the key as a signer of a kind that the server keeps.
func supported(private crypto.PrivateKey) (crypto.Signer, error) {
	switch k := private.(type) {
	case *ed25519.PrivateKey: // OpenSSH's form
		return supported(*k)
	case ed25519.PrivateKey:
		// OpenSSH's form holds the public half too; it must be this seed's.
		if len(k) != ed25519.PrivateKeySize || !ed25519.NewKeyFromSeed(k.Seed()).Equal(k) {
			return nil, errMalformed
		}
		return k, nil
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() {
			return nil, unsupported("ECDSA on " + k.Curve.Params().Name)
		}
		return k, nil
	case *rsa.PrivateKey:
		bits := k.N.BitLen()
		switch {
		case bits < minRSABits:
			return nil, badKey(makeAnother, "is an RSA key of %d bits; at least %d are needed", bits, minRSABits)
		case bits > maxRSABits:
			return nil, badKey(makeAnother, "is an RSA key of %d bits; at most %d are supported", bits, maxRSABits)
		case len(k.Primes) != 2: // OpenSSH's form has room for two
			return nil, unsupported(fmt.Sprintf("RSA with %d primes", len(k.Primes)))
		}
		return k, nil
	}
	return nil, unsupported(fmt.Sprintf("%T", private))
}

func unsupported(kind string) *importProblem {
	todo := makeAnother
	if strings.HasPrefix(kind, "sk-") {
		todo = "a key on a security token can't be copied; " + makeAnother
	}
	return badKey(todo, "is of an unsupported kind, %s; supported are %s", asName(kind), supportedKinds)
}

// asName is what a key file calls a kind or a cipher, if that is a name: a
// damaged file may have anything in its place.
func asName(s string) string {
	if len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "one without a proper name"
	}
	return s
}

// keyPair makes or imports the key pair that a request asks for; what is wrong
// with the request is added to p.
func (s *Server) keyPair(ctx context.Context, p *problems, a api.Algorithm, private, passphrase string) (keyPair, error) {
	if private == "" {
		if passphrase != "" {
			p.add("passphrase", "was given without private_key")
		}
		if len(p.list) > 0 {
			return keyPair{}, nil
		}
		return s.newKeyPair(ctx, a)
	}
	pair, err := s.importKeyPair(ctx, private, passphrase)
	var problem *importProblem
	if errors.As(err, &problem) {
		p.add(problem.field, "%s", problem.detail)
		p.todo = problem.todo
		return keyPair{}, nil
	}
	return pair, err
}
