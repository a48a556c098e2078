package signdata

import (
	"bytes"
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

// By reports whether a login is by the key of this blob, or by a user certificate
// of it: ssh has the agent sign with the key then (CertificateFile).
func (a *UserAuth) By(blob []byte) bool {
	if bytes.Equal(a.Key, blob) {
		return true
	}
	key, err := ssh.ParsePublicKey(a.Key)
	if err != nil {
		return false
	}
	cert, ok := key.(*ssh.Certificate)
	return ok && cert.CertType == ssh.UserCert && bytes.Equal(cert.Key.Marshal(), blob)
}
