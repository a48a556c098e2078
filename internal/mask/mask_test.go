package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// masked writes text in pieces through a writer.
func masked(t testing.TB, s *Set, pieces ...string) string {
	t.Helper()
	var out bytes.Buffer
	w := s.Writer(&out)
	for _, p := range pieces {
		if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatalf("Write of %d bytes = %d, %v", len(p), n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// plainly does what a Writer does, as simply as it can be said: every byte that
// any pattern covers is hidden, and where hiding begins stands the name of the
// longest pattern there.
func plainly(values []Value, text string) string {
	type pattern struct{ name, form string }
	var patterns []pattern
	for _, v := range values {
		forms(v.Bytes, func(form []byte) {
			if len(form) >= Min {
				patterns = append(patterns, pattern{v.Name, string(form)})
			}
		})
	}
	var out strings.Builder
	hiddenTo := 0
	for i := range len(text) {
		var longest pattern
		for _, p := range patterns {
			if strings.HasPrefix(text[i:], p.form) && len(p.form) > len(longest.form) {
				longest = p
			}
		}
		if longest.form != "" && i >= hiddenTo {
			out.WriteString("[secret " + longest.name + "]")
		}
		hiddenTo = max(hiddenTo, i+len(longest.form))
		if i >= hiddenTo {
			out.WriteByte(text[i])
		}
	}
	return out.String()
}

const awkward = "pa'ss\"w\\ö/<r>+d&%=\t$x!*()~"

func TestForms(t *testing.T) {
	value := awkward + " and more"
	s := New([]Value{{"A", []byte(value)}})
	html, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString([]byte(value))
	for _, form := range []string{
		value, b64, strings.TrimRight(b64, "="),
		base64.URLEncoding.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(value)),
		hex.EncodeToString([]byte(value)), strings.ToUpper(hex.EncodeToString([]byte(value))),
		url.QueryEscape(value), url.PathEscape(value), lowerEscapes(url.QueryEscape(value)), lowerEscapes(url.PathEscape(value)),
		strings.ReplaceAll(url.QueryEscape(value), "+", "%20"),
		inner(string(html)), strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(inner(string(html))),
		inner(strconv.Quote(value)), strings.ReplaceAll(value, "'", `'\''`), strings.ReplaceAll(value, "'", `'"'"'`),
	} {
		if got := masked(t, s, "before|"+form+"|after"); got != "before|[secret A]|after" {
			t.Errorf("with the form %q the text became %q", form, got)
		}
		if found := s.Find([]byte("x " + form)); !slices.Equal(found, []Match{{"A", 2, 2 + len(form)}}) {
			t.Errorf("Find of the form %q = %v", form, found)
		}
	}
}

// JSON of other encoders than Go's, as Python's json.dumps, JavaScript's
// JSON.stringify and PHP's json_encode write it.
func TestFormsOfOtherJSON(t *testing.T) {
	s := New([]Value{{"A", []byte("pa\U0001f600ss/w\u00e9rd-\u2028\\u\"<")}})
	for encoder, form := range map[string]string{
		"Python":     `pa\ud83d\ude00ss/w\u00e9rd-\u2028\\u\"<`,
		"upper case": `pa\uD83D\uDE00ss/w\u00E9rd-\u2028\\u\"<`,
		"PHP":        `pa\ud83d\ude00ss\/w\u00e9rd-\u2028\\u\"<`,
		"JavaScript": "pa\U0001f600ss/w\u00e9rd-\u2028" + `\\u\"<`,
	} {
		if got := masked(t, s, `{"a": "`+form+`"}`); got != `{"a": "[secret A]"}` {
			t.Errorf("%s: the text became %q", encoder, got)
		}
	}
}

// Forms that other programs write, as they write them.
func TestFormsOfOthers(t *testing.T) {
	const value = "S3cr3t/Val+ue=&\"<x>'\\y $z"
	s := New([]Value{{"A", []byte(value)}})
	for program, form := range map[string]string{
		"urllib.parse.quote": `S3cr3t/Val%2Bue%3D%26%22%3Cx%3E%27%5Cy%20%24z`,
		"encodeURI":          `S3cr3t/Val+ue=&%22%3Cx%3E'%5Cy%20$z`,
		"JSON in JSON":       `S3cr3t/Val+ue=&\\\"<x>'\\\\y $z`,
		"Python's repr":      `S3cr3t/Val+ue=&"<x>\'\\y $z`,
		"declare -p":         `S3cr3t/Val+ue=&\"<x>'\\y \$z`,
		"bash's %q":          `S3cr3t/Val+ue=\&\"\<x\>\'\\y\ \$z`,
		"zsh's (q)":          `S3cr3t/Val+ue\=\&\"\<x\>\'\\y\ \$z`,
		"html.escape":        `S3cr3t/Val+ue=&amp;&quot;&lt;x&gt;&#x27;\y $z`,
		"htmlspecialchars":   `S3cr3t/Val+ue=&amp;&quot;&lt;x&gt;&#039;\y $z`,
		"hex with colons":    strings.TrimSuffix(regexp.MustCompile("..").ReplaceAllString(hex.EncodeToString([]byte(value)), "$0:"), ":"),
		"hexdump -C":         strings.TrimSuffix(regexp.MustCompile("..").ReplaceAllString(hex.EncodeToString([]byte(value)), "$0 "), " "),
	} {
		if got := masked(t, s, "before|"+form+"|after"); got != "before|[secret A]|after" {
			t.Errorf("%s: the text became %q", program, got)
		}
	}
}

// Within a longer text in base64 or hex that is broken into lines anywhere, less
// than Min bytes of a value are left on a line.
func TestPieces(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		value := make([]byte, 20+random.IntN(150))
		for i := range value {
			value[i] = byte(random.Uint32())
		}
		s := New([]Value{{"A", value}})
		text := append(bytes.Repeat([]byte("."), random.IntN(80)), value...)
		width := 4 * (5 + random.IntN(20))
		for _, line := range strings.Split(masked(t, s, wrap(base64.StdEncoding.EncodeToString(text), width, "\n")), "\n") {
			for _, rest := range strings.Split(line, "[secret A]") {
				left, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(rest, "=")[:len(strings.TrimRight(rest, "="))/4*4])
				if err == nil && overlap(left, value) >= Min+3 {
					t.Fatalf("%d bytes of the value are left in a line of base64", overlap(left, value))
				}
			}
		}
		for _, line := range strings.Split(masked(t, s, wrap(hex.EncodeToString(text), 60, "\n")), "\n") {
			for _, rest := range strings.Split(line, "[secret A]") {
				left, err := hex.DecodeString(rest)
				if err == nil && overlap(left, value) >= Min {
					t.Fatalf("%d bytes of the value are left in a line of hex", overlap(left, value))
				}
			}
		}
	}
}

