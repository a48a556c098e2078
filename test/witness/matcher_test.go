package witness

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"
)

func matcher(t testing.TB, key crypto.PrivateKey) *Matcher {
	t.Helper()
	secrets, err := Secrets(key)
	if err != nil {
		t.Fatal(err)
	}
	return NewMatcher(secrets...)
}

func keys(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"ed25519": ed, "ECDSA": ec, "RSA": r}
}

// containers are the files a private key comes in.
func containers(t testing.TB, key crypto.Signer) map[string][]byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "comment")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{
		"PKCS #8 DER":      der,
		"PKCS #8 PEM":      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"OpenSSH's binary": block.Bytes,
		"OpenSSH PEM":      pem.EncodeToMemory(block),
	}
	if out["JSON of OpenSSH PEM"], err = json.Marshal(map[string]string{"private_key": string(out["OpenSSH PEM"])}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFindsKeyInEveryContainer(t *testing.T) {
	for kind, key := range keys(t) {
		m := matcher(t, key)
		for name, content := range containers(t, key) {
			reversed := slices.Clone(content)
			slices.Reverse(reversed)
			for encoding, b := range map[string][]byte{
				"as it is":     content,
				"backwards":    reversed,
				"hex":          []byte(hex.EncodeToString(content)),
				"spaced hex":   fmt.Appendf(nil, "% X", content),
				"\\x":          escaped(content),
				"hex dump":     []byte(hex.EncodeToString(reversed)),
				"base64":       []byte(base64.StdEncoding.EncodeToString(content)),
				"base64 + 1":   []byte(base64.StdEncoding.EncodeToString(append([]byte{1}, content...))),
				"base64 + 2":   []byte(base64.URLEncoding.EncodeToString(append([]byte{1, 2}, content...))),
				"back, base64": []byte(base64.RawURLEncoding.EncodeToString(reversed)),
			} {
				// Text of text is not looked through twice.
				if bytes.HasSuffix([]byte(name), []byte("PEM")) && encoding != "as it is" && encoding != "backwards" {
					continue
				}
				if m.Find(b) == nil {
					t.Errorf("Find saw no %s key in %s, %s", kind, name, encoding)
				}
			}
		}
	}
}

func escaped(b []byte) (out []byte) {
	for _, c := range b {
		out = fmt.Appendf(out, `\x%02x`, c)
	}
	return out
}

func TestFindsExpandedKey(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	m := matcher(t, key)
	hash := sha512.Sum512(key.Seed())
	for name, b := range map[string][]byte{"first": hash[:32], "second": hash[32:]} {
		if m.Find(append([]byte("xyz"), b...)) == nil {
			t.Errorf("Find saw nothing in the %s half of the seed's hash", name)
		}
	}
}

func TestFindsSecretSplitOverWrites(t *testing.T) {
	for kind, key := range keys(t) {
		m := matcher(t, key)
		for name, content := range containers(t, key) {
			for _, size := range []int{1, 2, 7, 15, 16, 17} {
				s := m.Stream()
				var found []string
				for b := range slices.Chunk(content, size) {
					found = append(found, s.Write(b)...)
				}
				if found == nil {
					t.Errorf("a stream written %d bytes at a time showed no %s key in %s", size, kind, name)
				}
			}
		}
	}
}

// What is public, or only looks like a key, is no finding.
func TestFindsNothingElse(t *testing.T) {
	for kind, key := range keys(t) {
		m := matcher(t, key)
		public, err := ssh.NewPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		noise := make([]byte, 1<<20)
		rand.Read(noise)
		for name, b := range map[string][]byte{
			"the public key":            public.Marshal(),
			"the authorized_keys line":  ssh.MarshalAuthorizedKey(public),
			"random bytes":              noise,
			"their hex":                 []byte(hex.EncodeToString(noise)),
			"zeros":                     make([]byte, 1<<16),
			"another key's private key": containers(t, keys(t)[kind])["OpenSSH PEM"],
		} {
			if found := m.Find(b); found != nil {
				t.Errorf("Find saw %q of a %s key in %s; want nothing", found, kind, name)
			}
		}
	}
}

func TestReduceLeavesTheSamePoint(t *testing.T) {
	// The scalar 2^252 + 27742317777372353535851937790883648493 + 5 is 5.
	scalar, _ := hex.DecodeString("f2d3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	if got := reduce(scalar); got[0] != 5 || !bytes.Equal(got[1:], make([]byte, 31)) {
		t.Errorf("reduce(order + 5) = %x; want 5", got)
	}
}

func BenchmarkFind(b *testing.B) {
	m := matcher(b, keys(b)["RSA"])
	content := make([]byte, 1<<20)
	rand.Read(content)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		m.Find(content)
	}
}
