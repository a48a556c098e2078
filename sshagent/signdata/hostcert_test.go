package signdata

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func signerOf(t *testing.T, key any) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signerOf(t, key)
}

// sha1Signer signs certificates by SHA-1, as authorities once did.
type sha1Signer struct{ ssh.AlgorithmSigner }

func (s sha1Signer) Algorithms() []string { return []string{ssh.KeyAlgoRSA} }

// Only what ssh would take of a host is a certificate here.
func TestHostCertificate(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	host, ca := newSigner(t).PublicKey(), newSigner(t)
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	certify := func(change func(*ssh.Certificate), by ssh.Signer) *ssh.Certificate {
		t.Helper()
		cert := &ssh.Certificate{Key: host, CertType: ssh.HostCert, ValidPrincipals: []string{"git.test", "git"}, ValidAfter: uint64(now.Unix()), ValidBefore: uint64(now.Unix()) + 1}
		if change != nil {
			change(cert)
		}
		if err := cert.SignCert(rand.Reader, by); err != nil {
			t.Fatal(err)
		}
		return cert
	}
	good := certify(nil, ca)
	for name, at := range map[string]time.Time{"in its second": now, "before": now.Add(-time.Second), "after": now.Add(time.Second)} {
		got := HostCertificate(good.Marshal(), at)
		if (got != nil) != (name == "in its second") {
			t.Errorf("%s: HostCertificate = %+v", name, got)
		}
		if got != nil && (got.Authority != ssh.FingerprintSHA256(ca.PublicKey()) || !slices.Equal(got.Principals, []string{"git.test", "git"})) {
			t.Errorf("HostCertificate = %+v; want the authority %s, and both names", got, ssh.FingerprintSHA256(ca.PublicKey()))
		}
	}
	if by := signerOf(t, long); HostCertificate(certify(nil, by).Marshal(), now) == nil {
		t.Error("a certificate by an RSA key with SHA-2 is none")
	}
	forged := certify(nil, newSigner(t))
	forged.SignatureKey = ca.PublicKey()
	renamed := certify(nil, ca)
	renamed.ValidPrincipals = []string{"bank.test"}
	for name, blob := range map[string][]byte{
		"a plain key":          host.Marshal(),
		"junk":                 []byte("junk"),
		"nothing":              nil,
		"of a user":            certify(func(c *ssh.Certificate) { c.CertType = ssh.UserCert }, ca).Marshal(),
		"of another kind":      certify(func(c *ssh.Certificate) { c.CertType = 7 }, ca).Marshal(),
		"without a name":       certify(func(c *ssh.Certificate) { c.ValidPrincipals = nil }, ca).Marshal(),
		"with an option":       certify(func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"verify-required": ""} }, ca).Marshal(),
		"signed by another":    forged.Marshal(),
		"changed":              renamed.Marshal(),
		"signed by SHA-1":      certify(nil, sha1Signer{signerOf(t, long).(ssh.AlgorithmSigner)}).Marshal(),
		"with a byte too much": append(good.Marshal(), 0),
	} {
		if got := HostCertificate(blob, now); got != nil {
			t.Errorf("%s: HostCertificate = %+v; want none", name, got)
		}
	}
}
