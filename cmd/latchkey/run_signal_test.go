package main

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// The ways to run a program: by itself, and as latchkey does.
var waysToRun = []struct {
	name  string
	flags []string
}{
	{"plain", nil},
	{"exec", []string{"--pristine"}},
	{"supervised", []string{"--watch"}},
	{"masked", []string{"--mask"}},
}

// inEachWay runs a test with the words that run a command in each way.
func inEachWay(t *testing.T, f func(t *testing.T, way string, command func(words ...string) *exec.Cmd)) {
	for _, w := range waysToRun {
		t.Run(w.name, func(t *testing.T) {
			f(t, w.name, func(words ...string) *exec.Cmd {
				if w.flags == nil {
					return exec.Command(words[0], words[1:]...)
				}
				return latchkeyRun(t, append(append(slices.Clone(w.flags), "--"), words...)...)
			})
		})
	}
}

func TestRunExitStatus(t *testing.T) {
	newHome(t)
	newSecretsDaemon(t, variable("A", "abcdefgh"))
	inEachWay(t, func(t *testing.T, way string, command func(...string) *exec.Cmd) {
		for code := range 256 {
			if code%16 > 1 && code != 255 && (way == "plain" || way == "masked") {
				continue
			}
			if got, status := ran(t, command("/bin/sh", "-c", "exit "+strconv.Itoa(code))); !status.Exited() || got != (result{code, "", ""}) {
				t.Errorf("exit %d: got %+v", code, got)
			}
		}
		for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGPIPE, syscall.SIGTERM, syscall.SIGUSR1} {
			got, status := ran(t, command("/bin/sh", "-c", "ulimit -c 0; kill -"+strconv.Itoa(int(sig))+" $$"))
			if !status.Signaled() || status.Signal() != sig || got.stdout+got.stderr != "" {
				t.Errorf("killed by %v: got %+v, %#x", sig, got, status)
			}
		}
	})
}

// What a program sees when signals are sent to the process that was started.
func TestRunSignals(t *testing.T) {
	newHome(t)
	newSecretsDaemon(t, variable("A", "abcdefgh"))
	sent := []syscall.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT, syscall.SIGTSTP,
	}
	inEachWay(t, func(t *testing.T, way string, command func(...string) *exec.Cmd) {
		cmd := command("reporter", "3", "tstp")
		tt := startOnPipes(t, cmd)
		tt.sees(t, "ready\n")
		for _, sig := range sent {
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			tt.sees(t, "got "+unix.SignalName(sig)+"\n")
		}
		tt.types(t, "line\n")
		tt.sees(t, "line <line>\n")
		tt.keyboard.Close()
		state, screen := tt.ends(t)
		if state.ExitCode() != 3 {
			t.Errorf("it ended with %v", state)
		}
		for _, sig := range sent {
			if n := strings.Count(screen, "got "+unix.SignalName(sig)+"\n"); n != 1 {
				t.Errorf("%v came %d times", sig, n)
			}
		}
		if n := strings.Count(screen, "got "); n != len(sent) {
			t.Errorf("%d signals came, %d were sent", n, len(sent))
		}
	})
}

// The same on a terminal of its own, where no shell would continue it.
func TestRunSignalsOnTerminal(t *testing.T) {
	newHome(t)
	newSecretsDaemon(t, variable("A", "abcdefgh"))
	sent := []syscall.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
	}
	inEachWay(t, func(t *testing.T, way string, command func(...string) *exec.Cmd) {
		tt := startOnTerminal(t, command("reporter", "3"))
		tt.sees(t, "ready\r\n")
		for _, sig := range sent {
			if err := tt.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			tt.sees(t, "got "+unix.SignalName(sig)+"\r\n")
		}
		if err := pty.Setsize(tt.keyboard, &pty.Winsize{Rows: 11, Cols: 22}); err != nil {
			t.Fatal(err)
		}
		tt.seesTimes(t, "got SIGWINCH", 2)
		tt.types(t, "size\n")
		tt.sees(t, "size 22 x 11")
		tt.types(t, "\x1a") // stops nobody here, as it would not without latchkey
		tt.types(t, "on\n\x04")
		tt.sees(t, "line <on>")
		state, screen := tt.ends(t)
		if state.ExitCode() != 3 {
			t.Errorf("it ended with %v", state)
		}
		if n := strings.Count(strings.ReplaceAll(screen, "got SIGCONT", ""), "got "); n != len(sent)+1 {
			t.Errorf("%d signals came, %d were sent", n, len(sent)+1)
		}
	})
}

// Killed in any way, the supervised program goes as well.
func TestRunLeavesNoOrphan(t *testing.T) {
	newHome(t)
	newSecretsDaemon(t, variable("A", "abcdefgh"))
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		inEachWay(t, func(t *testing.T, way string, command func(...string) *exec.Cmd) {
			cmd := command("/bin/sh", "-c", "echo ready; exec cat")
			alive, theirs, err := os.Pipe() // open as long as somebody has it
			if err != nil {
				t.Fatal(err)
			}
			defer alive.Close()
			cmd.ExtraFiles = []*os.File{theirs}
			tt := startOnPipes(t, cmd)
			theirs.Close()
			tt.sees(t, "ready\n")
			cmd.Process.Signal(sig)
			state, _ := tt.ends(t)
			if s := state.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != sig {
				t.Errorf("it ended with %v; want %v", state, sig)
			}
			alive.Read(make([]byte, 1)) // blocks while there is an orphan
		})
	}
}
