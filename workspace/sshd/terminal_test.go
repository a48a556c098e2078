package sshd

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// onTerminal starts a command on a terminal.
func onTerminal(t *testing.T, session *ssh.Session, modes ssh.TerminalModes, command string) (in io.WriteCloser, out *bufio.Reader) {
	t.Helper()
	in, err := session.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := session.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.RequestPty("xterm-256color", 41, 133, modes); err != nil {
		t.Fatal(err)
	}
	if command == "" {
		err = session.Shell()
	} else {
		err = session.Start(command)
	}
	if err != nil {
		t.Fatal(err)
	}
	return in, bufio.NewReader(pipe)
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	l, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("after %q: %v", l, err)
	}
	return strings.TrimSpace(l)
}

func TestTerminal(t *testing.T) {
	s := start(t, nil)
	session := s.session()
	in, out := onTerminal(t, session, ssh.TerminalModes{ssh.ECHO: 0},
		`trap 'stty size' WINCH; stty size; echo $TERM; tty; echo $SSH_TTY; test -t 0 && test -t 1 && test -t 2 && echo all; echo ready; while :; do if read x; then echo got $x; [ "$x" != end ] || exit 5; fi; done`)
	if got := line(t, out); got != "41 133" {
		t.Errorf("the size is %q; want what was asked for, 41 133", got)
	}
	if got := line(t, out); got != "xterm-256color" {
		t.Errorf("TERM is %q; want xterm-256color", got)
	}
	if tty, variable := line(t, out), line(t, out); tty != variable || !strings.HasPrefix(tty, "/dev/") {
		t.Errorf("the terminal is %s, and SSH_TTY %s; want the same", tty, variable)
	}
	if got := line(t, out); got != "all" {
		t.Errorf("%q; want all three descriptors on the terminal", got)
	}
	line(t, out)
	if err := session.WindowChange(24, 80); err != nil {
		t.Fatal(err)
	}
	io.WriteString(in, "\n") // so that the shell sees to its trap
	for got := line(t, out); got != "24 80"; got = line(t, out) {
		if got != "got" {
			t.Fatalf("after a change of the window: %q; want 24 80", got)
		}
	}
	io.WriteString(in, "end\n")
	rest, err := io.ReadAll(out)
	if !strings.HasSuffix(string(rest), "got end\r\n") || err != nil {
		t.Errorf("at the end: %q, %v; want no echo of the input, and the last line", rest, err)
	}
	if exit, ok := session.Wait().(*ssh.ExitError); !ok || exit.ExitStatus() != 5 {
		t.Errorf("it ended with %v; want 5", exit)
	}
}

// A terminal in raw mode gets and gives bytes as they are: a full-screen program
// means by "\n" a line down, and no carriage return.
func TestRawTerminal(t *testing.T) {
	session := start(t, nil).session()
	in, out := onTerminal(t, session, nil, `stty raw -echo; printf 'a\nb\r\nc'; dd bs=1 count=4 2>/dev/null | od -An -tx1; stty sane`)
	got := make([]byte, len("a\nb\r\nc"))
	if _, err := io.ReadFull(out, got); err != nil || string(got) != "a\nb\r\nc" {
		t.Errorf("raw output came as %q, %v; want a\\nb\\r\\nc", got, err)
	}
	io.WriteString(in, "\r\n\x03\x04")
	rest, err := io.ReadAll(out)
	if strings.TrimSpace(string(rest)) != "0d 0a 03 04" || err != nil {
		t.Errorf("raw input came as %q, %v; want 0d 0a 03 04", rest, err)
	}
}

