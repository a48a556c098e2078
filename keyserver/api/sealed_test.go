package api

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
)

func newRecipient(t testing.TB) *Recipient {
	t.Helper()
	r, err := NewRecipient()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSealedPrivateKey(t *testing.T) {
	const fingerprint = "SHA256:one"
	for _, size := range []int{0, 1, 48, 5 << 10} {
		der := make([]byte, size)
		rand.Read(der)
		r := newRecipient(t)
		sealed, err := SealPrivateKey(r.PublicKey(), fingerprint, der)
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) > MaxSealed {
			t.Errorf("%d bytes are %d sealed; want at most MaxSealed", size, len(sealed))
		}
		if size > 16 && bytes.Contains(sealed, der[:16]) {
			t.Error("the sealed form holds the key in the clear")
		}
		got, err := r.Open(fingerprint, sealed)
		if err != nil || !bytes.Equal(got, der) {
			t.Errorf("Open of %d sealed bytes: %v; want them again", size, err)
		}
	}
}

func TestSealedTwiceDiffers(t *testing.T) {
	r := newRecipient(t)
	one, err1 := SealPrivateKey(r.PublicKey(), "SHA256:one", []byte("key"))
	two, err2 := SealPrivateKey(r.PublicKey(), "SHA256:one", []byte("key"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(one, two) {
		t.Error("sealing one key twice gives the same bytes")
	}
}

func TestOpenRefuses(t *testing.T) {
	const fingerprint = "SHA256:one"
	r, other := newRecipient(t), newRecipient(t)
	sealed, err := SealPrivateKey(r.PublicKey(), fingerprint, []byte("the private key"))
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, r *Recipient, fingerprint string, sealed []byte) {
		t.Helper()
		if der, err := r.Open(fingerprint, sealed); err == nil || der != nil {
			t.Errorf("%s: Open = %q, %v; want nothing and an error", what, der, err)
		}
	}
	refused("another key's fingerprint", r, "SHA256:two", sealed)
	refused("no fingerprint", r, "", sealed)
	refused("another recipient", other, fingerprint, sealed)
	refused("a byte more", r, fingerprint, append(bytes.Clone(sealed), 0))
	for i := range sealed {
		refused("cut", r, fingerprint, sealed[:i])
		for bit := range 8 {
			flipped := bytes.Clone(sealed)
			flipped[i] ^= 1 << bit
			// X25519 ignores the top bit of its input (RFC 7748, section 5),
			// but the encapsulated key is bound into the shared secret as it
			// came (RFC 9180, section 4.1), so that one is refused as well.
			refused("a flipped bit", r, fingerprint, flipped)
		}
	}
}

func TestSealRefusesRecipient(t *testing.T) {
	good := newRecipient(t).PublicKey()
	if len(good) != 32 {
		t.Fatalf("Recipient.PublicKey has %d bytes; want 32", len(good))
	}
	for what, recipient := range map[string][]byte{
		"none":        nil,
		"31 bytes":    good[:31],
		"33 bytes":    append(bytes.Clone(good), 0),
		"all zero":    make([]byte, 32), // of low order: the shared secret would be known to all
		"the order 1": append([]byte{1}, make([]byte, 31)...),
	} {
		if sealed, err := SealPrivateKey(recipient, "SHA256:one", []byte("key")); !errors.Is(err, ErrInvalid) || sealed != nil {
			t.Errorf("sealing to a recipient of %s: %v; want ErrInvalid", what, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	r := newRecipient(f)
	sealed, err := SealPrivateKey(r.PublicKey(), "SHA256:one", []byte("key"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if der, err := r.Open("SHA256:one", b); err == nil && !bytes.Equal(b, sealed) {
			t.Errorf("Open(%x) = %x; only what SealPrivateKey made opens", b, der)
		}
	})
}

// Sealed secrets open for the one who asked, and as nothing else.
func TestSealSecrets(t *testing.T) {
	r, err := NewRecipient()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := SealSecrets(r.PublicKey(), []byte("secrets"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.OpenSecrets(sealed); err != nil || string(got) != "secrets" {
		t.Errorf("OpenSecrets = %q, %v; want what was sealed", got, err)
	}
	if _, err := r.Open("SHA256:x", sealed); err == nil {
		t.Error("secrets open as a private key")
	}
	other, err := NewRecipient()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.OpenSecrets(sealed); err == nil {
		t.Error("secrets open for another recipient")
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := r.OpenSecrets(sealed); err == nil {
		t.Error("secrets that were changed on the way open")
	}
}
