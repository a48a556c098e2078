package keyserver

import (
	"encoding/json"
	"strings"
	"testing"
)

// What is refused is just what encoding/json would change: it puts U+FFFD where
// the text says something else.
func FuzzVerbatim(f *testing.F) {
	for _, s := range []string{`"\ud83d\udd11"`, `"\ud83d"`, `"\\ud83d"`, `"\\\ud83d"`, `"\uD83D\uD83D\uDD11"`, `"\udd11\ud83d"`, "\"\xed\xa0\x80\"", `"\u"`, `"\`, "\"\xff\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "\ufffd") || strings.Contains(strings.ToLower(text), "ufffd") {
			return // says so itself
		}
		var decoded string
		if json.Unmarshal([]byte(text), &decoded) != nil {
			return
		}
		changed, refused := strings.Contains(decoded, "\ufffd"), verbatim([]byte(text)) != nil
		if changed != refused {
			t.Errorf("%q means %q: changed %t, refused %t; want both or neither", text, decoded, changed, refused)
		}
	})
}
