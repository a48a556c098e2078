package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
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
	digits := hex.AppendEncode(nil, v)
	add(digits)
	add(bytes.ToUpper(digits))
	base64Forms(v, add)
	for _, s := range escaped(string(v)) {
		add([]byte(s))
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
			add([]byte(text[(8*before+5)/6 : 8*(before+len(v))/6]))
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

// escaped is a value as JSON, URLs, Go and shells have it within quotes.
func escaped(s string) []string {
	query := url.QueryEscape(s)
	component := strings.ReplaceAll(query, "+", "%20")
	// encodeURIComponent of JavaScript leaves these.
	script := strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(component)
	forms := []string{query, component, script, url.PathEscape(s)}
	for _, f := range forms {
		forms = append(forms, lowerEscapes(f))
	}
	forms = append(forms, jsonForms(s)...)
	return append(forms,
		inner(strconv.Quote(s)), inner(strconv.QuoteToASCII(s)),
		strings.ReplaceAll(s, "'", `'\''`), strings.ReplaceAll(s, "'", `'"'"'`))
}

// jsonForms are a value as the encoders of Go, with and without HTML in mind,
// JavaScript, Python (which leaves ASCII only) and PHP (which escapes the slash)
// have it.
func jsonForms(s string) (forms []string) {
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	html, err := json.Marshal(s)
	if err != nil || e.Encode(s) != nil {
		return nil
	}
	text := inner(strings.TrimSuffix(plain.String(), "\n"))
	// Go escapes these for JavaScript's sake (RFC 8259 does not ask for it).
	script := strings.NewReplacer(`\\`, `\\`, `\u2028`, "\u2028", `\u2029`, "\u2029").Replace(text)
	forms = []string{inner(string(html)), text, script, asciiJSON(text), upperJSON(asciiJSON(text))}
	for _, f := range forms {
		forms = append(forms, strings.ReplaceAll(f, "/", `\/`))
	}
	return forms
}

// asciiJSON escapes what of a JSON string is not ASCII, as UTF-16 (RFC 8259,
// section 7).
func asciiJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch high, low := utf16.EncodeRune(r); {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case high != utf8.RuneError:
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// upperJSON writes the hex digits of \u00e9 in upper case.
func upperJSON(text string) string {
	b := []byte(text)
	for i := 0; i+1 < len(b); i += 2 {
		for i+1 < len(b) && b[i] != '\\' {
			i++
		}
		if i+6 <= len(b) && b[i] == '\\' && b[i+1] == 'u' {
			copy(b[i+2:i+6], bytes.ToUpper(b[i+2:i+6]))
		}
	}
	return string(b)
}

// inner is what is between quotes.
func inner(quoted string) string { return quoted[1 : len(quoted)-1] }

// lowerEscapes writes the hex digits of %2F in lower case.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
			i += 2
		}
	}
	return string(b)
}