// overlap is the length of the longest run of bytes that two have in common.
func overlap(a, b []byte) (most int) {
	for i := range a {
		for j := range b {
			n := commonPrefix(a[i:], b[j:])
			most = max(most, n)
		}
	}
	return most
}

// Nothing is longer than Longest says, and something is that long.
func TestLongest(t *testing.T) {
	if got := New(nil).Longest(); got != 0 {
		t.Errorf("the longest form of no value has %d bytes", got)
	}
	for _, value := range []string{"abcdef", "\x01\x02\x03\x04\x05\x06", strings.Repeat("\x00", 4096), awkward} {
		s, longest := New([]Value{{"A", []byte(value)}}), 0
		forms([]byte(value), func(form []byte) {
			longest = max(longest, len(form))
		})
		if got := s.Longest(); got != longest {
			t.Errorf("the longest form of %.10q has %d bytes; want %d", value, got, longest)
		}
	}
}

// Within a longer text in base64, no more than the characters that also hold bits
// of the neighbours are left.
func TestWithinBase64(t *testing.T) {
	const value = "correct horse battery"
	s := New([]Value{{"A", []byte(value)}})
	for before := range 7 {
		for after := range 7 {
			text := strings.Repeat("<", before) + value + strings.Repeat(">", after)
			for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
				got := masked(t, s, e.EncodeToString([]byte(text)))
				left, right, found := strings.Cut(got, "[secret A]")
				if most := (before*8 + 5) / 6; !found || len(left) > most || len(right) > (after*8+5)/6+3 {
					t.Errorf("%q in base64 became %q", text, got)
				}
			}
		}
	}
}

