package mask

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// escaped is a value as JSON, URLs, Go and shells have it within quotes.
func escaped(s string) []string {
	query := url.QueryEscape(s)
	component := strings.ReplaceAll(query, "+", "%20")
	// encodeURIComponent of JavaScript leaves these.
	script := strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(component)
	python := strings.ReplaceAll(component, "%2F", "/") // urllib.parse.quote
	forms := []string{query, component, script, python, url.PathEscape(s), encodeURI(script)}
	for _, f := range forms {
		forms = append(forms, lowerEscapes(f))
	}
	forms = append(forms, jsonForms(s)...)
	forms = append(forms, inner(strconv.Quote(s)), inner(strconv.QuoteToASCII(s)))
	forms = append(forms, shellForms(s)...)
	return append(forms, htmlForms(s)...)
}

// encodeURI is what JavaScript's function of that name has, of what
// encodeURIComponent has.
func encodeURI(component string) string {
	return strings.NewReplacer("%3B", ";", "%2C", ",", "%2F", "/", "%3F", "?", "%3A", ":", "%40", "@",
		"%26", "&", "%3D", "=", "%2B", "+", "%24", "$", "%23", "#").Replace(component)
}

// shellForms are a value in single quotes, as two habits have it, in double
// quotes, and with a backslash before what is special (bash's and zsh's printf
// %q); and Python's repr, where both kinds of quotes are in it.
func shellForms(s string) []string {
	return []string{
		strings.ReplaceAll(s, "'", `'\''`), strings.ReplaceAll(s, "'", `'"'"'`),
		backslashed(s, "\"\\$`"),
		backslashed(s, " !\"#$&'()*,;<=>?[\\]^`{|}~"), backslashed(s, " !\"#$&'()*;<>?[\\]^`{|}~"), backslashed(s, " \"#$&'()*,;<>?[\\]^`{|}"),
		strings.ReplaceAll(inner(strconv.Quote(s)), `\"`, `"`),
		strings.ReplaceAll(strings.ReplaceAll(inner(strconv.Quote(s)), `\"`, `"`), "'", `\'`),
	}
}

// backslashed puts a backslash before each of some characters.
func backslashed(s, special string) string {
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(special, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// htmlForms are a value as the escapers of Go, Python and PHP have it.
func htmlForms(s string) []string {
	text := html.EscapeString(s)
	named := strings.ReplaceAll(text, "&#34;", "&quot;")
	return []string{text, named, strings.ReplaceAll(named, "&#39;", "&#x27;"), strings.ReplaceAll(named, "&#39;", "&#039;"), strings.ReplaceAll(named, "&#39;", "'")}
}

// jsonForms are a value as the encoders of Go, with and without HTML in mind,
// JavaScript, Python (which leaves ASCII only) and PHP (which escapes the slash)
// have it.
func jsonForms(s string) (forms []string) {
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	forHTML, err := json.Marshal(s)
	if err != nil || e.Encode(s) != nil {
		return nil
	}
	text := inner(strings.TrimSuffix(plain.String(), "\n"))
	// Go escapes these for JavaScript's sake (RFC 8259 does not ask for it).
	script := strings.NewReplacer(`\\`, `\\`, `\u2028`, "\u2028", `\u2029`, "\u2029").Replace(text)
	forms = []string{inner(string(forHTML)), text, script, asciiJSON(text), upperJSON(asciiJSON(text))}
	for _, f := range forms {
		forms = append(forms, strings.ReplaceAll(f, "/", `\/`))
	}
	for _, f := range forms { // JSON within a string of JSON
		forms = append(forms, backslashed(f, `"\`))
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
