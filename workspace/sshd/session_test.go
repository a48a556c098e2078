package sshd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestExitStatus(t *testing.T) {
	c := start(t, nil).dial()
	for code := range 256 {
		err := newSession(t, c).Run(fmt.Sprint("exit ", code))
		var exit *ssh.ExitError
		switch {
		case code == 0 && err != nil:
			t.Errorf("exit 0: %v", err)
		case code != 0 && (!errors.As(err, &exit) || exit.ExitStatus() != code || exit.Signal() != ""):
			t.Errorf("exit %d: %v; want that status", code, err)
		}
	}
}

func TestExitSignal(t *testing.T) {
	c := start(t, nil).dial()
	for _, want := range []struct{ kill, name string }{
		{"TERM", "TERM"}, {"KILL", "KILL"}, {"USR1", "USR1"}, {"HUP", "HUP"}, {"SEGV", "SEGV"}, {"IO", "SIG@openssh.com"},
	} {
		err := newSession(t, c).Run("kill -" + want.kill + " $$")
		var exit *ssh.ExitError
		if !errors.As(err, &exit) || exit.Signal() != want.name {
			t.Errorf("kill -%s: %v; want the signal %s", want.kill, err, want.name)
		}
	}
}

// A signal of the client reaches all of the program's process group.
func TestSignal(t *testing.T) {
	session := start(t, nil).session()
	out, err := session.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start(`trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 0.01; done`); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	if err := session.Signal(ssh.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	lines.Scan()
	err = session.Wait()
	var exit *ssh.ExitError
	if lines.Text() != "got it" || !errors.As(err, &exit) || exit.ExitStatus() != 7 {
		t.Errorf("it said %q, and ended with %v; want its trap to run, and 7", lines.Text(), err)
	}
}

func TestStreams(t *testing.T) {
	session := start(t, nil).session()
	const size = 5 << 20
	session.Stdin = io.LimitReader(zeros{}, size)
	var out, errs counter
	session.Stdout, session.Stderr = &out, &errs
	if err := session.Run("tee /dev/stderr"); err != nil || out != size || errs != size {
		t.Errorf("of %d bytes came %d and, by stderr, %d; %v", size, out, errs, err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

func TestEnvironment(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/notify")
	t.Setenv("FROM_DAEMON", "yes")
	s := start(t, func(s *Server) {
		s.Environ = func(base []string) []string { return append(base, "NPM_TOKEN=secret") }
	})
	session := s.session()
	for _, v := range []struct {
		name, value string
		ok          bool
	}{
		{"LANG", "de_DE.UTF-8", true}, {"LC_ALL", "C", true}, {"GIT_PROTOCOL", "version=2", true}, {"COLORTERM", "truecolor", true},
		{"LD_PRELOAD", "/tmp/evil.so", false}, {"PATH", "/tmp", false}, {"LC_", "x", false}, {"LC_a=b", "x", false},
		{"BASH_ENV", "/tmp/x", false}, {"NPM_TOKEN", "other", false}, {"LANG", strings.Repeat("x", maxVariable), false}, {"LANG", "a\x00b", false},
	} {
		if err := session.Setenv(v.name, v.value); (err == nil) != v.ok {
			t.Errorf("setting %s to %.20q: %v; want it taken: %t", v.name, v.value, err, v.ok)
		}
	}
	env := strings.Split(strings.TrimSpace(output(t, session, "env; pwd")), "\n")
	for _, want := range []string{
		"LANG=de_DE.UTF-8", "LC_ALL=C", "GIT_PROTOCOL=version=2", "FROM_DAEMON=yes", "NPM_TOKEN=secret",
		"USER=alice", "LOGNAME=alice", "HOME=" + s.Account.Home, "SHELL=/bin/sh", "PATH=" + os.Getenv("PATH"), s.Account.Home,
	} {
		if !slices.Contains(env, want) {
			t.Errorf("the environment has no %q", want)
		}
	}
	for _, v := range env {
		if strings.HasPrefix(v, "LD_PRELOAD=") || strings.HasPrefix(v, "NOTIFY_SOCKET=") || strings.HasPrefix(v, "BASH_ENV=") || strings.HasPrefix(v, "SSH_TTY=") {
			t.Errorf("the environment has %q", v)
		}
	}
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "SSH_CONNECTION=127.0.0.1 ") }) {
		t.Errorf("the environment has no SSH_CONNECTION:\n%q", env)
	}
}

// What a program leaves in the background does not keep the session from ending
// if it writes nowhere, and goes on.
func TestBackground(t *testing.T) {
	s := start(t, nil)
	c := s.dial()
	file := s.Account.Home + "/go-on"
	if err := newSession(t, c).Run("(until [ -e " + file + " ]; do sleep 0.01; done; rm " + file + ") >/dev/null 2>&1 </dev/null &"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := output(t, s.session(), "while [ -e "+file+" ]; do sleep 0.01; done; echo gone"); out != "gone\n" {
		t.Errorf("what was left in the background said %q; want gone", out)
	}
}

func TestSubsystem(t *testing.T) {
	s := start(t, func(s *Server) { s.SFTP = []string{"/bin/sh", "-c", "pwd; cat"} })
	session := s.session()
	in, err1 := session.StdinPipe()
	out, err2 := session.StdoutPipe()
	if err := errors.Join(err1, err2, session.RequestSubsystem("sftp")); err != nil {
		t.Fatal(err)
	}
	io.WriteString(in, "hello")
	in.Close()
	if got, err := io.ReadAll(out); string(got) != s.Account.Home+"\nhello" || err != nil {
		t.Errorf("the subsystem says %q, %v; want what its program does", got, err)
	}
	if err := s.session().RequestSubsystem("netconf"); err == nil {
		t.Error("a subsystem was started that there is not")
	}
}

func TestOneProgram(t *testing.T) {
	session := start(t, nil).session()
	in, err := session.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("cat"); err != nil {
		t.Fatal(err)
	}
	for _, request := range []string{"shell", "exec", "pty-req", "env", "x11-req", "auth-agent-req@openssh.com"} {
		if ok, err := session.SendRequest(request, true, ssh.Marshal(struct{ A, B string }{"true", "b"})); ok || err != nil {
			t.Errorf("%s when a program runs = %t, %v; want it refused", request, ok, err)
		}
	}
	in.Close()
	if err := session.Wait(); err != nil {
		t.Error(err)
	}
}

func TestNoSuchShell(t *testing.T) {
	s := start(t, func(s *Server) { s.Account.Shell = "/nonexistent/shell" })
	if err := s.session().Run("true"); err == nil {
		t.Error("a command ran without a shell")
	}
	wantLog(t, s.log, "program not started")
}
