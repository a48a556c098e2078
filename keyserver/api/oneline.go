package api

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxDetail is how long the detail of a [DeliveryItem] is at most, in bytes.
const MaxDetail = 500

// OneLine makes of any text one line of at most most bytes, without control
// characters: cut between characters where it is too long.
func OneLine(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	const cut = "…"
	if len(text) <= most {
		return text
	}
	end := most - len(cut)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + cut
}
