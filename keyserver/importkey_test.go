package keyserver_test

import (
	"bytes"
	"crypto/dsa"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
)

// need returns the path of a program that a test runs. Where everything is
// promised to be installed, its absence is an error.
func need(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" || os.Getenv("LATCHKEY_TEST_ALL") != "" {
			t.Fatalf("%s is needed: %v", name, err)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}

// run runs a program in a directory.
func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(need(t, name), args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// What ssh-keygen and openssl write is imported, and the key that is fetched is
// the one that ssh-keygen reads from the file.
func TestImport(t *testing.T) {
	const pass = "correct horse"
	for _, tt := range []struct {
		name       string
		make       [][]string // programs that make the file "key"
		passphrase string
		algorithm  api.Algorithm
	}{
		{"OpenSSH Ed25519", [][]string{{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key"}}, "", api.Ed25519},
		{"OpenSSH ECDSA", [][]string{{"ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", "key"}}, "", api.ECDSA},
		{"OpenSSH RSA", [][]string{{"ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", "key"}}, "", api.RSA},
		{"OpenSSH with passphrase", [][]string{{"ssh-keygen", "-q", "-t", "ed25519", "-N", pass, "-a", "1", "-f", "key"}}, pass, api.Ed25519},
		{"OpenSSH, CBC", [][]string{{"ssh-keygen", "-q", "-t", "ecdsa", "-N", pass, "-a", "1", "-Z", "aes256-cbc", "-f", "key"}}, pass, api.ECDSA},
		{"PKCS #1", [][]string{{"ssh-keygen", "-q", "-t", "rsa", "-m", "PEM", "-N", "", "-f", "key"}}, "", api.RSA},
		{"PKCS #1 with passphrase", [][]string{{"ssh-keygen", "-q", "-t", "rsa", "-m", "PEM", "-N", pass, "-a", "1", "-f", "key"}}, pass, api.RSA},
		{"SEC 1", [][]string{{"openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key"}}, "", api.ECDSA},
		{"SEC 1 behind its parameters", [][]string{{"openssl", "ecparam", "-name", "prime256v1", "-genkey", "-out", "key"}}, "", api.ECDSA},
		{"SEC 1 with passphrase", [][]string{
			{"openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "plain"},
			{"openssl", "ec", "-in", "plain", "-aes256", "-passout", "pass:" + pass, "-out", "key"}}, pass, api.ECDSA},
		{"PKCS #8 Ed25519", [][]string{{"openssl", "genpkey", "-algorithm", "ed25519", "-out", "key"}}, "", api.Ed25519},
		{"PKCS #8 ECDSA", [][]string{{"openssl", "genpkey", "-algorithm", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key"}}, "", api.ECDSA},
		{"PKCS #8 RSA", [][]string{{"openssl", "genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:3072", "-out", "key"}}, "", api.RSA},
		{"PKCS #8 with passphrase", [][]string{{"openssl", "genpkey", "-algorithm", "ed25519", "-aes-256-cbc", "-pass", "pass:" + pass, "-out", "key"}}, pass, api.Ed25519},
		{"PKCS #8 with passphrase, SHA-1", [][]string{
			{"openssl", "genpkey", "-algorithm", "ed25519", "-out", "plain"},
			{"openssl", "pkcs8", "-topk8", "-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1", "-in", "plain", "-passout", "pass:" + pass, "-out", "key"}}, pass, api.Ed25519},
		{"PKCS #8 of ssh-keygen", [][]string{{"ssh-keygen", "-q", "-t", "ecdsa", "-m", "PKCS8", "-N", pass, "-a", "1", "-f", "key"}}, pass, api.ECDSA},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, nil)
			alice := s.newUser("alice", api.RoleUser)
			w, _ := s.newWorkspace(alice, "laptop")
			dir := t.TempDir()
			for _, argv := range tt.make {
				run(t, dir, argv[0], argv[1:]...)
			}
			text := readFile(t, dir, "key")
			want := publicOf(t, filepath.Join(dir, "key"), text, tt.passphrase)
			k, err := alice.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "mine", PrivateKey: text, Passphrase: tt.passphrase})
			if err != nil {
				t.Fatal(err)
			}
			if k.Fingerprint != ssh.FingerprintSHA256(want) || k.Algorithm != tt.algorithm || !k.Imported {
				t.Errorf("the import is %+v; want %s, %s, imported", k, ssh.FingerprintSHA256(want), tt.algorithm)
			}
			der, err := fetch(t, w, k.Fingerprint)
			if err != nil {
				t.Fatal(err)
			}
			signs(t, der, k.Fingerprint)
			if tt.passphrase == "" {
				return
			}
			for passphrase, kind := range map[string]string{"": "passphrase: is needed", "wrong": "passphrase: is wrong"} {
				_, err := alice.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "again", PrivateKey: text, Passphrase: passphrase})
				wantError(t, "importing with the passphrase "+passphrase, err, api.ErrInvalid, kind)
			}
		})
	}
}

// publicOf is the public half of a key file, as the program that wrote it says.
// Not every ssh-keygen reads Ed25519 in PKCS #8.
func publicOf(t *testing.T, path, text, passphrase string) ssh.PublicKey {
	t.Helper()
	if strings.Contains(text, "BEGIN OPENSSH") {
		line, err := exec.Command(need(t, "ssh-keygen"), "-y", "-P", passphrase, "-f", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		public, _, _, _, err := ssh.ParseAuthorizedKey(line)
		if err != nil {
			t.Fatal(err)
		}
		return public
	}
	der, err := exec.Command(need(t, "openssl"), "pkey", "-pubout", "-outform", "DER", "-passin", "pass:"+passphrase, "-in", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// Files in forms that the server does not read are refused with a command that
// makes one of which it does.
func TestImportHints(t *testing.T) {
	const pass = "correct horse"
	for _, tt := range []struct {
		name string
		make [][]string
		want string
		hint string   // in the refusal
		todo []string // the hint as it is typed
		file string   // where the key is then
	}{
		{"OpenSSH with another cipher", [][]string{{"ssh-keygen", "-q", "-t", "ed25519", "-N", pass, "-a", "1", "-Z", "aes256-gcm@openssh.com", "-f", "key"}},
			"aes256-gcm@openssh.com", "ssh-keygen -p -Z aes256-ctr -a 24 -f FILE", []string{"ssh-keygen", "-p", "-Z", "aes256-ctr", "-a", "24", "-f", "key", "-P", pass, "-N", pass}, "key"},
		{"PKCS #8 with triple DES", [][]string{{"openssl", "genpkey", "-algorithm", "ed25519", "-out", "plain"},
			{"openssl", "pkcs8", "-topk8", "-v2", "des3", "-in", "plain", "-passout", "pass:" + pass, "-out", "key"}},
			"not supported", "openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out NEWFILE",
			[]string{"openssl", "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-in", "key", "-out", "new", "-passin", "pass:" + pass, "-passout", "pass:" + pass}, "new"},
		{"PuTTY", [][]string{{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "plain"}, {"puttygen", "plain", "-O", "private", "-o", "key"}},
			"PuTTY", "puttygen FILE -O private-openssh -o NEWFILE", []string{"puttygen", "key", "-O", "private-openssh", "-o", "new"}, "new"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, nil)
			dir := t.TempDir()
			for _, argv := range tt.make {
				run(t, dir, argv[0], argv[1:]...)
			}
			passphrase := pass
			if tt.name == "PuTTY" {
				passphrase = ""
			}
			_, err := s.Admin.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "mine", PrivateKey: readFile(t, dir, "key"), Passphrase: passphrase})
			wantError(t, "importing it", err, api.ErrInvalid, tt.want, tt.hint)
			run(t, dir, tt.todo[0], tt.todo[1:]...)
			if _, err := s.Admin.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "mine", PrivateKey: readFile(t, dir, tt.file), Passphrase: passphrase}); err != nil {
				t.Errorf("importing it after %q: %v", tt.hint, err)
			}
		})
	}
}

