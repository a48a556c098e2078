// Package mask finds secret values in text, also where they are written in
// another form: in base64 or hex, escaped for JSON, a URL or a shell. It hides
// what is printed by accident, not what is disguised on purpose: a value that is
// reversed, cut up or encrypted is not found.
package mask

import (
	"bytes"
	"encoding/binary"
)

// Min is the least number of bytes that are looked for. Shorter ones would be
// found everywhere.
const Min = 6

// A Value is a secret.
type Value struct {
	Name  string
	Bytes []byte
}

// A Set is a number of values to find. It holds them, and does not change: many
// may use it at once.
type Set struct {
	names   []string // of the patterns
	tree    tree
	short   []string
	longest int // pattern, in bytes

	// A bit for the hash of the first Min bytes of each pattern: almost nowhere
	// in a text the tree need be asked.
	filter []uint64
	shift  uint
}

// New makes a set of values in all their forms. A form that two values share
// goes by the name of the first one.
func New(values []Value) *Set {
	s := &Set{tree: newTree()}
	for _, v := range values {
		trimmed := bytes.TrimSpace(v.Bytes)
		if len(v.Bytes) > 0 && len(trimmed) < Min {
			s.short = append(s.short, v.Name)
		}
		forms(v.Bytes, func(form []byte) {
			if len(form) >= Min && s.tree.insert(form, len(s.names)) {
				s.names = append(s.names, v.Name)
				s.longest = max(s.longest, len(form))
			}
		})
	}
	s.makeFilter()
	return s
}

// Short lists the names of the values that are too short to be found.
func (s *Set) Short() []string { return s.short }

// Longest is the length of the longest form, in bytes: who looks at a text piece
// by piece must see as much at a time.
func (s *Set) Longest() int { return s.longest }

// makeFilter sets the bits. There are 64 for each pattern, so that one place of
// sixty at most is looked at for nothing.
func (s *Set) makeFilter() {
	bits := uint(12)
	for 1<<bits < 64*len(s.names) {
		bits++
	}
	s.filter = make([]uint64, 1<<(bits-6))
	s.shift = 64 - bits
	s.tree.beginnings(func(pattern []byte) {
		h := s.hash(first(append(bytes.Clone(pattern[:Min]), 0, 0)))
		s.filter[h/64] |= 1 << (h % 64)
	})
}

// first is the first Min of the at least eight bytes in b.
func first(b []byte) uint64 { return binary.LittleEndian.Uint64(b) << (8 * (8 - Min)) }

// hash multiplies by 2^64 over the golden ratio: the high bits depend on all.
func (s *Set) hash(b uint64) uint64 { return b * 0x9e3779b97f4a7c15 >> s.shift }

// skip returns the first place from i on where a pattern may begin. The last
// bytes of text are always such places.
func (s *Set) skip(text []byte, i int) int {
	if len(s.names) == 0 {
		return len(text)
	}
	for ; i+8 <= len(text); i++ {
		if h := s.hash(first(text[i:])); s.filter[h/64]>>(h%64)&1 != 0 {
			return i
		}
	}
	return i
}

// A Match is a place in a text where a value stands, in any form.
type Match struct {
	Name       string
	Start, End int
}

// Find lists the places, from left to right: at each the longest match, unless
// an earlier one covers all of it.
func (s *Set) Find(text []byte) (found []Match) {
	covered := 0
	for i := s.skip(text, 0); i < len(text); i = s.skip(text, i+1) {
		w := s.tree.walk()
		s.tree.advance(&w, text[i:])
		if w.pattern >= 0 && i+w.length > covered {
			covered = i + w.length
			found = append(found, Match{s.names[w.pattern], i, covered})
		}
	}
	return found
}
