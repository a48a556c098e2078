package main

import (
	"strings"
	"testing"
)

func TestValueIsAskedOnTerminal(t *testing.T) {
	s := loggedIn(t)
	for _, command := range []string{"create", "update"} {
		args := []string{"secret", command, "typed"}
		if command == "create" {
			args = append(args, "--env", "TYPED")
		}
		tt := onTerminal(t, args...)
		tt.sees(t, "value of the secret typed, one line, not shown: ")
		tt.types(t, "gEh3im-"+command+"\n")
		state, screen := tt.ends(t)
		if state.ExitCode() != 0 || strings.Contains(screen, "gEh3im") || strings.Contains(screen, "warning") {
			t.Errorf("secret %s on a terminal ended with %v, or shows what was typed, or warns", command, state)
		}
		s.delivers(t, "typed", "gEh3im-"+command)
	}
	tt := onTerminal(t, "secret", "update", "typed")
	tt.sees(t, "not shown: ")
	tt.types(t, "\n")
	if state, screen := tt.ends(t); state.ExitCode() != 1 || !strings.Contains(screen, "no value was given") || !strings.Contains(screen, `--value ""`) {
		t.Errorf("an empty line ended with %v; want an error with a hint", state)
	}
	// With a flag there is nothing to ask; and nothing is asked about what is not there.
	for _, args := range [][]string{
		{"secret", "update", "typed", "--description", "d"},
		{"secret", "update", "typde"},
		{"secret", "create", "x"},
		{"secret", "create", "x", "--env", "1"},
		{"secret", "import", "-"},
	} {
		if _, screen := onTerminal(t, args...).ends(t); strings.Contains(screen, "not shown") {
			t.Errorf("%q asks for a value", args)
		}
	}
	s.delivers(t, "typed", "gEh3im-update")
}

// What a terminal would cut is not stored in part.
func TestValueThatIsTooMuchForATerminal(t *testing.T) {
	s := loggedIn(t)
	for _, test := range []struct{ typed, want string }{
		{"-----BEGIN\nfGh8\n-----END\n", "what was typed has several lines, and a terminal is asked for one"},
		{strings.Repeat("f", maxTyped) + "Gh8\n", "what was typed is too long: a terminal cuts it at "},
	} {
		tt := onTerminal(t, "secret", "create", "k", "--env", "K")
		tt.sees(t, "not shown: ")
		tt.types(t, test.typed)
		state, screen := tt.ends(t)
		if state.ExitCode() != 1 || !strings.Contains(screen, test.want) || !strings.Contains(screen, "give it on stdin: latchkey secret create k < FILE") || strings.Contains(screen, "Gh8") {
			t.Errorf("%.30q typed ended with %v; want %s", test.typed, state, test.want)
		}
	}
	tt := onTerminal(t, "secret", "create", "k", "--env", "K")
	tt.sees(t, "not shown: ")
	longest := strings.Repeat("f", maxTyped-1)
	tt.types(t, longest+"\n")
	if state, _ := tt.ends(t); state.ExitCode() != 0 {
		t.Errorf("the longest line ended with %v", state)
	}
	s.delivers(t, "k", longest)
}

func TestDeleteAsksOnTerminal(t *testing.T) {
	s := loggedIn(t)
	latchkeyWith(t, "v", "secret", "create", "k", "--env", "K").ok(t)
	for _, answer := range []string{"\n", "n\n", "\x04"} {
		tt := onTerminal(t, "secret", "rm", "k")
		tt.sees(t, "the secret k is deleted for good, with all versions of its value, and taken out of your workspaces.")
		tt.sees(t, "Go on? [y/N] ")
		tt.types(t, answer)
		if state, _ := tt.ends(t); state.ExitCode() != 1 {
			t.Errorf("after %q: %v; want exit status 1", answer, state)
		}
	}
	s.delivers(t, "k", "v")
	tt := onTerminal(t, "secret", "delete", "k")
	tt.sees(t, "Go on? [y/N] ")
	tt.types(t, "y\n")
	if state, _ := tt.ends(t); state.ExitCode() != 0 || len(delivered(t, s)) != 0 {
		t.Errorf("after yes: %v, and the secret is delivered still", state)
	}
	latchkeyWith(t, "v", "secret", "create", "k", "--env", "K").ok(t)
	if state, _ := onTerminal(t, "secret", "delete", "-y", "k").ends(t); state.ExitCode() != 0 {
		t.Errorf("with -y: %v", state)
	}
}
