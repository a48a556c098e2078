package main

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must happen; it ends a test that
// hangs and is never what a test waits for.
const patience = 3 * time.Minute

// A terminal is one with latchkey running on it, or pipes to it and from it.
type terminal struct {
	keyboard *os.File
	shown    *os.File // what the program prints
	cmd      *exec.Cmd
	before   unix.Termios // the settings that the program has found

	mu      sync.Mutex
	changed sync.Cond
	screen  string
	ended   bool // nothing more will be shown
}

// onTerminal runs latchkey on a terminal.
func onTerminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Args[0] = "latchkey" // see TestMain
	cmd.Env = append(os.Environ(), "TERM=xterm")
	return startOnTerminal(t, cmd)
}

func startOnTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	return startOnTerminalOf(t, pty.Winsize{}, cmd)
}

// startOnTerminalOf has a terminal with a size from the beginning, for programs that
// must not be told of another one.
func startOnTerminalOf(t *testing.T, size pty.Winsize, cmd *exec.Cmd) *terminal {
	t.Helper()
	keyboard, theirs := openTerminal(t)
	defer theirs.Close()
	if err := pty.Setsize(theirs, &size); err != nil {
		t.Fatal(err)
	}
	before := termios(t, theirs)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		keyboard.Close()
		t.Fatal(err)
	}
	tt := watched(t, cmd, keyboard, keyboard)
	tt.before = before
	return tt
}

// openTerminal makes a terminal. Package pty leaves files that block, which can't be
// closed while somebody reads.
func openTerminal(t *testing.T) (keyboard, theirs *os.File) {
	t.Helper()
	master, theirs, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), master.Name()), theirs
}

func termios(t *testing.T, terminal *os.File) unix.Termios {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(terminal.Fd()), readTermios)
	if err != nil {
		t.Fatal(err)
	}
	return *settings
}

// startOnPipes starts a program with a pipe for stdin, and one for what it prints.
func startOnPipes(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	input, keyboard, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	shown, output, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, output, output
	err = cmd.Start()
	input.Close()
	output.Close()
	if err != nil {
		t.Fatal(err)
	}
	return watched(t, cmd, keyboard, shown)
}

func watched(t *testing.T, cmd *exec.Cmd, keyboard, shown *os.File) *terminal {
	t.Helper()
	tt := &terminal{cmd: cmd, keyboard: keyboard, shown: shown}
	tt.changed.L = &tt.mu
	var reader sync.WaitGroup
	reader.Go(tt.watch)
	t.Cleanup(func() {
		tt.hangUp()
		reader.Wait()
		if t.Failed() {
			t.Logf("the screen of %q:\n%s", cmd.Args, tt.screen)
		}
	})
	return tt
}

// hangUp kills the program, and has nothing more be shown, whoever is left that
// could write.
func (tt *terminal) hangUp() {
	tt.cmd.Process.Kill()
	tt.keyboard.Close()
	tt.shown.Close()
}

func (tt *terminal) watch() {
	b := make([]byte, 4096)
	for {
		n, err := tt.shown.Read(b)
		tt.mu.Lock()
		tt.screen += string(b[:n])
		tt.ended = err != nil // on a terminal EIO, when the program has ended
		tt.changed.Broadcast()
		tt.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// sees waits until the terminal shows a text, and returns all that it shows.
func (tt *terminal) sees(t *testing.T, text string) string {
	t.Helper()
	return tt.seesTimes(t, text, 1)
}

// seesTimes waits until the terminal has shown a text so many times.
func (tt *terminal) seesTimes(t *testing.T, text string, times int) string {
	t.Helper()
	hang := time.AfterFunc(patience, tt.hangUp)
	defer hang.Stop()
	tt.mu.Lock()
	defer tt.mu.Unlock()
	for strings.Count(tt.screen, text) < times {
		if tt.ended {
			t.Fatalf("the terminal showed %q %d times, want %d, in\n%s", text, strings.Count(tt.screen, text), times, tt.screen)
		}
		tt.changed.Wait()
	}
	return tt.screen
}

func (tt *terminal) types(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(tt.keyboard, text); err != nil {
		t.Fatal(err)
	}
}

// ends waits for the program's end, and returns its status and the screen.
func (tt *terminal) ends(t *testing.T) (*os.ProcessState, string) {
	t.Helper()
	hang := time.AfterFunc(patience, tt.hangUp)
	defer hang.Stop()
	tt.mu.Lock()
	for !tt.ended {
		tt.changed.Wait()
	}
	screen := tt.screen
	tt.mu.Unlock()
	tt.cmd.Wait()
	return tt.cmd.ProcessState, screen
}
