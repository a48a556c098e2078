package importfile

import "strings"

// There is no standard of dotenv files, and their readers differ. These rules
// are what they share: lines KEY=VALUE, with "export " before them or not;
// blank lines, and lines that begin with #. A value without quotes ends with
// its line, or at a # behind a blank. In single quotes nothing is special; in
// double quotes \n \t \r \\ \" and \$ are. Both may go over several lines. A $
// is a $ everywhere: nothing is expanded.

const blanks = " \t"

// dotenv reads a dotenv file.
type dotenv struct {
	*file
	rest string // what has not been read
	line int    // where it begins
}

func (d *dotenv) read() {
	for d.rest != "" {
		at, before := d.line, d.rest
		line := d.takeLine()
		trimmed := strings.Trim(line, blanks)
		equals := strings.IndexByte(line, '=')
		switch {
		case trimmed == "":
		case trimmed[0] == '#':
			d.checkCR(at, "", line)
		case equals < 0:
			// What stands there may be a part of a value: it is not shown.
			d.problem(at, "", "has no =; a value of several lines must be in quotes")
		default:
			key := keyOf(line[:equals])
			value := strings.TrimLeft(line[equals+1:], blanks)
			if value == "" || value[0] != '\'' && value[0] != '"' {
				d.unquoted(at, key, line[equals+1:])
				continue
			}
			// Back to behind the quote.
			d.rest, d.line = before[len(line)-len(value)+1:], at
			d.quoted(key, value[0])
		}
	}
}

// takeLine takes the rest of a line, without its end.
func (d *dotenv) takeLine() string {
	line, rest, ended := strings.Cut(d.rest, "\n")
	d.rest = rest
	if ended {
		d.line++
	}
	return strings.TrimSuffix(line, "\r")
}

func keyOf(text string) string {
	text = strings.TrimLeft(text, blanks)
	if name, ok := strings.CutPrefix(text, "export"); ok && strings.TrimLeft(name, blanks) != name {
		text = name
	}
	return strings.Trim(text, blanks)
}

// put is add for keys that may be a part of a value: the last line of a key in
// PEM, say, which ends in "=".
func (d *dotenv) put(line int, key, value string) {
	if key != "" && !plain(key) {
		d.problem(line, "", "the key must be letters, digits and . _ -; a value of several lines must be in quotes")
		return
	}
	d.add(line, key, value)
}

// shownKey is a key for a problem: "" if it may be a part of a value.
func shownKey(key string) string {
	if !plain(key) {
		return ""
	}
	return key
}

func plain(key string) bool {
	return key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		letter := 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z'
		return !letter && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	})
}

// checkCR refuses line ends that are neither LF nor CRLF.
func (d *dotenv) checkCR(line int, key, text string) bool {
	if strings.Contains(text, "\r") {
		d.problem(line, key, "holds a carriage return within the line; lines end with LF or CRLF")
		return false
	}
	return true
}

func (d *dotenv) unquoted(line int, key, text string) {
	if !d.checkCR(line, shownKey(key), text) {
		return
	}
	for i := 1; i < len(text); i++ {
		if text[i] == '#' && strings.IndexByte(blanks, text[i-1]) >= 0 {
			text = text[:i]
			break
		}
	}
	d.put(line, key, strings.Trim(text, blanks))
}

// quoted reads a value, and what stands behind it on its last line.
func (d *dotenv) quoted(key string, quote byte) {
	start := d.line
	value, closed, fine := d.untilQuote(key, quote)
	if !closed {
		d.problem(start, shownKey(key), "the quote %c is never closed", quote)
		d.rest = "" // it is all within the quotes
		return
	}
	end := d.line
	tail := d.takeLine()
	// Without the blank, shells would take the # as a part of the value.
	comment := strings.HasPrefix(strings.TrimLeft(tail, blanks), "#") && tail[0] != '#'
	switch {
	case strings.Trim(tail, blanks) != "" && !comment:
		d.problem(end, shownKey(key), `text stands behind the closing quote %c; within double quotes, write \" for a quote`, quote)
	case fine:
		d.put(start, key, value)
		return
	}
	if plain(key) {
		d.newKey(start, key)
	}
}

// untilQuote takes what is in quotes, and the closing one. fine is false if a
// problem was told.
func (d *dotenv) untilQuote(key string, quote byte) (value string, closed, fine bool) {
	var b strings.Builder
	fine = true
	for i := 0; i < len(d.rest); i++ {
		c := d.rest[i]
		switch {
		case c == quote:
			d.rest = d.rest[i+1:]
			return b.String(), true, fine
		case c == '\n':
			d.line++
		case c == '\\' && quote == '"' && i+1 < len(d.rest):
			i++
			escaped := strings.IndexByte(`nrt\"$`, d.rest[i])
			if escaped < 0 {
				i-- // a newline counts
				if fine {
					d.problem(d.line, shownKey(key), `holds an escape other than \n \r \t \\ \" \$; write \\ for a backslash, or use single quotes`)
				}
				fine = false
				continue
			}
			c = "\n\r\t\\\"$"[escaped]
		}
		b.WriteByte(c)
	}
	return "", false, fine
}
