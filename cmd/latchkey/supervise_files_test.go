package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/workspace"
)

// A program that has read a secret's file is started again when that changes, and
// not when only what it was not given does, nor when the daemon knows nothing any
// more.
func TestRunWatchSeesFiles(t *testing.T) {
	newHome(t)
	d := newSecretsDaemon(t, variable("A", "value-of-a"))
	version := func(secret string, n int64) {
		d.change(func(s *workspace.SecretState) {
			s.Known, s.Variables = true, []workspace.Variable{variable("A", "value-of-a")}
			s.Files = []workspace.SecretFile{{Secret: secret, Path: "~/f", Version: n}}
		})
	}
	version("f", 1)
	tt := startOnPipes(t, latchkeyRun(t, "--watch", "--only", "A,f", "--", "/bin/sh", "-c", `echo "started with $A"; read -r line; exit 6`))
	tt.seesTimes(t, "started with value-of-a", 1)
	d.awaitWatcher()
	d.change(func(s *workspace.SecretState) { s.Known, s.Variables, s.Files = false, nil, nil })
	version("f", 2)
	tt.seesTimes(t, "started with value-of-a", 2)
	tt.types(t, "end\n")
	if state, screen := tt.ends(t); state.ExitCode() != 6 {
		t.Errorf("it ended with %v and\n%s", state, screen)
	}
}

// All values of the workspace are hidden: those of files, and those that the
// program was not given, as it may have them from elsewhere.
func TestRunMaskHidesAllValues(t *testing.T) {
	newHome(t)
	d := newSecretsDaemon(t, variable("A", "value-of-a"), variable("B", "value-of-b"))
	d.change(func(*workspace.SecretState) {
		d.files = []workspace.Variable{{Secret: "config", Value: []byte("first line\nvalue-of-file\n")}}
	})
	cmd := latchkeyRun(t, "--mask", "--only", "A", "--", "/bin/sh", "-c", `echo "$A value-of-b value-of-file"`)
	got, _ := ran(t, exec.Command(cmd.Path, cmd.Args[1:]...))
	if want := (result{0, "[secret A] [secret B] [secret config]\n", ""}); got != want {
		t.Errorf("run --mask = %+v; want %+v", got, want)
	}
}

// A value that comes later is hidden too, also when the program is not given it.
func TestRunMaskWatchHidesWhatIsNotGiven(t *testing.T) {
	newHome(t)
	d := newSecretsDaemon(t, variable("A", "value-of-a"), variable("B", "value-of-b"))
	end := filepath.Join(t.TempDir(), "end")
	tt := startOnPipes(t, latchkeyRun(t, "--watch", "--mask", "--only", "A", "--", "/bin/sh", "-c", `until [ -e "$0" ]; do echo another-of-b; sleep 0.05; done`, end))
	tt.sees(t, "another-of-b")
	d.awaitWatcher()
	d.set(variable("A", "value-of-a"), variable("B", "another-of-b"))
	tt.sees(t, "[secret B]")
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tt.ends(t)
}

// What could not be written is not taken for success.
func TestRunMaskTellsOfAFullDisk(t *testing.T) {
	newHome(t)
	newSecretsDaemon(t, variable("A", "value-of-a"))
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	cmd := latchkeyRun(t, "--mask", "--", "echo", "hello")
	cmd.Stdout = full
	var said strings.Builder
	cmd.Stderr = &said
	err = cmd.Run()
	if cmd.ProcessState.ExitCode() != exitRun || !strings.Contains(said.String(), "writing the output: write /dev/stdout: no space left on device") {
		t.Errorf("run --mask > /dev/full: %v, %q; want status %d, and why", err, said.String(), exitRun)
	}
}