func readFile(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Each kind of file that can't be imported has its own words, and none of its
// bytes are in them.
func TestImportRefused(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	_, edward, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := openSSHPEM(t, edward)
	dir := t.TempDir()
	run(t, dir, "ssh-keygen", "-q", "-t", "ed25519", "-N", "correct horse", "-a", "1", "-f", "key")
	locked := readFile(t, dir, "key")
	curve384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	mismatched := append(ed25519.PrivateKey(nil), edward...)
	mismatched[40] ^= 1
	rounds := bytes.Replace(pemBytes(t, locked), []byte{0, 0, 0, 1, 0, 0, 0, 1}, []byte{0, 0, 1, 1, 0, 0, 0, 1}, 1)
	if bytes.Equal(rounds, pemBytes(t, locked)) {
		t.Fatal("the rounds were not found in the file")
	}
	sk := bytes.Replace(pemBytes(t, good), lengthed("ssh-ed25519"), lengthed("sk-ssh-ed2551"), 1)
	binary.BigEndian.PutUint32(sk[39:], binary.BigEndian.Uint32(sk[39:])+2)

	for _, tt := range []struct {
		name, text, passphrase string
		words                  []string
	}{
		{"a public key", "ssh-ed25519 AAAA alice", "", []string{"private_key: is a public key", "without .pub"}},
		{"a public key in PEM", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "", []string{"is a public key"}},
		{"PuTTY's", "PuTTY-User-Key-File-3: ssh-ed25519\n", "", []string{"PuTTY", "puttygen"}},
		{"not PEM", "hello", "", []string{"is not a private key in PEM"}},
		{"a certificate", pemText("CERTIFICATE", []byte("x")), "", []string{"is a PEM block, CERTIFICATE"}},
		{"cut", good[:len(good)/2], "", []string{"is malformed"}},
		{"without its end", strings.Replace(good, "-----END OPENSSH PRIVATE KEY-----\n", "", 1), "", []string{"is malformed"}},
		{"no OpenSSH key", pemText("OPENSSH PRIVATE KEY", []byte("hello")), "", []string{"is malformed"}},
		{"no PKCS #8", pemText("PRIVATE KEY", []byte("hello")), "", []string{"is malformed"}},
		{"no encrypted PKCS #8", pemText("ENCRYPTED PRIVATE KEY", []byte("hello")), "x", []string{"is malformed"}},
		{"no PKCS #1", pemText("RSA PRIVATE KEY", []byte("hello")), "", []string{"is malformed"}},
		{"halves that differ", openSSHPEM(t, mismatched), "", []string{"is malformed"}},
		{"two keys", good + good, "", []string{"more than one"}},
		{"passphrase for a plain key", good, "x", []string{"passphrase: was given, but"}},
		{"no passphrase", locked, "", []string{"passphrase: is needed"}},
		{"wrong passphrase", locked, "wrong", []string{"passphrase: is wrong"}},
		{"too many rounds", pemText("OPENSSH PRIVATE KEY", rounds), "correct horse", []string{"257 rounds", "ssh-keygen -p"}},
		{"P-384, OpenSSH", openSSHPEM(t, curve384), "", []string{"ecdsa-sha2-nistp384", "supported are"}},
		{"P-384, PKCS #8", pemText("PRIVATE KEY", pkcs8(t, curve384)), "", []string{"ECDSA on P-384"}},
		{"DSA", pemText("DSA PRIVATE KEY", dsaDER(t)), "", []string{"unsupported kind, DSA"}},
		{"security token", pemText("OPENSSH PRIVATE KEY", sk), "", []string{"unsupported kind, sk-ssh-ed2551", "security token"}},
		{"RSA 2048", openSSHPEM(t, small), "", []string{"is an RSA key of 2048 bits; at least 3072"}},
		{"RSA 2048, PKCS #1", pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small)), "", []string{"2048 bits"}},
		{"huge", good + strings.Repeat("\n", 16<<10), "", []string{"is over 16 KiB"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := s.lastEvent().Seq
			_, err := alice.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "mine", PrivateKey: tt.text, Passphrase: tt.passphrase})
			wantError(t, "importing it", err, api.ErrInvalid, tt.words...)
			_, err = alice.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{PrivateKey: tt.text, Passphrase: tt.passphrase})
			wantError(t, "rotating to it", err, api.ErrInvalid, tt.words...)
			var e *api.Error
			if errors.As(err, &e) && e.Detail == "" {
				t.Errorf("%v, without a word on what to do", err)
			}
			if after := s.lastEvent().Seq; after != before {
				t.Errorf("the refused imports made %d events; want none", after-before)
			}
		})
	}
}

