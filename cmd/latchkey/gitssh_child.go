package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// errNotStarted is the error if a program could not be started at all.
var errNotStarted = errors.New("not started")

// runChild runs a program as if it were this one: in the same process group and
// on the same terminal, with the signals that are sent to this process. What a
// terminal sends goes to both, and a child that gets SIGINT twice ends as it
// does after one. started is called with its process ID once it runs.
func runChild(cmd *exec.Cmd, started func(pid int)) (*os.ProcessState, error) {
	signals := make(chan os.Signal, 16)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2} {
		if !signal.Ignored(s) { // by nohup, say: the child inherits that
			signal.Notify(signals, s)
		}
	}
	signal.Notify(signals, syscall.SIGCHLD)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("running %s: %w: %w", cmd.Path, err, errNotStarted)
	}
	ended := make(chan struct{})
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGCHLD {
					stopWith(cmd.Process)
				} else {
					cmd.Process.Signal(s) // it may have ended
				}
			case <-ended:
				return
			}
		}
	}()
	started(cmd.Process.Pid)
	err := cmd.Wait()
	close(ended)
	<-passed
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return cmd.ProcessState, fmt.Errorf("waiting for %s: %w", cmd.Path, err)
	}
	return cmd.ProcessState, nil
}

// exitAs returns the exit status of a program that has ended, or dies by the
// signal that it died by: the shell above tells the two apart.
func exitAs(state *os.ProcessState) int {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return state.ExitCode()
	}
	dieBy(status.Signal())
	return 128 + int(status.Signal())
}
