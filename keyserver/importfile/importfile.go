// Package importfile reads files of secrets: dotenv files, and flat JSON and
// YAML files. The CLI and the server read them alike, so that what is wrong is
// told before anything is sent, and nothing else can be sent either.
//
// It is stricter than other readers where they disagree: what one of them would
// take for another value is refused, with the way to write it.
package importfile

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	MaxContent = 1 << 20 // bytes of a file
	MaxEntries = 1000    // of a file

	maxProblems = 1000 // that are told of a file
	maxShown    = 64   // bytes of a key that are shown
)

// An Entry is one key of a file.
type Entry struct {
	Name  string
	Value []byte // never nil
	Line  int    // where the key stands, from 1
}

// A Problem is something in a file that must be changed. It shows no value.
type Problem struct {
	Line   int    // from 1; 0: the file as a whole
	Key    string // fit to be shown, and perhaps cut; "" if there is none
	Detail string
}

func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	return b.String() + p.Detail
}

// An Error is all that is wrong with a file, in the order of its lines.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	texts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		texts[i] = p.String()
	}
	return strings.Join(texts, "; ")
}

// Parse reads a file in the format "env", "json" or "yaml". It returns the
// entries in their order in the file, or an *[Error].
func Parse(format string, content []byte) ([]Entry, error) {
	f := &file{lines: make(map[string]int)}
	text := strings.TrimPrefix(string(content), "\ufeff")
	switch {
	case len(content) > MaxContent:
		f.problem(0, "", "has %d bytes; at most %d are allowed", len(content), MaxContent)
	case !utf8.ValidString(text):
		f.problem(firstInvalid(text), "", "is not valid UTF-8")
	case format == "env":
		(&dotenv{file: f, rest: text, line: 1}).read()
	case format == "json":
		newJSONReader(f, text).read()
	case format == "yaml":
		f.readYAML(text)
	default:
		f.problem(0, "", "is in a format that is not known; there are env, json and yaml")
	}
	if len(f.problems) > 0 {
		return nil, &Error{f.problems}
	}
	return f.entries, nil
}

// firstInvalid is the line of the first byte that is not UTF-8.
func firstInvalid(text string) int {
	for i, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd") {
			return 1 + strings.Count(text[:i], "\n")
		}
	}
	return 0
}

// A file is what has been read of one.
type file struct {
	entries  []Entry
	lines    map[string]int // of the keys
	problems []Problem
}

// add takes an entry, unless its key is empty or there already.
func (f *file) add(line int, key, value string) {
	if !f.newKey(line, key) {
		return
	}
	if len(f.lines) > MaxEntries {
		if len(f.lines) == MaxEntries+1 {
			f.problem(line, "", "holds more than %d entries", MaxEntries)
		}
		return
	}
	f.entries = append(f.entries, Entry{key, []byte(value), line})
}

// newKey notes a key, whatever its value is like.
func (f *file) newKey(line int, key string) bool {
	before, duplicate := f.lines[key]
	switch {
	case key == "":
		f.problem(line, "", "the key is empty")
		return false
	case duplicate:
		f.problem(line, key, "is on line %d already", before)
		return false
	}
	f.lines[key] = line
	return true
}

func (f *file) problem(line int, key, format string, args ...any) {
	switch n := len(f.problems); {
	case n < maxProblems-1:
		f.problems = append(f.problems, Problem{line, shown(key), fmt.Sprintf(format, args...)})
	case n == maxProblems-1:
		f.problems = append(f.problems, Problem{line, "", "here and further on is more that is wrong"})
	}
}

// shown is a key as a terminal or a log may have it: short, and without what
// would act on them.
func shown(key string) string {
	if len(key) > maxShown {
		cut := maxShown
		for !utf8.RuneStart(key[cut]) {
			cut--
		}
		key = key[:cut] + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) { // bidirectional controls and line separators are not
			return unicode.ReplacementChar
		}
		return r
	}, key)
}
