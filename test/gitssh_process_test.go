package test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
)

// plainAndOurs runs a test with ssh, which has the user's key in a file, and
// with the helper, which has it from the server, and compares what it returns.
func (s *stage) plainAndOurs(t *testing.T, what string, run func(t *testing.T, ssh []string) string) {
	t.Helper()
	private, public := newKey(t)
	s.sshd.Authorize(t, s.user.publicKey(t), public)
	config := filepath.Join(s.Home, ".ssh/config")
	plain := run(t, []string{need(t, "ssh"), "-F", config, "-i", s.Write(t, "id", string(private))})
	ours := run(t, []string{program(t, "latchkey"), "gitssh", "--", "-F", config})
	if plain != ours {
		t.Errorf("%s: ssh ends as\n%s\nlatchkey gitssh as\n%s\nwant the same", what, plain, ours)
	}
}

// Exit status, stdout and stderr are ssh's.
func TestGitSSHIsTransparent(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	for _, args := range []string{
		"forge true",
		"forge exit 3",
		"forge exit 255",
		"forge echo out; echo err >&2; exit 1",
		"forge cat",
		"forge kill -TERM $$",
		"-o HostName=nowhere.invalid forge true",
		"-o Port=1 forge true",
		"-o StrictHostKeyChecking=yes -o HostKeyAlias=other forge true",
		"-v nowhere.invalid",
		"-V", "-Q key", "-Q nothing", "-z", "-p", "forge -z", "-G forge", "", "-o ControlPath=/nowhere/master -O check forge",
		"-o NoSuchOption=1 forge true",
		"-F /nowhere forge true",
	} {
		s.plainAndOurs(t, args, func(t *testing.T, ssh []string) string {
			// The last word is the command.
			words := strings.SplitN(args, " ", 1+strings.Count(strings.SplitAfter(args, "forge")[0], " ")+1)
			if args == "" {
				words = nil
			}
			cmd := s.Command(t, ssh[0], append(ssh[1:], words...)...)
			var stdout, stderr bytes.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("in\n"), &stdout, &stderr
			cmd.Run()
			errors := stderr.String()
			output := stdout.String()
			if strings.HasPrefix(args, "-G") { // the key file is plain ssh's only
				output = regexp.MustCompile(`(?m)^identityfile .*\n`).ReplaceAllString(output, "")
			}
			if strings.HasPrefix(args, "-v") {
				errors = fmt.Sprint(strings.Contains(errors, "Could not resolve hostname"))
			}
			return fmt.Sprintf("%v\nstdout %q\nstderr %q", cmd.ProcessState, output, errors)
		})
	}
}

// connected starts a command that has logged in and waits for its input.
func (s *stage) connected(t *testing.T, ssh []string, stderr io.Writer) (cmd *exec.Cmd, stdin io.Closer) {
	t.Helper()
	cmd = s.Command(t, ssh[0], append(ssh[1:], "forge", "echo ready; cat >/dev/null")...)
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		t.Fatalf("the command did not start: %v", err)
	}
	return cmd, stdin
}

// Signals sent to the helper end ssh, and it, as they end ssh.
func TestGitSSHSignals(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1} {
		s.plainAndOurs(t, sig.String(), func(t *testing.T, ssh []string) string {
			cmd, stdin := s.connected(t, ssh, nil)
			defer stdin.Close()
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			return cmd.ProcessState.String()
		})
	}
	s.leavesNothing(t)
}

// If ssh is killed, the helper dies by the same signal, without a stack trace.
func TestGitSSHKilled(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGALRM} {
		var stderr bytes.Buffer
		cmd, stdin := s.connected(t, []string{program(t, "latchkey"), "gitssh", "--", "-F", filepath.Join(s.Home, ".ssh/config")}, &stderr)
		if err := syscall.Kill(childOf(t, cmd.Process.Pid), sig); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		stdin.Close()
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !status.Signaled() || status.Signal() != sig || stderr.Len() > 0 {
			t.Errorf("after its ssh was killed by %v the helper ended with %v, and said %q; want the same and nothing", sig, cmd.ProcessState, stderr.String())
		}
		s.leavesNothing(t)
	}
}

// childOf returns the one child of a process.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		children, err := os.ReadFile(task)
		if err != nil {
			t.Fatal(err)
		}
		if child, err := strconv.Atoi(strings.TrimSpace(string(children))); err == nil {
			return child
		}
	}
	t.Fatalf("process %d has no child", pid)
	return 0
}

