package signdata

import (
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// A host has the same fingerprint here as in ssh-keygen -l, with a certificate too.
func TestHostFingerprint(t *testing.T) {
	signer := func() ssh.Signer {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	host := signer().PublicKey()
	cert := &ssh.Certificate{Key: host, CertType: ssh.HostCert, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, signer()); err != nil {
		t.Fatal(err)
	}
	for _, key := range []ssh.PublicKey{host, cert} {
		file := filepath.Join(t.TempDir(), "key.pub")
		if err := os.WriteFile(file, ssh.MarshalAuthorizedKey(key), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("ssh-keygen", "-l", "-f", file).CombinedOutput()
		if err != nil {
			t.Fatalf("ssh-keygen -l: %v\n%s", err, out)
		}
		if got := HostFingerprint(key.Marshal()); !strings.Contains(string(out), " "+got+" ") {
			t.Errorf("the fingerprint of a %s is %s; ssh-keygen has %s", key.Type(), got, out)
		}
	}
}