func TestLines(t *testing.T) {
	const key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nshort\nkqhkiG9w0BAQEFAASC\r\n-----END KEY-----\n"
	s := New([]Value{{"K", []byte(key)}})
	for _, test := range []struct{ text, want string }{
		{key, "[secret K]"},
		{strings.ReplaceAll(strings.ReplaceAll(key, "\r", ""), "\n", "\r\n"), "[secret K]"}, // as a terminal has it
		{strings.ReplaceAll(key, "\r", ""), "[secret K]"},
		{strings.TrimSpace(key) + ".", "[secret K]."},
		{"  MIIEvQIBADANBg\r\n", "  [secret K]\r\n"},
		{"x: kqhkiG9w0BAQEFAASC\n", "x: [secret K]\n"},
		{"-----BEGIN KEY-----\n", "-----BEGIN KEY-----\n"},
		{"short\n", "short\n"},
	} {
		if got := masked(t, s, test.text); got != test.want {
			t.Errorf("%q became %q; want %q", test.text, got, test.want)
		}
	}
	// base64(1) and openssl break lines.
	long := strings.Repeat("0123456789abc", 20)
	s = New([]Value{{"L", []byte(long)}})
	for _, width := range []int{64, 76} {
		if got := masked(t, s, wrap(base64.StdEncoding.EncodeToString([]byte(long)), width, "\n")+"\n"); got != "[secret L]\n" {
			t.Errorf("in base64 of lines of %d it became %q", width, got)
		}
	}
}

func TestOverlap(t *testing.T) {
	s := New([]Value{{"A", []byte("abcdefgh")}, {"B", []byte("efghijkl")}, {"C", []byte("abcdefghijklmno")}, {"A2", []byte("abcdefgh")}})
	for _, test := range []struct{ text, want string }{
		{"abcdefgh", "[secret A]"},
		{"abcdefghijkl.", "[secret A]."},
		{"abcdefghijklmno", "[secret C]"},
		{"abcdefghijklmn", "[secret A]mn"},
		{"abcdefghabcdefgh", "[secret A][secret A]"},
		{"abcdabcdefgh", "abcd[secret A]"},
	} {
		if got := masked(t, s, test.text); got != test.want {
			t.Errorf("%q became %q; want %q", test.text, got, test.want)
		}
	}
}

// What can't be the beginning of a value is passed on at once: a prompt shows.
func TestHeldBack(t *testing.T) {
	var out bytes.Buffer
	w := New([]Value{{"A", []byte("secret-value")}}).Writer(&out)
	for _, step := range []struct{ write, shown string }{
		{"Password: ", "Password: "},
		{"s", "Password: "},
		{"o", "Password: so"},
		{"secret-valu", "Password: so"},
		{"", "Password: so"},
		{"e", "Password: so[secret A]"},
		{"\n$ secre", "Password: so[secret A]\n$ "},
	} {
		if _, err := w.Write([]byte(step.write)); err != nil {
			t.Fatal(err)
		}
		if out.String() != step.shown {
			t.Errorf("after %q there is %q; want %q", step.write, out.String(), step.shown)
		}
	}
	if err := w.Close(); err != nil || out.String() != "Password: so[secret A]\n$ secre" {
		t.Errorf("after Close there is %q, %v", out.String(), err)
	}
}

