package keyserver

import (
	"bytes"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
)

// No two records share associated data.
func TestAssociatedData(t *testing.T) {
	seen := map[string]string{}
	for _, fields := range [][]string{
		{"a"}, {"a", ""}, {"a", "", ""}, {"a", "b"}, {"ab"}, {"", "ab"}, {"a", "b", "c"}, {"a", "bc"}, {"a", "b\x00c"}, {"a\x00\x00\x00\x01b"},
	} {
		data := string(associatedData(fields[0], fields[1:]...))
		if other, ok := seen[data]; ok {
			t.Errorf("%q and %s share the associated data %q", fields, other, data)
		}
		seen[data] = fmt.Sprintf("%q", fields)
	}
	if bytes.Equal(privateKeyData("u", "k", 1), privateKeyData("u", "k", 11)) {
		t.Error("two generations share their associated data")
	}
}

// A plaintext does not print itself, however deep it lies.
func TestPlaintextDoesNotPrint(t *testing.T) {
	const secret = "a secret"
	v := struct {
		pair keyPair
		in   []any
	}{keyPair{private: newPlaintext([]byte(secret))}, []any{newPlaintext([]byte(secret))}}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p"} {
		fmt.Fprintf(&out, verb+"\n", v)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "v", v)
	if b, err := json.Marshal(v); err == nil {
		out.Write(b)
	}
	for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprint([]byte(secret)), fmt.Sprintf("%#v", []byte(secret))} {
		if strings.Contains(out.String(), form) {
			t.Errorf("a plaintext prints itself as %q", form)
		}
	}
	v.pair.private.wipe()
	if got := string(v.pair.private.reveal()); got != strings.Repeat("\x00", len(secret)) {
		t.Errorf("a wiped plaintext is %q", got)
	}
}

// Making an RSA key that is too large takes too long for a test.
func TestSupportedRSA(t *testing.T) {
	for bits, want := range map[int]string{3071: "3071 bits; at least 3072", 3072: "", 8192: "", 8193: "8193 bits; at most 8192"} {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		_, err := supported(&rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: 65537}, Primes: make([]*big.Int, 2)})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("RSA of %d bits: %v; want %q", bits, err, want)
		}
	}
}
