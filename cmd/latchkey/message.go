package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"unicode"

	"golang.org/x/term"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
)

// The exit statuses of latchkey, but for gitssh, whose status is ssh's, and run.
const (
	exitError = 1 // what was asked for could not be done
	exitUsage = 2 // what was asked for could not be understood
)

// fail prints an error, and the hint that comes with it, and returns the exit status.
func (p *program) fail(err error) int {
	var ended *endedError
	if errors.As(err, &ended) {
		return exitAs(ended.status) // it has said itself what there is to say
	}
	p.message("error", err.Error())
	if hint := hintOf(err); hint != "" {
		p.message("hint", hint)
	}
	var s *statusError
	if errors.As(err, &s) {
		return s.status
	}
	var u *usageError
	if errors.As(err, &u) {
		return exitUsage
	}
	return exitError
}

// warn says what went wrong beside what was asked for, which was done.
func (p *program) warn(err error) {
	p.message("warning", err.Error())
	if hint := hintOf(err); hint != "" {
		p.message("hint", hint)
	}
}

// note says in one line what was done. It goes where errors go: stdout is only
// what was asked for.
func (p *program) note(format string, args ...any) {
	fmt.Fprintf(p.stderr, "%s\n", presentable(fmt.Sprintf(format, args...)))
}

func (p *program) message(label, text string) {
	if color := labelColors[label]; color != "" && p.colors() {
		label = color + label + "\x1b[0m"
	}
	fmt.Fprintf(p.stderr, "latchkey: %s: %s\n", label, presentable(text))
}

var labelColors = map[string]string{"error": "\x1b[1;31m", "warning": "\x1b[1;33m"}

// colors reports whether stderr is a terminal that should get colours: see
// no-color.org for NO_COLOR.
func (p *program) colors() bool {
	return isTerminal(p.stderr) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// isTerminal reports whether a stream of the program is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// withHint adds to err what the user can do about it.
func withHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hintedError{err, hint}
}

type hintedError struct {
	error
	hint string
}

func (h *hintedError) Unwrap() error { return h.error }

// hintOf is the hint of err: the outermost one that was added, because it knew
// most of what the user was about, else the server's.
func hintOf(err error) string {
	var h *hintedError
	if errors.As(err, &h) {
		return h.hint
	}
	var e *api.Error
	if errors.As(err, &e) {
		return e.Detail
	}
	var l *sshagent.ListenError
	if errors.As(err, &l) {
		return l.Hint
	}
	return ""
}

// A statusError has an exit status of its own.
type statusError struct {
	error
	status int
}

func (s *statusError) Unwrap() error { return s.error }

// An endedError is the end of a program that ran in the place of this one.
type endedError struct{ status syscall.WaitStatus }

func (e *endedError) Error() string { return fmt.Sprintf("the program ended with %v", e.status) }

// A usageError is a mistake on the command line.
type usageError struct{ text string }

func (u *usageError) Error() string { return u.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// anyToken finds tokens, whole or cut, in what is about to be printed.
var anyToken = regexp.MustCompile(`\blk_([sw])_[0-9A-Za-z]+`)

// presentable makes text of others fit for one line of a terminal: no control
// characters, which could rewrite what the screen shows, and no token, which
// somebody may have put where a name belongs.
func presentable(s string) string {
	return anyToken.ReplaceAllString(printable(strings.TrimSpace(s)), "lk_${1}_[token]")
}

// printable replaces what a terminal would act on rather than show.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', '\u202a' <= r && r <= '\u202e', '\u2066' <= r && r <= '\u2069':
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// print writes what was asked for. An error counts: half an answer in a full
// file must not look like a whole one.
func (p *program) print(format string, args ...any) error {
	if _, err := fmt.Fprintf(p.stdout, format, args...); err != nil {
		return outputError(err)
	}
	return nil
}

func outputError(err error) error {
	if err == nil {
		return err
	}
	return fmt.Errorf("writing the output: %w", err)
}
