package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// shellOnTerminal is a shell with job control, on a terminal of 77 x 33, in which this
// test binary is latchkey. It keeps that size: bash, before each prompt, sets the one
// that it has just read, and would undo a change that came between.
func shellOnTerminal(t *testing.T) *terminal {
	t.Helper()
	cmd := exec.Command(needShell(t, "bash"), "--norc", "--noprofile", "-i")
	cmd.Env = append(os.Environ(), "PATH="+shellDir(t)+":"+os.Getenv("PATH"), "TERM=xterm", "PS1=status $? % ", "HISTFILE=")
	tt := startOnTerminalOf(t, pty.Winsize{Rows: 33, Cols: 77}, cmd)
	tt.types(t, "bind 'set enable-bracketed-paste off'; echo rea''dy\r")
	tt.sees(t, "ready")
	return tt
}

// inShell is the words of a command for a line of shell, in each way to run it.
func inShell(cmd *exec.Cmd) string {
	words := append([]string{filepath.Base(cmd.Path)}, cmd.Args[1:]...)
	for i, w := range words {
		words[i] = shellSh.quote(w)
	}
	return strings.Join(words, " ")
}

// What is typed at a terminal: it reaches the program once, stops it with what
// runs it, and the shell's fg continues both.
func TestRunOnTerminal(t *testing.T) {
	newHome(t)
	newSecretsDaemon(t, variable("A", "abcdefgh"))
	inEachWay(t, func(t *testing.T, way string, command func(...string) *exec.Cmd) {
		tt := shellOnTerminal(t)
		for i, end := range []struct{ how, status string }{{"-15", "143"}, {"7", "7"}} {
			tt.types(t, inShell(command("reporter", end.how))+"\r")
			tt.seesTimes(t, "on a terminal of 77 x 33", i+1)
			tt.types(t, "one\r")
			tt.seesTimes(t, "line <one>", i+1)
			tt.types(t, "\x03")
			tt.seesTimes(t, "got SIGINT", i+1)
			tt.types(t, "\x1a")
			tt.seesTimes(t, "Stopped", 2*i+1)
			tt.types(t, "jobs; echo back''ed\r")
			tt.seesTimes(t, "backed", i+1)
			tt.types(t, "fg\r")
			tt.seesTimes(t, "got SIGCONT", i+1) // bash has done with the terminal
			tt.types(t, "two\r")
			tt.seesTimes(t, "line <two>", i+1)
			tt.types(t, "\x04")
			tt.sees(t, "status "+end.status+" % ")
		}
		tt.types(t, "exit 0\r")
		_, screen := tt.ends(t)
		for _, sig := range []string{"SIGINT", "SIGCONT"} {
			if n := strings.Count(screen, "got "+sig); n != 2 {
				t.Errorf("%s was sent twice, and came %d times", sig, n)
			}
		}
	})
}

// Masked on a terminal: colours, prompts, hidden answers, the size, and no value
// however it is written.
func TestRunMaskOnTerminal(t *testing.T) {
	newHome(t)
	newSecretsDaemon(t, variable("A", "secret-value"), variable("B", "other\nlines of it\n"))
	tt := onTerminal(t, "run", "--mask", "--", needShell(t, "bash"), "-c", `
printf '\033[31mred\033[0m\n'
printf 'Name? '; read -r name
stty -echo; printf 'Password? '; read -r password; stty echo; echo
echo "<$name> <$password>"
printf secret-; printf value; echo
printf "%s" "$B"
printf "%s" "$A" | base64
echo "$A" >&2
trap 'resized=1' WINCH
echo resize
until [ "$resized" ]; do read -r _ </dev/null; done
echo "size $(stty size)"
read -r _; exit 4`)
	tt.sees(t, "Name? ")
	tt.types(t, "ada\r")
	tt.sees(t, "Password? ")
	tt.types(t, "hidden\r")
	tt.sees(t, "resize")
	if err := pty.Setsize(tt.keyboard, &pty.Winsize{Rows: 11, Cols: 22}); err != nil {
		t.Fatal(err)
	}
	tt.sees(t, "size 11 22")
	if raw := termios(t, tt.keyboard); raw.Lflag&unix.ICANON != 0 {
		t.Error("the terminal is not raw while the program runs")
	}
	tt.types(t, "\r")
	state, screen := tt.ends(t)
	if state.ExitCode() != 4 {
		t.Errorf("it ended with %v", state)
	}
	for _, want := range []string{
		"\x1b[31mred\x1b[0m\r\n", "Name? ada\r\n", "Password? \r\n", "<ada> <hidden>\r\n",
		"[secret A]\r\n[secret B]", "[secret B][secret A]\r\n[secret A]\r\nresize",
	} {
		if !strings.Contains(screen, want) {
			t.Errorf("the terminal does not show %q", want)
		}
	}
	if strings.Contains(screen, "value") || strings.Contains(screen, "lines of it") {
		t.Error("the terminal shows a value")
	}
	if after := termios(t, tt.keyboard); after != tt.before {
		t.Errorf("the terminal was left with the settings %+v; want %+v", after, tt.before)
	}
}

// A signal that ends latchkey leaves the terminal as it was.
func TestRunMaskRestoresTerminal(t *testing.T) {
	newHome(t)
	newSecretsDaemon(t, variable("A", "secret-value"))
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		tt := onTerminal(t, "run", "--mask", "--", "/bin/sh", "-c", "ulimit -c 0; echo ready; exec cat")
		tt.sees(t, "ready")
		tt.cmd.Process.Signal(sig)
		state, _ := tt.ends(t)
		if s := state.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != sig {
			t.Errorf("after %v it ended with %v", sig, state)
		}
		if after := termios(t, tt.keyboard); after != tt.before {
			t.Errorf("after %v the terminal has the settings %+v; want %+v", sig, after, tt.before)
		}
	}
}

