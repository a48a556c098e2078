package witness

import (
	"encoding/binary"
	"slices"
)

// needleLen is the length in bytes of the pieces that a Matcher looks for: long
// enough that chance does not make one (64 bits, if it is hexadecimal), short
// enough that a line break or the end of a write does not hide a secret.
const needleLen = 16

type needle [needleLen]byte

// A Matcher finds secrets, in all their forms, in a stream of bytes. It is safe
// for concurrent use.
type Matcher struct {
	needles map[needle]string // the form that it is a piece of
	// begins says of a hash of four bytes whether a needle may begin with them,
	// which rules most places out quickly.
	begins [1 << beginBits]bool
}

const beginBits = 18

func begin(b []byte) uint32 { // Fibonacci hashing
	return binary.LittleEndian.Uint32(b) * 0x9E3779B1 >> (32 - beginBits)
}

// NewMatcher returns a Matcher for the given secrets.
func NewMatcher(secrets ...Secret) *Matcher {
	m := &Matcher{needles: make(map[needle]string)}
	for _, s := range secrets {
		for _, f := range s.forms() {
			for i := 0; i+needleLen <= len(f.bytes); i += needleLen {
				m.add(f.name, f.bytes[i:])
			}
			m.add(f.name, f.bytes[len(f.bytes)-needleLen:])
		}
	}
	return m
}

func (m *Matcher) add(name string, b []byte) {
	n := needle(b[:needleLen])
	if _, ok := m.needles[n]; !ok {
		m.needles[n] = name
	}
	m.begins[begin(b)] = true
}

// Find names the forms of secrets in b, each once.
func (m *Matcher) Find(b []byte) []string { return m.Stream().Write(b) }

// scan adds to found the needles in b. It shares nothing that changes, and
// everything that is written on the machine goes through it: the race detector
// would make it ten times slower.
//
//go:norace
func (m *Matcher) scan(found []string, b []byte) []string {
	for ; len(b) >= needleLen; b = b[1:] {
		if !m.begins[begin(b)] {
			continue
		}
		if name, ok := m.needles[needle(b[:needleLen])]; ok {
			found = add(found, name)
		}
	}
	return found
}

func add(set []string, s string) []string {
	for _, have := range set {
		if have == s {
			return set
		}
	}
	return append(set, s)
}

// A Stream is bytes that come in pieces, such as the writes to one descriptor.
// It finds a secret that lies over several of them, or that is broken into
// lines or otherwise laid out as text: it looks at the bytes as they are, and
// once more at the letters and digits alone.
type Stream struct {
	m         *Matcher
	raw, text []byte // the ends of what was written
	escape    bool   // the last byte was a backslash
}

// Stream returns a new, empty stream.
func (m *Matcher) Stream() *Stream { return &Stream{m: m} }

// Write names the forms of secrets that end in b, each once.
func (s *Stream) Write(b []byte) (found []string) {
	raw, text := append(s.raw, b...), s.appendText(s.text, b)
	found = s.m.scan(s.m.scan(nil, raw), text)
	s.raw, s.text = end(raw), end(text)
	return found
}

// appendText appends the letters and digits of b.
//
//go:norace
func (s *Stream) appendText(text, b []byte) []byte {
	text = slices.Grow(text, len(b))
	for _, c := range b {
		switch {
		case s.escape && (c == 'n' || c == 'r' || c == 't' || c == 'x'):
			s.escape = false // "\n" in a JSON string is a line break, "\x" begins a byte
		case isText[c]:
			s.escape = false
			text = append(text, c)
		default:
			s.escape = c == '\\'
		}
	}
	return text
}

// isText says which bytes are digits of base64, or hexadecimal ones.
var isText = func() (is [256]bool) {
	for _, c := range "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+/-_" {
		is[c] = true
	}
	return is
}()

// end is a copy of the last bytes of b that may be the first of a needle.
func end(b []byte) []byte {
	n := min(len(b), needleLen-1)
	return append(make([]byte, 0, needleLen), b[len(b)-n:]...)
}
