package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
)

// A child is a program that runs as if it were this one: with the same streams,
// in the same process group, on the same terminal, and with the signals that are
// sent to this process. What a terminal sends goes to both, and a program that
// gets SIGINT twice ends as it does after one.
//
// It is started without package os: the first os.StartProcess of a process runs
// a process of its own to see whether the kernel has pidfds.
type child struct {
	mu  sync.Mutex
	pid int // 0: not started, or gone
	was []syscall.Signal
}

// catchSignals catches what may be sent to this process instead of the child. It
// stays caught: what comes before there is a child is for the child, and what
// comes after it must not keep this process from cleaning up.
func (c *child) catchSignals() {
	signals := make(chan os.Signal, 16)
	catch := func(list ...os.Signal) {
		for _, s := range list {
			if !signal.Ignored(s) { // by nohup, say: the child inherits that
				signal.Notify(signals, s)
			}
		}
	}
	catch(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	go func() {
		catch(syscall.SIGUSR1, syscall.SIGUSR2) // not in the way of what git and terminals send
		for s := range signals {
			c.signal(s.(syscall.Signal))
		}
	}()
}

// signal passes a signal on, now or when there is a child.
func (c *child) signal(s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pid == 0 {
		c.was = append(c.was, s)
		return
	}
	syscall.Kill(c.pid, s)
}

// start starts the program.
func (c *child) start(cmd *exec.Cmd) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := syscall.ForkExec(cmd.Path, cmd.Args, &syscall.ProcAttr{Env: cmd.Env, Files: []uintptr{0, 1, 2}})
	if err != nil {
		return fmt.Errorf("running %s: %w", cmd.Path, err)
	}
	c.pid = pid
	for _, s := range c.was {
		syscall.Kill(pid, s)
	}
	return nil
}

// wait waits until the program has ended. If it stops itself, as ssh does at
// "~^Z", this process stops with it, because the shell above watches this one
// only.
func (c *child) wait() (syscall.WaitStatus, error) {
	for {
		status, _, err := c.next(syscall.WUNTRACED)
		if err == nil && status.Stopped() && status.StopSignal() == syscall.SIGTSTP {
			// Ctrl-Z on the terminal stops both, and this process may hear that
			// the child has stopped when both go on: that is over.
			var changed bool
			if status, changed, err = c.next(syscall.WCONTINUED | syscall.WNOHANG); err == nil && !changed {
				syscall.Kill(syscall.Getpid(), syscall.SIGSTOP)
				c.signal(syscall.SIGCONT) // this process was told to go on
				continue
			}
		}
		if err != nil || status.Exited() || status.Signaled() {
			c.mu.Lock()
			c.pid = 0
			c.mu.Unlock()
			return status, err
		}
	}
}

// next is the next change of the child's state. With WNOHANG there may be none.
func (c *child) next(options int) (status syscall.WaitStatus, changed bool, err error) {
	for {
		pid, err := syscall.Wait4(c.pid, &status, options, nil)
		if err == nil {
			return status, pid == c.pid, nil
		}
		if err != syscall.EINTR {
			return 0, false, fmt.Errorf("waiting for what was run: %w", err)
		}
	}
}

// exitAs returns the exit status of a program that has ended, or dies by the
// signal that it died by: the shell above tells the two apart.
func exitAs(status syscall.WaitStatus) int {
	if !status.Signaled() {
		return status.ExitStatus()
	}
	dieBy(status.Signal())
	return 128 + int(status.Signal())
}
