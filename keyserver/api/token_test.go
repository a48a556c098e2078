package api

import (
	"errors"
	"strings"
	"testing"
)

var tokenKinds = []TokenKind{SessionToken, WorkspaceToken}

func TestNewToken(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		for _, kind := range tokenKinds {
			token := NewToken(kind)
			if got, err := ParseToken(token); err != nil || got != kind {
				t.Fatalf("ParseToken(NewToken(%q)) = %q, %v; want the kind again", kind, got, err)
			}
			if seen[token] {
				t.Fatal("NewToken made the same token twice")
			}
			seen[token] = true
		}
	}
}

// The form of a token is what scanners for leaked secrets look for.
func TestTokenForm(t *testing.T) {
	for kind, prefix := range map[TokenKind]string{SessionToken: "lk_s_", WorkspaceToken: "lk_w_"} {
		rest, ok := strings.CutPrefix(NewToken(kind), prefix)
		if !ok || len(rest) != 49 || strings.Trim(rest, digits) != "" {
			t.Errorf("a %s token is not %q and 49 base62 digits", kind, prefix)
		}
	}
}

// Whatever one character a person gets wrong, leaves out, repeats or swaps with
// its neighbour: the checksum tells.
func TestTokenTypos(t *testing.T) {
	for _, kind := range tokenKinds {
		token := NewToken(kind)
		wrong := map[string]string{}
		for i := range token {
			before, after := token[:i], token[i+1:]
			for _, c := range digits + "_-. \n\x00" {
				if byte(c) != token[i] {
					wrong[before+string(c)+after] = "one character replaced"
				}
			}
			wrong[before+after] = "one character left out"
			wrong[before+string(token[i])+token[i:]] = "one character twice"
			if i > 0 && token[i-1] != token[i] {
				wrong[token[:i-1]+string(token[i])+string(token[i-1])+after] = "two neighbours swapped"
			}
			wrong[before] = "cut"
		}
		wrong[token+"\n"] = "a line feed behind it"
		wrong[" "+token] = "a space before it"
		wrong[strings.ToUpper(token)] = "in capitals"
		wrong[token+token] = "twice"
		for w, how := range wrong {
			if w == token {
				continue
			}
			got, err := ParseToken(w)
			if err == nil {
				t.Errorf("%s token with %s: ParseToken takes it for a %s token", kind, how, got)
				continue
			}
			if !errors.Is(err, ErrUnauthenticated) {
				t.Errorf("%s token with %s: %v; want ErrUnauthenticated", kind, how, err)
			}
			if len(w) > 10 && strings.Contains(err.Error(), w[5:]) {
				t.Errorf("%s token with %s: the error holds it: %v", kind, how, err)
			}
		}
	}
}

// A checksum that matches does not make a token of what no NewToken returns:
// tokens go into headers and files as they are.
func TestTokenAlphabet(t *testing.T) {
	for _, c := range "\n\x00 \x7f/ä" {
		body := "lk_s_" + strings.Repeat("0", tokenRandomDigits-len(string(c))) + string(c)
		if _, err := ParseToken(body + tokenSum(body)); err == nil {
			t.Errorf("ParseToken takes a token with %q in it; want base62 digits only", c)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(NewToken(SessionToken), true)
	f.Add(NewToken(WorkspaceToken), false)
	f.Add("lk_s_", true)
	f.Add("", true)
	f.Fuzz(func(t *testing.T, s string, fix bool) {
		if fix && len(s) >= tokenLen-tokenSumDigits { // reach behind the checksum
			body := s[:tokenLen-tokenSumDigits]
			s = body + tokenSum(body)
		}
		kind, err := ParseToken(s)
		if err != nil {
			if kind != "" || !errors.Is(err, ErrUnauthenticated) {
				t.Errorf("ParseToken(%q) = %q, %v; want no kind and ErrUnauthenticated", s, kind, err)
			}
			return
		}
		prefix, ok := tokenPrefixes[kind]
		if !ok || len(s) != tokenLen || !strings.HasPrefix(s, prefix) || strings.Trim(s[len(prefix):], digits) != "" {
			t.Errorf("ParseToken(%q) = %q; it has not that form", s, kind)
		}
	})
}

func TestHashToken(t *testing.T) {
	a, b := NewToken(SessionToken), NewToken(SessionToken)
	if HashToken(a) != HashToken(a) || HashToken(a) == HashToken(b) {
		t.Error("HashToken must give one token one hash and two tokens two")
	}
}

func BenchmarkParseToken(b *testing.B) {
	token := NewToken(SessionToken)
	for b.Loop() {
		if _, err := ParseToken(token); err != nil {
			b.Fatal(err)
		}
	}
}
