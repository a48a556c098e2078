// Package knownhost reads known_hosts files (sshd(8), SSH_KNOWN_HOSTS FILE
// FORMAT). The CLI and the server read them alike, so that what is wrong is told
// before anything is sent.
//
// It is stricter than ssh, which passes over a line that it does not understand:
// a line that would never match, or that would make every host known, is refused
// with the way to write it.
package knownhost

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"
)

const (
	MaxContent = 256 << 10 // bytes of a file
	MaxLines   = 1000      // of a file that name a host

	maxHosts    = 1024 // bytes of the host patterns of a line
	maxComment  = 255  // bytes
	maxProblems = 1000 // that are told of a file
)

// The markers of a line. Most have none.
const (
	CertAuthority = "@cert-authority" // the key signs host certificates
	Revoked       = "@revoked"        // the key is never accepted
)

// A Line is one line of a file.
type Line struct {
	Number  int    // in the file, from 1
	Marker  string // "", or one of the above
	Hosts   string // patterns, in lower case, or one hashed name
	Type    string // "ssh-ed25519"
	Key     []byte // SSH wire form (RFC 4253, section 6.6)
	Comment string
}

// String is the line as ssh reads it, without a newline.
func (l Line) String() string { return Format(l.Marker, l.Hosts, l.Type, l.Key, l.Comment) }

// Format is a line of these parts as ssh reads it, without a newline.
func Format(marker, hosts, keyType string, key []byte, comment string) string {
	line := hosts + " " + keyType + " " + base64.StdEncoding.EncodeToString(key)
	if marker != "" {
		line = marker + " " + line
	}
	if comment != "" {
		line += " " + comment
	}
	return line
}

// Fingerprint is that of the key, "SHA256:…", as ssh-keygen -l prints it.
func (l Line) Fingerprint() string {
	k, err := ssh.ParsePublicKey(l.Key)
	if err != nil {
		return "" // not of a Line that Parse has made
	}
	return ssh.FingerprintSHA256(k)
}

// Same reports whether two lines say the same: comments say nothing.
func (l Line) Same(o Line) bool {
	return l.Marker == o.Marker && l.Hosts == o.Hosts && bytes.Equal(l.Key, o.Key)
}

// A Problem is something in a file that must be changed.
type Problem struct {
	Line   int // from 1; 0: the file as a whole
	Detail string
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.Detail
	}
	return fmt.Sprintf("line %d: %s", p.Line, p.Detail)
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

// Parse reads a file. It returns its lines, comments and empty ones aside, or an
// *[Error].
func Parse(content []byte) ([]Line, error) {
	var f file
	switch {
	case len(content) > MaxContent:
		f.problem(0, "has %d bytes; at most %d are allowed", len(content), MaxContent)
	case !utf8.Valid(content):
		f.problem(0, "is not valid UTF-8")
	default:
		f.read(strings.TrimPrefix(string(content), "\ufeff"))
	}
	if len(f.problems) > 0 {
		return nil, &Error{f.problems}
	}
	return f.lines, nil
}

// A file is what has been read of one.
type file struct {
	lines    []Line
	problems []Problem
	seen     map[string]int // the line on which the same was said
}

func (f *file) problem(line int, format string, args ...any) {
	switch n := len(f.problems); {
	case n < maxProblems-1:
		f.problems = append(f.problems, Problem{line, fmt.Sprintf(format, args...)})
	case n == maxProblems-1:
		f.problems = append(f.problems, Problem{line, "here and further on is more that is wrong"})
	}
}

func (f *file) read(text string) {
	f.seen = map[string]int{}
	count := 0
	for i, line := range strings.Split(text, "\n") {
		line = strings.Trim(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		if count++; count > MaxLines {
			f.problem(i+1, "the file holds more than %d lines", MaxLines)
			return
		}
		l, err := parseLine(line)
		if err != nil {
			f.problem(i+1, "%s", err)
			continue
		}
		l.Number = i + 1
		key := l.Marker + " " + l.Hosts + " " + string(l.Key)
		if before := f.seen[key]; before > 0 {
			f.problem(l.Number, "says the same as line %d", before)
			continue
		}
		f.seen[key] = l.Number
		f.lines = append(f.lines, l)
	}
}

// parseLine reads a line that is neither empty nor a comment.
func parseLine(line string) (l Line, err error) {
	if strings.ContainsFunc(line, func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }) {
		return l, fmt.Errorf("holds a character that is not printable")
	}
	if line[0] == '@' {
		l.Marker, line = cutField(line)
		if l.Marker != CertAuthority && l.Marker != Revoked {
			return l, fmt.Errorf("the marker %s is not known; there are %s and %s", shown(l.Marker), CertAuthority, Revoked)
		}
	}
	l.Hosts, line = cutField(line)
	var encoded string
	l.Type, line = cutField(line)
	encoded, l.Comment = cutField(line)
	if encoded == "" {
		return l, fmt.Errorf("is not of the form [@MARKER] HOSTS KEY-TYPE KEY [COMMENT]")
	}
	if len(l.Comment) > maxComment {
		return l, fmt.Errorf("the comment has %d bytes; at most %d are allowed", len(l.Comment), maxComment)
	}
	if l.Hosts, err = checkHosts(l.Hosts, l.Marker); err != nil {
		return l, err
	}
	l.Key, err = parseKey(l.Type, encoded)
	return l, err
}

// cutField cuts at white space.
func cutField(s string) (field, rest string) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeft(s[i:], " \t")
}

// shown is a part of a line as a message may have it.
func shown(s string) string {
	const most = 64
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
