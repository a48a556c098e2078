// The program sshagent serves package sshagent to OpenSSH's own tests of its
// ssh-agent: it has that program's command line, as far as they use it.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/sshagent"
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
	parent                           int // the agent ends with this process; 0: with none
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
	err = flags.Parse(args)
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

// start starts an agent in the background, and runs the command, if there is one.
func start(o options, command []string, stdout io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"-D", "-a", o.path, "-t", strconv.Itoa(int(o.lifetime / time.Second))}
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

func serve(o options, stdout io.Writer) error {
	harden.Process()
	l, err := sshagent.Listen(o.path)
	if err != nil {
		return err
	}
	s := &sshagent.Server{Lifetime: o.lifetime, Confirm: confirm}
	if o.debug {
		s.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if _, err := io.WriteString(stdout, o.environment(os.Getpid())); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	forget := make(chan os.Signal, 1)
	signal.Notify(forget, syscall.SIGUSR1)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	for tick := time.NewTicker(time.Second); ; {
		select {
		case err := <-served:
			return err
		case <-forget:
			s.Forget()
			continue
		case <-tick.C:
			if o.parent == 0 || syscall.Kill(o.parent, 0) == nil {
				continue
			}
		case <-ctx.Done():
		}
		return s.Shutdown(context.Background())
	}
}

// confirm asks with the program that ssh-agent asks with.
func confirm(ctx context.Context, _ sshagent.Key, prompt string) bool {
	askpass := os.Getenv("SSH_ASKPASS")
	if askpass == "" {
		return false
	}
	cmd := exec.CommandContext(ctx, askpass, prompt)
	cmd.Env = append(os.Environ(), "SSH_ASKPASS_PROMPT=confirm")
	answer, err := cmd.Output()
	text := strings.TrimSpace(string(answer))
	return err == nil && (text == "" || strings.EqualFold(text, "yes"))
}
