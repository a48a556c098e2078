package signdata

import (
	"crypto/sha256"
	"encoding/base64"

	"golang.org/x/crypto/ssh"
)

// HostFingerprint is that of a host's public key, a blob as in RFC 4253, section
// 6.6: "SHA256:…". Of a certificate it is that of the key in it, as ssh-keygen -l
// has it. A key of a kind that x/crypto does not know has that of its bytes.
func HostFingerprint(blob []byte) string {
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		sum := sha256.Sum256(blob)
		return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	return ssh.FingerprintSHA256(key)
}
