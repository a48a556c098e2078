package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/sshagent"
	"github.com/latchkey/latchkey/workspace"
)

// serve serves until a signal ends it, or its socket is gone: the tests leave
// agents behind whose directory they remove.
func serve(o options, stdout io.Writer) error {
	l, err := listen(o.path)
	if err != nil {
		return err
	}
	defer l.Close()
	log := slog.New(slog.DiscardHandler)
	if o.debug {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s := &sshagent.Server{
		Lifetime: o.lifetime, Log: log, Keep: workspace.KeepAdded(), Confirm: workspace.Askpass(os.Getenv("SSH_ASKPASS"), log),
	}
	if program := os.Getenv("SSHAGENT_THROUGH"); program != "" {
		theirs, end, err := startTheirs(program, o)
		if err != nil {
			return err
		}
		defer end()
		s.Upstreams = []sshagent.Upstream{theirs}
	}
	if _, err := io.WriteString(stdout, o.environment(os.Getpid())); err != nil {
		return err
	}
	return untilEnded(s, l, o)
}

func listen(path string) (net.Listener, error) {
	if os.Getenv("SSHAGENT_WEAK") != "" {
		return net.Listen("unix", path)
	}
	harden.Process()
	return sshagent.Listen(path)
}

func untilEnded(s *sshagent.Server, l net.Listener, o options) error {
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
			_, err := os.Lstat(o.path)
			if err == nil && (o.parent == 0 || syscall.Kill(o.parent, 0) == nil) {
				continue
			}
		case <-ctx.Done():
		}
		return s.Shutdown(context.Background())
	}
}

// startTheirs starts OpenSSH's agent, with what this one was told that is for it.
func startTheirs(program string, o options) (theirs sshagent.Upstream, end func(), err error) {
	path := o.path + ".theirs"
	cmd := exec.Command(program, append([]string{"-D", "-a", path, "-t", o.seconds()}, o.theirs...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return theirs, nil, err
	}
	if err := cmd.Start(); err != nil {
		return theirs, nil, err
	}
	end = func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it says so when it listens
		end()
		return theirs, nil, fmt.Errorf("%s did not start: %w", program, err)
	}
	return sshagent.Upstream{Name: program, Changes: true, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}, end, nil
}
