// The program sshagent serves package sshagent to OpenSSH's own tests of its
// ssh-agent: it has that program's command line, as far as they use it, and keeps
// keys as the workspace daemon does. If SSHAGENT_THROUGH names an ssh-agent, that
// one has the keys, and this one stands before it. With SSHAGENT_WEAK it lets
// everyone in and may be looked into, which those tests must find.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			os.Exit(exit.ExitCode())
		}
		fmt.Fprintln(os.Stderr, "sshagent:", err)
		os.Exit(1)
	}
}

// options are those of ssh-agent(1).
type options struct {
	csh, sh, foreground, debug, kill bool
	path                             string
	lifetime                         time.Duration
	parent                           int      // the agent ends with this process; 0: with none
	theirs                           []string // flags that only OpenSSH's agent knows, for it
}

// valued are the flags that have a value, which getopt(3) lets follow at once.
const valued = "aEOPt"

// separate takes values apart from their flags, for package flag.
func separate(args []string) (separated []string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if !strings.HasPrefix(a, "-") {
			return append(separated, args[i:]...)
		}
		switch isValued := len(a) >= 2 && strings.Contains(valued, a[1:2]); {
		case isValued && len(a) > 2:
			separated = append(separated, a[:2], a[2:])
		case isValued && i+1 < len(args):
			separated = append(separated, a, args[i+1])
			i++
		default:
			separated = append(separated, a)
		}
	}
	return separated
}

func parse(args []string) (o options, command []string, err error) {
	flags := flag.NewFlagSet("sshagent", flag.ContinueOnError)
	flags.BoolVar(&o.csh, "c", false, "print commands for csh")
	flags.BoolVar(&o.sh, "s", false, "print commands for sh")
	flags.BoolVar(&o.foreground, "D", false, "stay in the foreground")
	flags.BoolVar(&o.debug, "d", false, "stay in the foreground, and log")
	flags.BoolVar(&o.kill, "k", false, "end the agent of SSH_AGENT_PID")
	flags.StringVar(&o.path, "a", "", "listen at `PATH`")
	flags.IntVar(&o.parent, "parent", 0, "end with process `PID`")
	flags.Func("t", "how many `SECONDS` an added key lives", func(s string) error {
		seconds, err := strconv.ParseUint(s, 10, 32)
		o.lifetime = time.Duration(seconds) * time.Second
		return err
	})
	for _, name := range []string{"E", "O", "P"} {
		flags.Func(name, "see ssh-agent(1)", func(s string) error {
			o.theirs = append(o.theirs, "-"+name, s)
			return nil
		})
	}
	err = flags.Parse(separate(args))
	return o, flags.Args(), err
}

func run(args []string, stdout io.Writer) error {
	o, command, err := parse(args)
	switch {
	case err != nil:
		return err
	case o.kill:
		pid, err := strconv.Atoi(os.Getenv("SSH_AGENT_PID"))
		if err != nil {
			return errors.New("SSH_AGENT_PID not set")
		}
		return syscall.Kill(pid, syscall.SIGTERM)
	}
	if o.path == "" {
		dir, err := os.MkdirTemp("", "ssh-")
		if err != nil {
			return err
		}
		o.path = filepath.Join(dir, "agent."+strconv.Itoa(os.Getpid()))
	}
	if o.foreground || o.debug {
		return serve(o, stdout)
	}
	return start(o, command, stdout)
}

// environment is what a shell evaluates to use the agent.
func (o options) environment(pid int) string {
	if o.csh || !o.sh && strings.HasSuffix(os.Getenv("SHELL"), "csh") {
		return fmt.Sprintf("setenv SSH_AUTH_SOCK %s;\nsetenv SSH_AGENT_PID %d;\necho Agent pid %d;\n", o.path, pid, pid)
	}
	return fmt.Sprintf("SSH_AUTH_SOCK=%s; export SSH_AUTH_SOCK;\nSSH_AGENT_PID=%d; export SSH_AGENT_PID;\necho Agent pid %d;\n", o.path, pid, pid)
}

func (o options) seconds() string { return strconv.Itoa(int(o.lifetime / time.Second)) }

// start starts an agent in the background, and runs the command, if there is one.
func start(o options, command []string, stdout io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"-D", "-a", o.path, "-t", o.seconds()}, o.theirs...)
	if len(command) > 0 {
		args = append(args, "-parent", strconv.Itoa(os.Getpid()))
	}
	agent := exec.Command(self, args...)
	agent.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := agent.StdoutPipe()
	if err != nil {
		return err
	}
	if err := agent.Start(); err != nil {
		return err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it says so when it listens
		return fmt.Errorf("the agent did not start: %w", err)
	}
	if len(command) == 0 {
		_, err := io.WriteString(stdout, o.environment(agent.Process.Pid))
		return err
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, command, append(os.Environ(), "SSH_AUTH_SOCK="+o.path, "SSH_AGENT_PID="+strconv.Itoa(agent.Process.Pid)))
}
