package scan

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A vault answers as the key server does.
type vault struct {
	secrets map[string]string // name to value
	asked   int               // requests
	hashed  int               // candidates
}

func (v *vault) hashes(_ context.Context, r api.ScanRequest) (matches []api.ScanMatch, err error) {
	if len(r.Salt) != saltSize || len(r.Hashes)%hashSize != 0 || len(r.Hashes) == 0 {
		return nil, errors.New("no request of a scanner")
	}
	v.asked++
	v.hashed += len(r.Hashes) / hashSize
	for name, value := range v.secrets {
		mac := hmac.New(sha256.New, r.Salt)
		mac.Write([]byte(value))
		want := mac.Sum(nil)[:hashSize]
		for i := 0; i < len(r.Hashes); i += hashSize {
			if bytes.Equal(r.Hashes[i:i+hashSize], want) {
				matches = append(matches, api.ScanMatch{Index: i / hashSize, Secret: name})
			}
		}
	}
	return matches, nil
}

func scanned(t *testing.T, v *vault, files ...File) []Finding {
	t.Helper()
	s := &Scanner{Hashes: v.hashes}
	for _, f := range files {
		if err := s.Add(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	found, err := s.Findings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A value is found wherever programs and people write values.
func TestScanFindsValuesInPlace(t *testing.T) {
	const token = "tok-4f9QxZ/7+a=="
	for name, content := range map[string]string{
		"alone":               token,
		"with a newline":      token + "\n",
		"a line":              "first\n  " + token + "  \nlast\n",
		"CRLF":                "a\r\n" + token + "\r\nb\r\n",
		"dotenv":              "TOKEN=" + token + "\n",
		"dotenv, quoted":      `export TOKEN="` + token + "\" # mine\n",
		"single quotes":       "x = '" + token + "';\n",
		"backquotes":          "x = `" + token + "`,\n",
		"JSON":                `{"a": 1, "token": "` + token + `", "b": 2}` + "\n",
		"YAML":                "auth:\n  token: " + token + "\n",
		"YAML, flow":          "{token: " + token + ", other: 1}\n",
		"a command":           "curl -H 'Authorization: Bearer " + token + "' https://x.example\n",
		"a call":              "login(" + token + ")\n",
		"a comma at the end":  "token: " + token + ",\n",
		"XML":                 "<token>" + token + "</token>\n",
		"binary around it":    "\x00\x01 " + token + " \xff\xfe",
		"behind a long line":  strings.Repeat("x", maxCandidate+10) + "\n" + token + "\n",
		"the last of a table": "| a | b | " + token + "\n",
	} {
		got := scanned(t, &vault{secrets: map[string]string{"api": token, "other": "something-else"}}, File{Name: "f", Content: []byte(content)})
		if len(got) != 1 || got[0].Secret != "api" || got[0].File != "f" {
			t.Errorf("%s: found %+v; want the one secret api", name, got)
			continue
		}
		want := 1 + strings.Count(content[:strings.Index(content, token)], "\n")
		if got[0].Line != want {
			t.Errorf("%s: found in line %d; want %d", name, got[0].Line, want)
		}
	}
}

func TestScanFindsWholeFilesAndLines(t *testing.T) {
	file := "-----BEGIN X-----\nabc\ndef\n-----END X-----\n"
	v := &vault{secrets: map[string]string{"pem": file, "trimmed": strings.TrimSuffix(file, "\n"), "phrase": "correct horse battery staple"}}
	got := scanned(t, v, File{Name: "id", Content: []byte(file)}, File{Name: "notes", Content: []byte("\n\tcorrect horse battery staple\n")})
	want := []Finding{{"id", "", 1, "pem"}, {"id", "", 1, "trimmed"}, {"notes", "", 2, "phrase"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("found %+v; want %+v", got, want)
	}
}

func TestScanIsQuietAboutOthers(t *testing.T) {
	v := &vault{secrets: map[string]string{"api": "token-0123456789", "short": "abc"}}
	if got := scanned(t, v, File{Name: "f", Content: []byte("token-012345678 oken-0123456789 abc\nTOKEN-0123456789\n")}); len(got) != 0 {
		t.Errorf("found %+v in a file without a value", got)
	}
}

// Many candidates go in several requests, the same one once in each.
func TestScanBatches(t *testing.T) {
	const lines = maxPending * 5 / 8 // each is a candidate, and its one word is
	var text bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&text, "word%010d word%010d\n", i, i)
	}
	fmt.Fprint(&text, "the-secret-value\n")
	v := &vault{secrets: map[string]string{"api": "the-secret-value"}}
	got := scanned(t, v, File{Name: "f", Content: text.Bytes()})
	if len(got) != 1 || got[0].Line != lines+1 {
		t.Errorf("found %+v; want the value in the last line", got)
	}
	if v.asked != 2 || v.hashed > 2*lines+10 {
		t.Errorf("asked %d times about %d candidates; want two requests, with each word once", v.asked, v.hashed)
	}
}

func TestScanJoinsBothSides(t *testing.T) {
	v := &vault{secrets: map[string]string{"api": "the-secret-value"}}
	s := &Scanner{Hashes: v.hashes, Values: func(_ context.Context, b []byte) ([]Hit, error) {
		return []Hit{{"api", bytes.Index(b, []byte("the-secret-value"))}, {"db", bytes.Index(b, []byte("ZGI="))}}, nil
	}}
	if err := s.Add(t.Context(), File{Name: "f", Commit: "c", Content: []byte("\nthe-secret-value\nZGI=\n")}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Findings(t.Context())
	if want := []Finding{{"f", "c", 2, "api"}, {"f", "c", 3, "db"}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("found %+v, %v; want %+v, each once", got, err, want)
	}
}

func TestScanFails(t *testing.T) {
	broken := errors.New("broken")
	s := &Scanner{Hashes: func(context.Context, api.ScanRequest) ([]api.ScanMatch, error) { return nil, broken }}
	if err := s.Add(t.Context(), File{Content: []byte("a-candidate")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Findings(t.Context()); !errors.Is(err, broken) {
		t.Errorf("Findings without an answer: %v; want %v, so that nobody takes it for nothing found", err, broken)
	}
	junk := &Scanner{Hashes: func(context.Context, api.ScanRequest) ([]api.ScanMatch, error) {
		return []api.ScanMatch{{Index: -1}, {Index: 1 << 40}}, nil
	}}
	if err := junk.Add(t.Context(), File{Content: []byte("a-candidate")}); err != nil {
		t.Fatal(err)
	}
	if got, err := junk.Findings(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("Findings of a server that answers junk: %v, %v; want nothing", got, err)
	}
}

// Every candidate begins in the line in which it is said to begin, and every
// word is one.
func FuzzCandidates(f *testing.F) {
	f.Add([]byte("a=bcdefghijk\n'quoted words' x:y\r\n"), uint64(1))
	f.Add([]byte{}, uint64(2))
	f.Fuzz(func(t *testing.T, content []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		word := make([]byte, minCandidate+r.IntN(20))
		for i := range word {
			word[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/-_."[r.IntN(67)]
		}
		at := r.IntN(len(content) + 1)
		border := []byte(" \t\n\"'`")
		b := append(append(append(bytes.Clone(content[:at]), border[r.IntN(len(border))]), word...), border[r.IntN(len(border))])
		b = append(b, content[at:]...)
		found := false
		lines := bytes.Split(b, []byte("\n"))
		for n, c := range candidates(b) {
			first, _, _ := bytes.Cut(c, []byte("\n"))
			if n < 1 || n > len(lines) || !bytes.Contains(lines[n-1], first) {
				t.Fatalf("candidate %q does not begin in line %d of %q", c, n, b)
			}
			found = found || bytes.Equal(c, word)
		}
		if !found {
			t.Fatalf("the word %q of %q is no candidate", word, b)
		}
	})
}
