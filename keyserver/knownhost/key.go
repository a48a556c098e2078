package knownhost

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// minRSA is the least that ssh takes of an RSA key (RequiredRSASize).
const minRSA = 1024

// keyTypes are the kinds of host keys that ssh knows, but for ssh-dss, which it
// dropped with version 10, and certificates, which stand in no known_hosts file.
var keyTypes = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoRSA, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
}

// parseKey reads the type and the key of a line.
func parseKey(keyType, encoded string) ([]byte, error) {
	switch {
	case isNumber(keyType) && isNumber(encoded):
		return nil, fmt.Errorf("has a key for version 1 of SSH, which nobody speaks any more")
	case strings.Contains(keyType, "-cert-v"):
		return nil, fmt.Errorf("has a certificate in the place of a key; name the key that signed it, with %s", CertAuthority)
	case keyType == "ssh-dss":
		return nil, fmt.Errorf("has a DSA key, which ssh takes no more")
	case !slices.Contains(keyTypes, keyType):
		return nil, fmt.Errorf("the key type %s is not known; there are %s", shown(keyType), strings.Join(keyTypes, ", "))
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("the key is not whole: it is not base64")
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil || !bytes.Equal(key.Marshal(), blob) {
		return nil, fmt.Errorf("the key is not whole: it is not an SSH public key")
	}
	if key.Type() != keyType {
		return nil, fmt.Errorf("the line says %s, but the key is of type %s", keyType, shown(key.Type()))
	}
	if crypto, ok := key.(ssh.CryptoPublicKey); ok {
		if r, ok := crypto.CryptoPublicKey().(*rsa.PublicKey); ok && r.N.BitLen() < minRSA {
			return nil, fmt.Errorf("the RSA key has %d bits; ssh takes none under %d", r.N.BitLen(), minRSA)
		}
	}
	return blob, nil
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
