package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A pair is the files of a certificate and its key.
type pair struct {
	Cert, Key string
	PEM       []byte
}

// newPair writes a certificate that is its own authority.
func newPair(t testing.TB, dir string, serial int64, names ...string) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "latchkeyd test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	p.PEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	writeFile(t, p.Cert, p.PEM, 0o644)
	writeFile(t, p.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
	return p
}

func TestTLS(t *testing.T) {
	s := newSite(t)
	p := newPair(t, s.home, 1, "127.0.0.1")
	r := s.serve(t, "--tls-cert", p.Cert, "--tls-key", p.Key)
	line := <-r.first
	m := loginLine.FindStringSubmatch(line)
	if m == nil || m[2] != r.url || !strings.HasPrefix(r.url, "https://127.0.0.1:") || m[3] != " --ca-file "+p.Cert {
		t.Fatalf("the line that logs in is %q; want one for %s that names the CA file", line, r.url)
	}
	c, err := api.NewClient(r.url, p.PEM, func() string { return m[1] })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if u, err := c.User(t.Context(), api.Me); err != nil || u.Role != api.RoleAdmin {
		t.Errorf("over TLS: %+v, %v; want the first admin", u, err)
	}
	if _, err := r.client(m[1]).User(t.Context(), api.Me); !errors.Is(err, api.ErrUnavailable) || !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Errorf("a client without the CA: %v; want it to refuse the server", err)
	}
	address := strings.TrimPrefix(r.url, "https://")
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil {
		conn.Close()
		t.Error("the server speaks TLS 1.2; want 1.3 only")
	}
	if token := s.must(t, "token", "admin"); !strings.Contains(token, "latchkey login "+r.url+" --ca-file "+p.Cert) {
		t.Errorf("latchkeyd token prints %q; want the server's address and CA file", token)
	}
	r.stop()
}

// serialAt is the serial number of the certificate that a new connection gets.
func serialAt(t testing.TB, url string) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// Whoever renews the certificate need not restart the server.
func TestCertificateIsReadAgain(t *testing.T) {
	s := newSite(t)
	p := newPair(t, s.home, 1, "127.0.0.1")
	r := s.serve(t, "--dev", "--tls-cert", p.Cert, "--tls-key", p.Key)
	if got := serialAt(t, r.url); got != 1 {
		t.Fatalf("the server's certificate has serial %d; want 1", got)
	}
	newPair(t, s.home, 2, "127.0.0.1")
	if got := serialAt(t, r.url); got != 2 {
		t.Errorf("after a new certificate: serial %d; want 2", got)
	}
	good := readFile(t, p.Key)
	writeFile(t, p.Key, []byte("half a k"), 0o600)
	if got := serialAt(t, r.url); got != 2 {
		t.Errorf("with half a key: serial %d; want the certificate before, 2", got)
	}
	r.await("the TLS certificate can't be read again: the one before is still served")
	writeFile(t, p.Key, []byte(good), 0o600)
	r.signal(syscall.SIGHUP)
	r.await("read the TLS certificate again")
	if got := serialAt(t, r.url); got != 2 {
		t.Errorf("after SIGHUP: serial %d; want 2", got)
	}
	r.stop()
}

func TestCertificateWarnings(t *testing.T) {
	s := newSite(t)
	p := newPair(t, s.home, 1, "127.0.0.1")
	r := s.serve(t, "--dev", "--tls-cert", p.Cert, "--tls-key", p.Key)
	if strings.Contains(r.said(), "TLS private key") {
		t.Errorf("the server warns of a key that is only its owner's:\n%s", r.said())
	}
	if err := os.Chmod(p.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	r = s.serve(t, "--dev", "--tls-cert", p.Cert, "--tls-key", p.Key)
	if !strings.Contains(r.said(), "every user of this machine can read the TLS private key") {
		t.Errorf("the server does not warn of a key that everyone can read:\n%s", r.said())
	}
}

func TestTLSRefused(t *testing.T) {
	s := newSite(t)
	p := newPair(t, s.home, 1, "127.0.0.1")
	other := newPair(t, t.TempDir(), 2, "127.0.0.1")
	s.refused(t, exitUsage, "--tls-cert without --tls-key", "private key", "serve", "--tls-cert", p.Cert)
	s.refused(t, exitUsage, "--tls-key without --tls-cert", "certificate", "serve", "--tls-key", p.Key)
	for _, args := range [][]string{{p.Cert, p.Cert}, {p.Key, p.Key}, {p.Cert, other.Key}, {s.home + "/none", p.Key}} {
		s.refused(t, exitError, "reading the TLS certificate", "PEM file", "serve", "--tls-cert", args[0], "--tls-key", args[1])
	}
}

func TestBaseURL(t *testing.T) {
	host := hostname()
	for _, tt := range []struct {
		address string
		names   []string // of the certificate; nil: plain HTTP
		url     string   // of --url
		want    string
	}{
		{"127.0.0.1:7843", nil, "", "http://127.0.0.1:7843"},
		{"[::1]:7843", nil, "", "http://[::1]:7843"},
		{"127.0.0.1:7843", []string{"127.0.0.1"}, "", "https://127.0.0.1:7843"},
		{"127.0.0.1:7843", []string{"localhost"}, "", "https://localhost:7843"},
		{"0.0.0.0:443", []string{"*.example", "keys.example", "other.example"}, "", "https://keys.example:443"},
		{"[::]:7843", []string{"192.0.2.7"}, "", "https://192.0.2.7:7843"},
		{"[::]:7843", []string{host, "keys.example"}, "", "https://" + host + ":7843"},
		{"192.0.2.7:7843", []string{"*.example"}, "", "https://192.0.2.7:7843"},
		{"192.0.2.7:7843", nil, "", "https://" + host},
		{"0.0.0.0:7843", nil, "https://keys.example", "https://keys.example"},
	} {
		l := listener{url: tt.url}
		if tt.names != nil {
			p := newPair(t, t.TempDir(), 1, tt.names...)
			if err := l.loadCertificate(p.Cert, p.Key, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
		}
		addr, err := net.ResolveTCPAddr("tcp", tt.address)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.baseURL(addr); got != tt.want {
			t.Errorf("on %s with a certificate for %q and --url %q people are sent to %s; want %s", tt.address, tt.names, tt.url, got, tt.want)
		}
	}
}

// The line is pasted into a shell.
func TestLoginLine(t *testing.T) {
	for s, want := range map[serving]string{
		{URL: "http://127.0.0.1:7843"}:                              "echo TOKEN | latchkey login http://127.0.0.1:7843",
		{URL: "http://[::1]:7843"}:                                  "echo TOKEN | latchkey login 'http://[::1]:7843'",
		{URL: "https://a", CA: "/etc/my keys/$(reboot)'s cert.pem"}: `echo TOKEN | latchkey login https://a --ca-file '/etc/my keys/$(reboot)'\''s cert.pem'`,
	} {
		if got := s.loginLine("TOKEN"); got != want {
			t.Errorf("the line is %s; want %s", got, want)
		}
	}
}
