package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// maxEvent bounds what is kept of an event, and a line of the stream, in bytes:
// an event of ours has some 60.
const maxEvent = 4 << 10

// A handleError is an error of the function that was given an event.
type handleError struct{ err error }

func (h *handleError) Error() string { return h.err.Error() }

// readEvents reads a stream of server-sent events (the HTML standard, section
// 9.2.6) and gives those that it knows to handle. It returns io.EOF at the end;
// the error is ErrInvalid for what is not such a stream: a line or an event that
// is too long, or a change without a revision.
//
// Events of other names are for newer clients. "id" and "retry" are not looked
// at: an event's data has its revision, and how long to wait is the caller's.
func readEvents(r io.Reader, handle func(WatchEvent) error) error {
	lines := &lineReader{r: bufio.NewReaderSize(r, maxEvent)}
	var name, data string
	for first := true; ; first = false {
		line, err := lines.next()
		if err != nil {
			return err
		}
		if first {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if line == "" {
			if err := dispatch(name, data, handle); err != nil {
				return err
			}
			name, data = "", ""
			continue
		}
		field, value, _ := strings.Cut(line, ":") // a comment is a field without a name
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			name = value
		case "data":
			if data += value + "\n"; len(data) > maxEvent {
				return fmt.Errorf("an event has more than %d bytes: %w", maxEvent, ErrInvalid)
			}
		}
	}
}

// dispatch hands an event over that is complete. One without data is none.
func dispatch(name, data string, handle func(WatchEvent) error) error {
	e := WatchEvent{Kind: WatchKind(name)}
	if data == "" || e.Kind != WatchChanged && e.Kind != WatchStopped {
		return nil
	}
	err := json.Unmarshal([]byte(data), &e)
	if e.Kind == WatchChanged && (err != nil || e.Revision < 1) {
		return fmt.Errorf("a change has no revision: %w", ErrInvalid)
	}
	if err := handle(e); err != nil {
		return &handleError{err}
	}
	return nil
}

// A lineReader reads lines that end with \n, \r\n or \r. What follows a \r is
// not waited for: the line is there, and the next one may take a while.
type lineReader struct {
	r        *bufio.Reader
	returned bool // the line before ended with \r
	line     []byte
}

// next is the next line without its end. What the stream ends with is no line.
func (l *lineReader) next() (string, error) {
	l.line = l.line[:0]
	for {
		c, err := l.r.ReadByte()
		if err != nil {
			return "", err
		}
		after := l.returned
		l.returned = c == '\r'
		switch {
		case c == '\n' && after: // the rest of a \r\n
			continue
		case c == '\n' || c == '\r':
			return string(l.line), nil
		}
		if l.line = append(l.line, c); len(l.line) > maxEvent {
			return "", fmt.Errorf("a line has more than %d bytes: %w", maxEvent, ErrInvalid)
		}
	}
}
