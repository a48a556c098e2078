package importfile

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
)

// jsonReader reads a JSON file token by token: decoding into a map would keep
// the last of two equal keys, and put U+FFFD where half a pair of surrogates is.
type jsonReader struct {
	*file
	text    string
	decoder *json.Decoder
	line    int // of offset
	offset  int // behind the last token
}

func newJSONReader(f *file, text string) *jsonReader {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber() // one that is too large for a float is a number too
	return &jsonReader{file: f, text: text, decoder: d, line: 1}
}

const oneObject = `must be one object of strings: {"KEY": "value"}`

func (j *jsonReader) read() {
	first, _, ok := j.next()
	switch {
	case !ok:
		return
	case first != json.Delim('{'):
		j.problem(j.line, "", oneObject)
		return
	}
	for j.decoder.More() {
		if !j.member() {
			return
		}
	}
	if _, _, ok := j.next(); !ok { // the closing brace
		return
	}
	if strings.Trim(j.text[j.offset:], " \t\r\n") != "" {
		j.problem(j.nextLine(), "", "text stands behind the object; it "+oneObject)
	}
}

// member reads a key and its value. ok is false if reading can't go on.
func (j *jsonReader) member() (ok bool) {
	token, raw, ok := j.next()
	key, isString := token.(string)
	if !ok || !isString {
		return false // a key that is no string is a syntax error
	}
	line := j.line
	if loneSurrogate(raw) {
		j.problem(line, key, `the key holds half a pair of surrogates (\ud800 to \udfff)`)
	}
	value, raw, ok := j.next()
	if !ok {
		return false
	}
	switch v := value.(type) {
	case string:
		if loneSurrogate(raw) {
			j.newKey(line, key)
			j.problem(j.line, key, `holds half a pair of surrogates (\ud800 to \udfff), which is no text`)
			return true
		}
		j.add(line, key, v)
		return true
	case json.Delim:
		j.newKey(line, key)
		j.problem(j.line, key, "is %s; write it as a string", map[json.Delim]string{'{': "an object", '[': "a list"}[v])
		return j.skip()
	}
	j.newKey(line, key)
	j.problem(j.line, key, "is %s; write it as a string", kindOf(value))
	return true
}

func kindOf(value json.Token) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "true or false"
	}
	return "a number"
}

// skip reads up to the end of the object or the list that has begun.
func (j *jsonReader) skip() (ok bool) {
	for depth := 1; depth > 0; {
		token, _, ok := j.next()
		switch {
		case !ok:
			return false
		case token == json.Delim('{') || token == json.Delim('['):
			depth++
		case token == json.Delim('}') || token == json.Delim(']'):
			depth--
		}
	}
	return true
}

// next reads a token. raw is its text, and what separates it from the one before.
func (j *jsonReader) next() (token json.Token, raw string, ok bool) {
	token, err := j.decoder.Token()
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		j.problem(1+strings.Count(j.text, "\n"), "", "is not valid JSON: the file ends too early")
		return nil, "", false
	case err != nil:
		// Its text has a character of the file.
		j.problem(j.nextLine(), "", "is not valid JSON")
		return nil, "", false
	}
	end := int(j.decoder.InputOffset())
	raw = j.text[j.offset:end]
	j.line += strings.Count(raw, "\n")
	j.offset = end
	return token, raw, true
}

// nextLine is the line of the next token.
func (j *jsonReader) nextLine() int {
	rest := j.text[j.offset:]
	return j.line + strings.Count(rest[:len(rest)-len(strings.TrimLeft(rest, " \t\r\n,:"))], "\n")
}

// loneSurrogate reports whether a JSON string has a \u escape that is one half
// of a pair (RFC 8259, section 8.2).
func loneSurrogate(raw string) bool {
	for i := 0; i+1 < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++
		r, ok := escapedRune(raw[i:])
		if !ok || !utf16.IsSurrogate(r) {
			continue
		}
		i += len("uXXXX")
		low, ok := rune(0), strings.HasPrefix(raw[i:], `\`)
		if ok {
			low, ok = escapedRune(raw[i+1:])
		}
		if !ok || utf16.DecodeRune(r, low) == '\ufffd' {
			return true
		}
		i += len("uXXXX")
	}
	return false
}

// escapedRune is the rune of "uXXXX", which follows a backslash.
func escapedRune(s string) (rune, bool) {
	if len(s) < len("uXXXX") || s[0] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[1:5], 16, 16)
	return rune(n), err == nil
}