// What a killed helper leaves behind, the next one removes; what a living one
// needs, it does not.
func TestGitSSHLeftovers(t *testing.T) {
	s := newStage(t)
	ssh := []string{program(t, "latchkey"), "gitssh", "--", "-F", filepath.Join(s.Home, ".ssh/config")}
	killed, stdin := s.connected(t, ssh, nil)
	living, livingStdin := s.connected(t, ssh, nil)
	child := childOf(t, killed.Process.Pid)
	killed.Process.Kill()
	killed.Wait()
	stdin.Close()
	syscall.Kill(child, syscall.SIGKILL)
	s.Run(t, "git", "ls-remote", s.url())
	for _, name := range s.helpersFiles(t) {
		if !strings.HasPrefix(name, fmt.Sprintf("%d-", living.Process.Pid)) {
			t.Errorf("in the runtime directory is %s; want only what the living helper %d has", name, living.Process.Pid)
		}
	}
	if _, err := os.Stat(filepath.Join(s.Runtime, "ssh", fmt.Sprintf("%d-0.sock", living.Process.Pid))); err != nil {
		t.Errorf("the socket of the living helper: %v", err)
	}
	livingStdin.Close()
	if err := living.Wait(); err != nil {
		t.Errorf("the living helper ended with %v", err)
	}
	s.leavesNothing(t)
}

// A terminal is a program on a new terminal.
type terminal struct {
	t    *testing.T
	file *os.File
	said strings.Builder
	cmd  *exec.Cmd
}

func (s *stage) terminal(t *testing.T, argv ...string) *terminal {
	t.Helper()
	cmd := s.Command(t, argv[0], argv[1:]...)
	file, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	if os.Geteuid() == 0 {
		if err := tty.Chown(nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr.Setpgid = false // a session leader leads its group
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return &terminal{t: t, file: file, cmd: cmd}
}

// expect reads until the text has appeared, and forgets what came before.
func (p *terminal) expect(text string) {
	p.t.Helper()
	b := make([]byte, 4096)
	for {
		if _, after, ok := strings.Cut(p.said.String(), text); ok {
			p.said.Reset()
			p.said.WriteString(after)
			return
		}
		n, err := p.file.Read(b)
		p.said.Write(b[:n])
		if err != nil {
			p.t.Fatalf("the terminal shows %q, then %v; want %q", p.said.String(), err, text)
		}
	}
}

func (p *terminal) send(keys string) {
	p.t.Helper()
	if _, err := io.WriteString(p.file, keys); err != nil {
		p.t.Fatal(err)
	}
}

// Ctrl-C on a terminal.
func TestGitSSHInterrupt(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	s.plainAndOurs(t, "Ctrl-C", func(t *testing.T, ssh []string) string {
		p := s.terminal(t, append(ssh, "forge", "echo rea''dy; cat")...)
		p.expect("ready")
		p.send("\x03")
		p.cmd.Wait()
		return p.cmd.ProcessState.String()
	})
}

// Ctrl-Z and fg; and "~^Z", with which ssh stops itself alone.
func TestGitSSHStop(t *testing.T) {
	bash := need(t, "bash")
	s := newStage(t)
	s.StartDaemon(t)
	ssh := strings.Join([]string{program(t, "latchkey"), "gitssh", "--", "-F", filepath.Join(s.Home, ".ssh/config")}, " ")
	for _, tt := range []struct{ name, options, stop string }{
		{"Ctrl-Z", "", "\x1a"},
		{"~^Z", "-tt", "\r~\x1a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := s.terminal(t, bash, "--norc", "--noprofile", "-i")
			p.send("PS1='$'': '\n")
			p.expect("\n$: ")
			p.send(ssh + " " + tt.options + " forge 'echo rea\"\"dy; read x; read x; echo got-$x'\n")
			p.expect("ready")
			p.send(tt.stop)
			p.expect("Stopped")
			p.expect("$: ")
			p.send("fg\n")
			p.expect("forge")
			p.send("\nword\n")
			p.expect("got-word")
			p.expect("$: ")
			p.send("exit\n")
			if err := p.cmd.Wait(); err != nil {
				t.Errorf("the shell ended with %v", err)
			}
		})
	}
}