// OpenSSH's form has room for two primes only.
func TestImportRSAPrimes(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, "openssl", "genrsa", "-primes", "3", "-out", "three", "3072")
	s := newSite(t, nil)
	_, err := s.Admin.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "mine", PrivateKey: readFile(t, dir, "three")})
	wantError(t, "importing RSA with three primes", err, api.ErrInvalid, "RSA with 3 primes")
}

// A key that the user has already is not taken twice.
func TestImportTwice(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	_, edward, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := openSSHPEM(t, edward)
	next, err := alice.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{PrivateKey: text})
	if err != nil || next.Generation != 2 || !next.Imported {
		t.Fatalf("RotateKey to an import = %+v, %v; want generation 2, imported", next, err)
	}
	if e := s.lastEvent(); e.Action != "key.rotate" || !strings.Contains(e.Detail, "imported") {
		t.Errorf("the audit log ends with %+v; want key.rotate, imported", e)
	}
	_, err = alice.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "again", PrivateKey: text})
	wantError(t, "importing it again", err, api.ErrConflict, "alice has this key already: default, generation 2", "private_key: ")
	_, err = alice.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{PrivateKey: text})
	wantError(t, "rotating to it again", err, api.ErrConflict, "private_key: ")
	_, err = alice.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "both", PrivateKey: text, Algorithm: api.RSA})
	wantError(t, "importing with an algorithm", err, api.ErrInvalid, "algorithm: ")
}

// openSSHPEM is a private key in OpenSSH's form.
func openSSHPEM(t testing.TB, key any) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pemBytes(t *testing.T, text string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatal("no PEM block")
	}
	return block.Bytes
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// lengthed is a string as SSH encodes it.
func lengthed(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

// dsaDER is a DSA key as OpenSSL encodes it.
func dsaDER(t *testing.T) []byte {
	t.Helper()
	k := dsa.PrivateKey{PublicKey: dsa.PublicKey{Parameters: dsa.Parameters{P: big.NewInt(23), Q: big.NewInt(11), G: big.NewInt(4)}, Y: big.NewInt(2)}, X: big.NewInt(3)}
	der, err := asn1.Marshal([]*big.Int{big.NewInt(0), k.P, k.Q, k.G, k.Y, k.X})
	if err != nil {
		t.Fatal(err)
	}
	return der
}
