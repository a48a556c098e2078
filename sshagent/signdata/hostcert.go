package signdata

import (
	"time"

	"golang.org/x/crypto/ssh"
)

// A HostCert is what a certificate authority says of a host's key.
type HostCert struct {
	Authority  string   // the fingerprint of the key that signed it
	Principals []string // the host's names; never empty
}

// HostCertificate reads the certificate in a host's public key blob: nil if it is
// none, or one that ssh would not take at this time. A certificate of a user, one
// whose signature does not verify or is by SHA-1, one that has options which are
// critical, as nobody knows any for hosts, is none; nor is one without names, which
// would be for every host. Whose authority counts, and for which names, the caller
// decides; that the host has the private key, its signature of a session shows,
// or the login that names it.
func HostCertificate(blob []byte, at time.Time) *HostCert {
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok || cert.CertType != ssh.HostCert || len(cert.ValidPrincipals) == 0 || cert.Signature == nil || cert.Signature.Format == ssh.KeyAlgoRSA {
		return nil
	}
	// It checks the options, the time and the signature, whoever has signed.
	checker := ssh.CertChecker{Clock: func() time.Time { return at }}
	if checker.CheckCert(cert.ValidPrincipals[0], cert) != nil {
		return nil
	}
	return &HostCert{Authority: ssh.FingerprintSHA256(cert.SignatureKey), Principals: cert.ValidPrincipals}
}
