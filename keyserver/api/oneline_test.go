package api

import (
	"strings"
	"testing"
)

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "",
		"a b":                         "a b",
		"a\nb\x00\x1b\u0085\x7f":      "a b    ",
		"a\xffb":                      "a\uFFFDb",
		"1234567890":                  "1234567890",
		"12345678901":                 "1234567…",
		"123456é8901":                 "123456…",
		"\n" + strings.Repeat("é", 9): " ééé…",
	} {
		if got := OneLine(text, 10); got != want {
			t.Errorf("OneLine(%q) = %q; want %q", text, got, want)
		}
	}
}
