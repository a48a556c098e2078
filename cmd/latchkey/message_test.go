package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

func TestFail(t *testing.T) {
	server := &api.Error{Kind: api.ErrConflict, Message: "the name is taken", Detail: "choose another"}
	for _, test := range []struct {
		err  error
		code int
		want string
	}{
		{errors.New("no"), 1, "latchkey: error: no\n"},
		{usagef("what is %q", "x"), 2, "latchkey: error: what is \"x\"\n"},
		{withHint(errors.New("no"), "do this"), 1, "latchkey: error: no\nlatchkey: hint: do this\n"},
		{withHint(usagef("no"), "do this"), 2, "latchkey: error: no\nlatchkey: hint: do this\n"},
		{fmt.Errorf("here: %w", withHint(errors.New("no"), "do this")), 1, "latchkey: error: here: no\nlatchkey: hint: do this\n"},
		{server, 1, "latchkey: error: the name is taken\nlatchkey: hint: choose another\n"},
		// Whoever wrapped it knew more of what the user was about.
		{withHint(server, "do this"), 1, "latchkey: error: the name is taken\nlatchkey: hint: do this\n"},
		{&api.Error{Kind: api.ErrInvalid, Message: "Validation failed.", Validations: []api.Validation{{Field: "name", Detail: "too long"}, {Field: "role", Detail: "unknown"}}},
			1, "latchkey: error: Validation failed: name: too long; role: unknown\n"},
		// A server, or a name, can't rewrite the screen nor begin a line of ours.
		{errors.New("a\x1b[2Jb\nlatchkey: hint: run this\r\u202e"), 1, "latchkey: error: a\ufffd[2Jb latchkey: hint: run this\ufffd\ufffd\n"},
		{fmt.Errorf("no user %s", api.NewToken(api.WorkspaceToken)), 1, "latchkey: error: no user lk_w_[token]\n"},
	} {
		var stderr bytes.Buffer
		p := &program{stderr: &stderr}
		if code := p.fail(test.err); code != test.code || stderr.String() != test.want {
			t.Errorf("fail(%q) = %d and\n%s\nwant %d and\n%s", test.err, code, stderr.String(), test.code, test.want)
		}
	}
}

func TestHintKeepsTheError(t *testing.T) {
	err := withHint(fmt.Errorf("key work: %w", api.ErrNotFound), "look")
	if !errors.Is(err, api.ErrNotFound) {
		t.Errorf("errors.Is(%v, ErrNotFound) = false behind a hint", err)
	}
	if withHint(nil, "look") != nil {
		t.Error("a hint made an error of nil")
	}
}

// Nothing is shown in colour but to a terminal: pipes and files get plain text.
func TestNoColorsInPipes(t *testing.T) {
	newHome(t)
	if got := latchkey(t, "nonsense"); strings.Contains(got.stderr, "\x1b") {
		t.Errorf("stderr that is no terminal has colours: %q", got.stderr)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestOutputThatCannotBeWritten(t *testing.T) {
	newHome(t)
	for _, typed := range []string{"--version", "--help", "completion bash", "status", "status --json"} {
		var stderr bytes.Buffer
		code := run(append([]string{"latchkey"}, strings.Fields(typed)...), strings.NewReader(""), fullDisk{}, &stderr)
		want := "latchkey: error: writing the output: no space left on device\n"
		if code != exitError || stderr.String() != want {
			t.Errorf("latchkey %s on a full disk = %d, %q; want %d, %q", typed, code, stderr.String(), exitError, want)
		}
	}
}