func TestTerminalModes(t *testing.T) {
	session := start(t, nil).session()
	_, out := onTerminal(t, session, ssh.TerminalModes{ssh.VINTR: 1, ssh.VERASE: 8, ssh.VSUSP: 255, ssh.ECHO: 0, ssh.ICRNL: 0, ssh.ONLCR: 0, ssh.IUTF8: 1}, "stty -a")
	all, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"intr = ^A;", "erase = ^H;", "susp = <undef>;", " -echo ", "-icrnl", "-onlcr", " iutf8"} {
		if !strings.Contains(strings.ReplaceAll(string(all), "\n", " "), want) {
			t.Errorf("stty -a does not say %q:\n%s", want, all)
		}
	}
}

// The keys of a terminal work: ^C interrupts, ^D ends.
func TestLoginShell(t *testing.T) {
	session := start(t, nil).session()
	in, out := onTerminal(t, session, ssh.TerminalModes{ssh.ECHO: 0}, "")
	io.WriteString(in, "PS1=; echo zero:$0\n")
	for !strings.Contains(line(t, out), "zero:-sh") {
	}
	io.WriteString(in, `sh -c 'trap "echo caught; exit 9" INT; echo armed; while :; do sleep 0.01; done'; echo status $?`+"\n")
	for line(t, out) != "armed" {
	}
	io.WriteString(in, "\x03")
	for !strings.HasSuffix(line(t, out), "caught") {
	}
	if got := line(t, out); got != "status 9" {
		t.Errorf("after ^C: %q; want status 9", got)
	}
	io.WriteString(in, "exit 3\n")
	io.Copy(io.Discard, out)
	if exit, ok := session.Wait().(*ssh.ExitError); !ok || exit.ExitStatus() != 3 {
		t.Errorf("the shell ended with %v; want 3", exit)
	}
}

// A program on a terminal whose client goes away is hung up.
func TestHangUp(t *testing.T) {
	s := start(t, nil)
	c := s.dial()
	file := s.Account.Home + "/hung-up"
	_, out := onTerminal(t, newSession(t, c), nil, "trap 'echo > "+file+"; exit' HUP; echo ready; while :; do sleep 0.01; done")
	line(t, out)
	c.Close()
	if got := output(t, s.session(), "until [ -e "+file+" ]; do sleep 0.01; done; echo it"); got != "it\n" {
		t.Errorf("waiting for the signal: %q", got)
	}
}

// What a program leaves on its terminal does not keep the session from ending,
// and nothing that the program wrote is lost.
func TestTerminalLeft(t *testing.T) {
	s := start(t, nil)
	session := s.session()
	file := s.Account.Home + "/go-on"
	_, out := onTerminal(t, session, nil, "trap '' HUP; (while [ ! -e "+file+" ] && [ -d "+s.Account.Home+" ]; do sleep 0.01; done) & seq 20000")
	all, err := io.ReadAll(out)
	if !strings.HasSuffix(string(all), "\r\n19999\r\n20000\r\n") || err != nil {
		t.Errorf("the last of what it wrote is lost: %v", err)
	}
	if err := session.Wait(); err != nil {
		t.Error(err)
	}
	output(t, s.session(), "echo > "+file)
}

// However late it is read, all is: what was written before the program's end is there.
func TestTerminalReadLate(t *testing.T) {
	screen, err := newTerminal("xterm")
	if err != nil {
		t.Fatal(err)
	}
	defer screen.close() // until then somebody has it open
	screen.quiet = 0     // so each deadline is over before the terminal is read
	if _, err := io.WriteString(screen.tty, "the last of it"); err != nil {
		t.Fatal(err)
	}
	screen.drain()
	var got strings.Builder
	if screen.copyTo(&got); got.String() != "the last of it" {
		t.Errorf("of a terminal whose program had ended came %q; want all of it", got.String())
	}
}

func TestTerminalUnused(t *testing.T) {
	s := start(t, nil)
	session := s.session()
	if err := session.RequestPty("xterm", 24, 80, nil); err != nil {
		t.Fatal(err)
	}
	if err := session.RequestPty("xterm", 24, 80, nil); err == nil {
		t.Error("a session got a second terminal")
	}
	session.Close()
}
