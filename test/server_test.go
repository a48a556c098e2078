package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A server is a latchkeyd with TLS and SQLite, and its first admin.
type server struct {
	*process
	Dir    string // its home; the data directory is below
	URL    string // https://127.0.0.1:PORT
	CAFile string // the certificate to trust, readable by everyone
	CA     []byte
	Admin  *api.Client
}

// serverReady is what a new server prints: the first admin's token, once, and
// that it listens, in its log's text or JSON form.
var serverReady = regexp.MustCompile(`(?s)(lk_s_[0-9A-Za-z]+).*msg"?[=:]"?ready.*?(https://127\.0\.0\.1:\d+)`)

// startServer starts a new key server, with further flags of "latchkeyd serve".
// wrap may be nil.
func startServer(t testing.TB, wrap wrapper, flags ...string) *server {
	t.Helper()
	s := &server{Dir: openDir(t)}
	s.CAFile = filepath.Join(s.Dir, "ca.pem")
	keyFile := filepath.Join(s.Dir, "tls.key")
	s.CA = writeCertificate(t, s.CAFile, keyFile)
	argv := append([]string{program(t, "latchkeyd"), "serve", "--listen", "127.0.0.1:0", "--tls-cert", s.CAFile, "--tls-key", keyFile}, flags...)
	argv = wrap.wrap(argv)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = s.Dir
	cmd.Env = []string{"HOME=" + s.Dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + s.Dir, "LANG=C"}
	var m []string
	t.Cleanup(func() { // when the server has stopped
		if err := keepFiles(filepath.Join(s.Dir, ".local")); err != nil {
			t.Errorf("keeping what the server has stored: %v", err)
		}
	})
	s.process, m = start(t, cmd, serverReady)
	s.URL = m[2]
	s.Admin = s.client(t, m[1])
	return s
}

// client speaks to the server with a token.
func (s *server) client(t testing.TB, token string) *api.Client {
	t.Helper()
	c, err := api.NewClient(s.URL, s.CA, func() string { return token })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// A user has an account on a server.
type user struct {
	*api.Client // with their session token
	Name        string
	Token       string // the session token

	server *server
}

// newUser makes a user. privateKey, if not nil, is a PEM to import as the
// default key.
func (s *server) newUser(t testing.TB, name string, privateKey []byte) *user {
	t.Helper()
	created, err := s.Admin.CreateUser(t.Context(), api.CreateUserRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	u := &user{Client: s.client(t, created.Token.Token), Name: name, Token: created.Token.Token, server: s}
	if privateKey != nil {
		if _, err := u.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{PrivateKey: string(privateKey)}); err != nil {
			t.Fatal(err)
		}
	}
	return u
}

// publicKey is the line of the user's default key.
func (u *user) publicKey(t testing.TB) string {
	t.Helper()
	k, err := u.Key(t.Context(), api.Me, api.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	return k.PublicKey
}

// openDir makes a directory that every user of the machine may enter and that
// is removed with all in it. Its path is short: it may hold unix sockets.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lk")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// writeCertificate makes a certificate for 127.0.0.1 that is its own authority.
func writeCertificate(t testing.TB, certFile, keyFile string) (certPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "latchkey test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:              []string{"localhost"},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	writeFile(t, certFile, certPEM, 0o644)
	writeFile(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
	return certPEM
}

func writeFile(t testing.TB, path string, content []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
}
