package keyserver

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/latchkey/latchkey/keyserver/api"
)

// verbatim refuses a JSON body whose strings encoding/json would change: it
// puts U+FFFD in the place of bytes that are not UTF-8, and of half a surrogate
// pair. A value must come back as it was sent, or not be taken.
func verbatim(body []byte) error {
	const todo = "send bytes that are not text in base64, where the request has a field for it"
	if !utf8.Valid(body) {
		return refusal(api.ErrInvalid, todo, "the body is not valid UTF-8")
	}
	// Outside of strings JSON has no backslash; what is not JSON is told later.
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		first := surrogate(body[i:])
		i++ // behind the backslash comes one byte at least, which may be another
		if first == 0 {
			continue
		}
		at := i - 1
		second := surrogate(body[min(at+6, len(body)):])
		if utf16.DecodeRune(first, second) == utf8.RuneError {
			return refusal(api.ErrInvalid, todo, "the body holds half a surrogate pair, at byte %d", at)
		}
		i = at + 11 // the pair's last byte
	}
	return nil
}

// surrogate is the half of a pair with whose escape b begins, 0 if there is none.
func surrogate(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil || !utf16.IsSurrogate(rune(n)) {
		return 0
	}
	return rune(n)
}
