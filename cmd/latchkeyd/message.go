package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/latchkey/latchkey/keyserver/api"
)

// The exit statuses of latchkeyd.
const (
	exitError = 1 // what was asked for could not be done
	exitUsage = 2 // what was asked for could not be understood
)

// fail prints an error, and the hint that comes with it, and returns the exit status.
func (p *program) fail(err error) int {
	fmt.Fprintf(p.stderr, "latchkeyd: error: %s\n", presentable(err.Error()))
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(p.stderr, "latchkeyd: hint: %s\n", presentable(hint))
	}
	var u *usageError
	if errors.As(err, &u) {
		return exitUsage
	}
	return exitError
}

// print writes what was asked for. An error counts: half an answer in a full
// file must not look like a whole one.
func (p *program) print(format string, args ...any) error {
	if _, err := fmt.Fprintf(p.stdout, format, args...); err != nil {
		return fmt.Errorf("writing the output: %w", err)
	}
	return nil
}

// withHint adds to err what the user can do about it.
func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hintedError{err, fmt.Sprintf(format, args...)}
}

type hintedError struct {
	error
	hint string
}

func (h *hintedError) Unwrap() error { return h.error }

// hintOf is the hint of err: the outermost one that was added, because it knew
// most of what the user was about, else the key server's own.
func hintOf(err error) string {
	var h *hintedError
	if errors.As(err, &h) {
		return h.hint
	}
	var e *api.Error
	if errors.As(err, &e) && e.Detail != "" {
		return e.Detail
	}
	return unlessFull(err, "")
}

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
	return anyToken.ReplaceAllString(printable(s), "lk_${1}_[token]")
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
	}, strings.TrimSpace(s))
}
