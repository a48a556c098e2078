package witness

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// A Secret is a value that must not be seen in any form.
type Secret struct {
	Name  string
	Bytes []byte // at least 16, big-endian if it is a number; any two forms of it must differ from chance
}

// Secrets returns the values of which any one gives a private key away. Files
// in the forms of PKCS #8, SEC 1, PKCS #1 and OpenSSH hold one or more of them
// as they are, and their PEM in base64.
func Secrets(key crypto.PrivateKey) ([]Secret, error) {
	switch key := key.(type) {
	case ed25519.PrivateKey:
		// RFC 8032, 5.1.5: the seed's hash is the scalar, once some of its bits
		// are set, and the prefix; scalar and prefix sign as well as the seed.
		hash := sha512.Sum512(key.Seed())
		scalar := slices.Clone(hash[:32])
		scalar[0] &= 248
		scalar[31] = scalar[31]&127 | 64
		return []Secret{
			{"seed", key.Seed()},
			{"first half of the seed's hash", hash[:32]},
			{"scalar", scalar},
			{"reduced scalar", reduce(scalar)},
			{"prefix", hash[32:]},
		}, nil
	case *ecdsa.PrivateKey:
		d, err := key.Bytes()
		if err != nil {
			return nil, fmt.Errorf("taking an ECDSA key apart: %w", err)
		}
		return []Secret{{"scalar", d}}, nil
	case *rsa.PrivateKey:
		key.Precompute()
		return []Secret{
			{"d", key.D.Bytes()},
			{"p", key.Primes[0].Bytes()},
			{"q", key.Primes[1].Bytes()},
			{"d mod p-1", key.Precomputed.Dp.Bytes()},
			{"d mod q-1", key.Precomputed.Dq.Bytes()},
			{"1/q mod p", key.Precomputed.Qinv.Bytes()},
		}, nil
	}
	return nil, fmt.Errorf("no witness knows the secrets of a %T", key)
}

// reduce brings an ed25519 scalar (little-endian) below the order of the group,
// the form in which a program computes with it (RFC 8032, 5.1).
func reduce(scalar []byte) []byte {
	order, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	order.Add(order, new(big.Int).Lsh(big.NewInt(1), 252))
	n := slices.Clone(scalar)
	slices.Reverse(n)
	out := new(big.Int).Mod(new(big.Int).SetBytes(n), order).FillBytes(make([]byte, 32))
	slices.Reverse(out)
	return out
}

// A form is one way to write a secret down.
type form struct {
	name  string
	bytes []byte
}

// forms lists the ways to write a secret down that a Matcher looks for: as it
// is, as hexadecimal digits of either case, as base64 of either alphabet, in
// which it may begin at any of three places; each of them from either end.
func (s Secret) forms() (out []form) {
	reversed := slices.Clone(s.Bytes)
	slices.Reverse(reversed)
	for _, b := range []struct {
		name  string
		bytes []byte
	}{{"", s.Bytes}, {"reversed ", reversed}} {
		add := func(encoding, text string) {
			backwards := []byte(text)
			slices.Reverse(backwards)
			out = append(out,
				form{b.name + s.Name + encoding, []byte(text)},
				form{b.name + s.Name + encoding + ", backwards", backwards})
		}
		out = append(out, form{b.name + s.Name, b.bytes})
		add(" in hex", hex.EncodeToString(b.bytes))
		add(" in upper-case hex", strings.ToUpper(hex.EncodeToString(b.bytes)))
		for offset := range 3 {
			add(" in base64", insideBase64(base64.RawStdEncoding, offset, b.bytes))
			add(" in URL base64", insideBase64(base64.RawURLEncoding, offset, b.bytes))
		}
	}
	return out
}

// insideBase64 is what b contributes to the base64 of something in which it
// stands at an offset, leaving out the digits that neighbours have bits in.
func insideBase64(e *base64.Encoding, offset int, b []byte) string {
	text := e.EncodeToString(append(make([]byte, offset), b...))
	first := (8*offset + 5) / 6
	last := 8 * (offset + len(b)) / 6
	return text[first:last]
}
