package test

import (
	"path/filepath"
	"testing"
)

// A certificate of the managed key logs in where the key itself does not, whoever
// makes the signature.
func TestUserCertificate(t *testing.T) {
	for _, mode := range []string{"fetch", "sign"} {
		t.Run(mode, func(t *testing.T) {
			u := startServer(t, nil, "--key-mode", mode).newUser(t, "ada", nil)
			w := u.newWorkspace(t, "dev", nil)
			w.Write(t, "id.pub", u.publicKey(t)+"\n")
			w.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "ca")
			authority := filepath.Join(w.Home, "ca.pub")
			host := startSSHD(t, nil, "TrustedUserCAKeys "+authority)
			w.Run(t, "ssh-keygen", "-q", "-s", "ca", "-I", "ada", "-n", host.User, "id.pub")
			config := w.Reaches(t, host.host("plain"), host.host("certified", "CertificateFile "+filepath.Join(w.Home, "id-cert.pub")))
			w.StartDaemon(t)
			if out, err := w.Try(t, "ssh", "-F", config, "plain", "true"); err == nil {
				t.Fatalf("the key logs in without a certificate:\n%s", out)
			}
			w.Run(t, "ssh", "-F", config, "certified", "true")
			w.Run(t, "latchkey", "gitssh", "--", "-F", config, "certified", "true")
		})
	}
}
