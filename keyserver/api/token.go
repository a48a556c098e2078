package api

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"math/big"
	"strings"
)

// A TokenKind says what a token speaks for.
type TokenKind string

const (
	SessionToken   TokenKind = "session"   // a user: "lk_s_…"
	WorkspaceToken TokenKind = "workspace" // a workspace: "lk_w_…"
)

// A token is "lk_", a letter for its kind, "_", 43 base62 digits that hold 256
// random bits, and 6 base62 digits of the CRC-32 (IEEE) of all before them. The
// checksum lets a program tell a mistyped token from a revoked one, and a
// scanner a leaked one from chance.
const (
	tokenRandomDigits = 43
	tokenSumDigits    = 6
	tokenLen          = len("lk_s_") + tokenRandomDigits + tokenSumDigits
)

var tokenPrefixes = map[TokenKind]string{SessionToken: "lk_s_", WorkspaceToken: "lk_w_"}

// NewToken makes a token.
func NewToken(kind TokenKind) string {
	var b [32]byte
	rand.Read(b[:]) // never fails: see crypto/rand
	body := tokenPrefixes[kind] + base62(new(big.Int).SetBytes(b[:]), tokenRandomDigits)
	return body + tokenSum(body)
}

// ParseToken checks a token's form and checksum. Its errors do not hold the token.
func ParseToken(s string) (TokenKind, error) {
	for kind, prefix := range tokenPrefixes {
		if !strings.HasPrefix(s, prefix) {
			continue
		}
		if len(s) != tokenLen {
			return "", fmt.Errorf("%s token has %d characters, not %d: it was cut or something was added: %w", kind, len(s), tokenLen, ErrUnauthenticated)
		}
		body := s[:tokenLen-tokenSumDigits]
		if s[len(body):] != tokenSum(body) || strings.ContainsFunc(s[len(prefix):], notDigit) {
			return "", fmt.Errorf("%s token is mistyped: its checksum does not match: %w", kind, ErrUnauthenticated)
		}
		return kind, nil
	}
	return "", fmt.Errorf("not a Latchkey token: it must begin with lk_s_ or lk_w_: %w", ErrUnauthenticated)
}

// HashToken is what the server stores of a token. A token holds 256 random
// bits, so a plain SHA-256 is enough.
func HashToken(s string) [sha256.Size]byte { return sha256.Sum256([]byte(s)) }

func tokenSum(body string) string {
	return base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), tokenSumDigits)
}

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

func notDigit(r rune) bool { return !strings.ContainsRune(digits, r) }

// base62 writes n with the digits 0-9A-Za-z, padded to a width.
func base62(n *big.Int, width int) string {
	out := make([]byte, width)
	base, rem := big.NewInt(62), new(big.Int)
	for i := width - 1; i >= 0; i-- {
		n.DivMod(n, base, rem)
		out[i] = digits[rem.Int64()]
	}
	return string(out)
}