func TestUse(t *testing.T) {
	var out bytes.Buffer
	w := New([]Value{{"A", []byte("old-value")}}).Writer(&out)
	for _, p := range []string{"old-", "value new-value old-v"} {
		w.Write([]byte(p))
	}
	w.Use(New([]Value{{"A", []byte("new-value")}}))
	w.Write([]byte("alue new-value"))
	if err := w.Close(); err != nil || out.String() != "[secret A] new-value old-value [secret A]" {
		t.Errorf("it became %q, %v", out.String(), err)
	}
}

func TestShort(t *testing.T) {
	s := New([]Value{{"LONG", []byte("123456")}, {"PIN", []byte("1234\n\n\n")}, {"EMPTY", nil}, {"ABC", []byte("abc")}})
	if got := s.Short(); !slices.Equal(got, []string{"PIN", "ABC"}) {
		t.Errorf("Short = %q; want PIN and ABC", got)
	}
	if got := masked(t, New(nil), "some", "thing"); got != "something" {
		t.Errorf("without values it became %q", got)
	}
}

// Any values, texts made of what they look like, any pieces.
func TestAgainstPlain(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		var values []Value
		for i := range 1 + r.IntN(4) {
			b := make([]byte, r.IntN(12))
			for j := range b {
				b[j] = "ab\n'é"[r.IntN(6)]
			}
			values = append(values, Value{fmt.Sprint("S", i), b})
		}
		parts := []string{"ab", "YWJ", "%"}
		for _, v := range values {
			forms(v.Bytes, func(f []byte) { parts = append(parts, string(f)) })
		}
		var text strings.Builder
		for range 30 {
			part := parts[r.IntN(len(parts))]
			text.WriteString(part[:r.IntN(len(part)+1)])
		}
		checkAgainstPlain(t, values, text.String(), r.IntN(20))
		if t.Failed() {
			t.Fatalf("with the seed %d", seed)
		}
	}
}

// checkAgainstPlain masks text in pieces of at most size bytes, 0: in one.
func checkAgainstPlain(t *testing.T, values []Value, text string, size int) {
	t.Helper()
	s := New(values)
	want := plainly(values, text)
	if got := masked(t, s, text); got != want {
		t.Errorf("%q with %q became\n%q; want\n%q", text, values, got, want)
	}
	if size > 0 {
		var pieces []string
		for p := range slices.Chunk([]byte(text), size) {
			pieces = append(pieces, string(p))
		}
		if got := masked(t, s, pieces...); got != want {
			t.Errorf("%q with %q in pieces of %d became\n%q; want\n%q", text, values, size, got, want)
		}
	}
	// What is left between the places that Find names has no value in it.
	at := 0
	for _, m := range append(s.Find([]byte(text)), Match{"", len(text), len(text)}) {
		if m.Start > at {
			for _, v := range values {
				if len(v.Bytes) >= Min && strings.Contains(text[at:m.Start], string(v.Bytes)) {
					t.Errorf("Find in %q left %q, which has the value of %s", text, text[at:m.Start], v.Name)
				}
			}
		}
		at = max(at, m.End)
	}
}

func FuzzWriter(f *testing.F) {
	f.Add([]byte("secret-value"), []byte("aaaaaa"), []byte("x secret-value aaaaaaaaa c2VjcmV0LXZhbHVl"), uint8(3))
	f.Add([]byte(awkward), []byte("two\nlines of it\r\n"), []byte("two\r\nlines of it\r\n"), uint8(1))
	f.Add([]byte("ababab"), []byte("bababa"), []byte("abababababa"), uint8(2))
	f.Fuzz(func(t *testing.T, a, b, text []byte, size uint8) {
		if len(a)+len(b)+len(text) > 1<<10 {
			return // the plain way is slow
		}
		checkAgainstPlain(t, []Value{{"A", a}, {"B", b}}, string(text), int(size))
	})
}