func TestRunMaskOnPipes(t *testing.T) {
	newHome(t)
	newSecretsDaemon(t, variable("A", "secret-value"))
	cmd := latchkeyRun(t, "--mask", "--", "sh", "-c", `cat; printf secret-; printf 'value\n' ; echo "$A!" >&2; read -r _ <&3 & exit 5`)
	theirs, ours, err := os.Pipe() // until it is closed
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	defer ours.Close()
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdin = strings.NewReader("from stdin: secret-value\n")
	got, _ := ran(t, cmd) // though somebody still holds the pipes
	if want := (result{5, "from stdin: [secret A]\n[secret A]\n", "[secret A]!\n"}); got != want {
		t.Errorf("run --mask = %+v; want %+v", got, want)
	}
	// Who writes to nobody is told so, as without latchkey.
	got, _ = ran(t, exec.Command("sh", "-c", inShell(latchkeyRun(t, "--mask", "--", "yes"))+" | head -n 1"))
	if want := (result{0, "y\n", ""}); got != want {
		t.Errorf("run --mask -- yes | head -n 1 = %+v; want %+v", got, want)
	}
}

func TestRunWatchStartsAgain(t *testing.T) {
	newHome(t)
	d := newSecretsDaemon(t, variable("A", "first-value"), variable("B", "unused-value"))
	for _, mask := range []bool{false, true} {
		d.set(variable("A", "first-value"))
		// (A signal that comes just before a shell waits for input has to wait for that, too.)
		args := []string{"--watch", "--only", "A", "--", needShell(t, "bash"), "-c", `trap 'echo asked to end; exit 9' TERM; echo "A is ${A-unset}"; until read -r -t 0.05 _; do :; done; exit 6`}
		if mask {
			args = append([]string{"--mask"}, args...)
		}
		tt := startOnPipes(t, latchkeyRun(t, args...))
		shown := func(value string) string {
			if mask {
				return "A is [secret A]"
			}
			return "A is " + value
		}
		tt.seesTimes(t, shown("first-value"), 1)
		d.awaitWatcher()
		d.set(variable("A", "first-value"), variable("C", "no matter")) // not what was asked for
		d.set(variable("A", "second-value"), variable("C", "no matter"))
		if mask {
			tt.seesTimes(t, "A is [secret A]", 2)
		} else {
			tt.sees(t, "A is second-value")
		}
		d.set(variable("C", "no matter"))
		tt.sees(t, "A is unset")
		tt.types(t, "end\n")
		state, screen := tt.ends(t)
		if n := strings.Count(screen, "asked to end"); state.ExitCode() != 6 || n > 2 || n < 1 {
			t.Errorf("it ended with %v and\n%s", state, screen)
		}
	}
}

func TestRunWatchSignals(t *testing.T) {
	newHome(t)
	d := newSecretsDaemon(t, variable("A", "first-value"))
	tt := startOnPipes(t, latchkeyRun(t, "--watch", "--signal", "sighup", "--", needShell(t, "bash"), "-c",
		`trap 'echo "got HUP with $A"; exit 6' HUP; echo ready; while :; do sleep 0.01; done`))
	tt.sees(t, "ready")
	d.awaitWatcher()
	d.set(variable("A", "second-value"))
	if state, screen := tt.ends(t); state.ExitCode() != 6 || !strings.Contains(screen, "got HUP with first-value") {
		t.Errorf("it ended with %v and\n%s", state, screen)
	}
}

func TestRunWatchNeedsADaemon(t *testing.T) {
	s := newServer(t, false)
	newHome(t)
	t.Setenv("LATCHKEY_URL", s.URL)
	t.Setenv("LATCHKEY_TOKEN", newWorkspace(t, s))
	got, _ := ran(t, latchkeyRun(t, "--watch", "--", "true"))
	if want := (result{125, "", "latchkey: error: no workspace daemon runs, which would tell of changes\nlatchkey: hint: latchkey agent &\n"}); got != want {
		t.Errorf("run --watch without a daemon = %+v; want %+v", got, want)
	}
}

// A program that does not end when asked is killed, and starts again all the same.
func TestSupervisorKills(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	lines := bufio.NewScanner(said)
	s := &supervisor{
		path: "/bin/sh", words: []string{"sh", "-c", `trap '' TERM; echo "$A" >"$F"; [ "$A" = first ] || exit 7; while :; do sleep 1000; done`},
		tty: -1, grace: time.Millisecond, env: []string{"A=first", "F=" + fifo, "PATH=" + os.Getenv("PATH")},
	}
	var status syscall.WaitStatus
	var running sync.WaitGroup
	running.Go(func() { status, err = s.run() })
	if lines.Scan(); lines.Text() != "first" {
		t.Errorf("it began with %q", lines.Text())
	}
	s.changed([]string{"A=second", "F=" + fifo, "PATH=" + os.Getenv("PATH")}, 0)
	if lines.Scan(); lines.Text() != "second" {
		t.Errorf("it went on with %q", lines.Text())
	}
	running.Wait()
	if err != nil || status.ExitStatus() != 7 {
		t.Errorf("it ended with %#x, %v", status, err)
	}
}
