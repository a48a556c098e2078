package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
)

// forms calls add with all that a value may look like: as it is, without the
// white space around it, with the ends of lines that a terminal makes, each line
// for itself, encoded and escaped. A form may come twice, or be too short.
func forms(value []byte, add func([]byte)) {
	if len(value) == 0 {
		return
	}
	trimmed := bytes.TrimSpace(value)
	alike := [][]byte{value, trimmed, lineEnds(value, "\n"), lineEnds(value, "\r\n"), lineEnds(trimmed, "\r\n")}
	for i, v := range alike {
		if !slices.ContainsFunc(alike[:i], func(earlier []byte) bool { return bytes.Equal(earlier, v) }) {
			encoded(v, add)
		}
	}
	if bytes.ContainsAny(value, "\n\r") {
		for line := range bytes.FieldsFuncSeq(value, func(r rune) bool { return r == '\n' || r == '\r' }) {
			if line = bytes.TrimSpace(line); !armour(line) {
				add(bytes.Clone(line))
			}
		}
	}
}

// lineEnds gives all lines of a value the same end.
func lineEnds(value []byte, end string) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(value, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte(end))
}

// armour reports whether a line is the first or last one of a PEM block, which
// is no secret, and stands in other texts.
func armour(line []byte) bool {
	return bytes.HasPrefix(line, []byte("-----")) && bytes.HasSuffix(line, []byte("-----"))
}

func encoded(v []byte, add func([]byte)) {
	if len(v) == 0 {
		return
	}
	add(bytes.Clone(v))
	hexForms(v, add)
	base64Forms(v, add)
	for _, s := range escaped(string(v)) {
		add([]byte(s))
	}
}

// maxPieces is the size of a value, in bytes, up to which the pieces of its
// encoded forms are found: there is one for each byte.
const maxPieces = 1 << 10

// pieces are all the parts of an encoded text that stand for Min bytes, which
// begin at every step. However a longer text is broken into lines, what is left
// of a value on a line is covered by them, but for less than Min bytes.
func pieces(text []byte, size, step int, add func([]byte)) {
	for i := 0; i+size <= len(text); i += step {
		add(text[i : i+size : i+size])
	}
}

// hexForms are a value in digits of either case: without anything in between,
// as xxd(1) has it in lines too, and with what programs put between the bytes.
func hexForms(v []byte, add func([]byte)) {
	digits := hex.EncodeToString(v)
	var colons, blanks strings.Builder
	for i := 0; i < len(digits); i += 2 {
		colons.WriteString(digits[i:i+2] + ":")
		blanks.WriteString(digits[i:i+2] + " ")
	}
	all := []string{digits, strings.TrimSuffix(colons.String(), ":"), strings.TrimSuffix(blanks.String(), " ")}
	for _, text := range all {
		add([]byte(text))
		add([]byte(strings.ToUpper(text)))
	}
	if len(v) <= maxPieces {
		pieces([]byte(digits), 2*Min, 2, add)
		pieces([]byte(strings.ToUpper(digits)), 2*Min, 2, add)
	}
}

// base64Forms are a value by itself, with and without padding and with lines of
// the usual widths, and what is certain of it within the base64 of a longer text.
func base64Forms(v []byte, add func([]byte)) {
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		whole := e.EncodeToString(v)
		add([]byte(whole))
		add([]byte(strings.TrimRight(whole, "=")))
		// A character holds 6 bits. Those that also hold bits of what stands
		// before or behind the value are unknown.
		for before := range 3 {
			text := e.EncodeToString(append(make([]byte, before, before+len(v)), v...))
			within := []byte(text[(8*before+5)/6 : 8*(before+len(v))/6])
			add(within)
			if len(v) <= maxPieces && (e == base64.StdEncoding || bytes.ContainsAny(within, "-_")) {
				pieces(within, 8*Min/6, 1, add)
			}
		}
	}
	// RFC 1421 (PEM) has lines of 64 characters, RFC 2045 (MIME) and base64(1) 76.
	whole := base64.StdEncoding.EncodeToString(v)
	for _, width := range []int{64, 76} {
		for _, text := range []string{whole, whole[:8*len(v)/6]} { // more may follow the second
			if len(text) > width {
				add([]byte(wrap(text, width, "\n")))
				add([]byte(wrap(text, width, "\r\n")))
			}
		}
	}
}

func wrap(text string, width int, end string) string {
	var b strings.Builder
	for len(text) > width {
		b.WriteString(text[:width] + end)
		text = text[width:]
	}
	return b.String() + text
}
