package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A supervisor runs a program as its child, as if it were this process: with the
// signals that are sent to this one, stopped when it stops, and gone when it goes.
type supervisor struct {
	path  string
	words []string

	// shared: the child is in our process group, which is in the foreground of a
	// terminal. What is typed there it gets from the terminal. A group of its own
	// would be fine for the child, but not for the rest of a pipeline or script.
	shared bool
	tty    int // the terminal to give to the child's own group; -1: none
	mask   *masking
	warn   func(error)
	grace  time.Duration // for the program's end, before it is started again

	// monitor: it is the session leader on the terminal that masking made.
	monitor bool

	mu      sync.Mutex
	env     []string
	pid     int  // 0: not started, or gone
	again   bool // it is to be started again when it has ended
	resumed int  // SIGCONTs that end a stop of this process
	was     []syscall.Signal
	kill    *time.Timer
}

// The signals that are passed on. SIGCHLD is about our child, and SIGURG is what
// Go's runtime sends to itself.
var (
	passedOn = []syscall.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT, syscall.SIGTSTP,
	}
	fromKeyboard = []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTSTP, syscall.SIGWINCH}
)

// newSupervisor decides on the child's place at the terminal.
func newSupervisor(path string, words []string) *supervisor {
	s := &supervisor{path: path, words: words, tty: -1, grace: endGrace}
	foreground := inForeground(0)
	switch {
	case isTerminal(os.Stdin) && isTerminal(os.Stdout) && os.Getpid() == unix.Getpgrp():
		s.tty = 0
	case foreground || inForeground(1) || inForeground(2):
		s.shared = true
	}
	return s
}

// inForeground reports whether a descriptor is our terminal, and our process
// group is in its foreground.
func inForeground(fd int) bool {
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// run runs the program to its end, or its last end if it is started again.
func (s *supervisor) run() (syscall.WaitStatus, error) {
	runtime.LockOSThread() // which a child dies with
	defer runtime.UnlockOSThread()
	defer s.catchSignals()()
	for {
		if err := s.start(); err != nil {
			return 0, err
		}
		status, err := s.wait()
		if s.mask != nil {
			s.mask.drain()
		}
		if err != nil || !s.ended() {
			return status, err
		}
	}
}

func (s *supervisor) catchSignals() (stop func()) {
	signals := make(chan os.Signal, 32)
	for _, sig := range passedOn {
		if !signal.Ignored(sig) && !ignored(sig) && !(s.shared && sig == syscall.SIGTSTP) {
			signal.Notify(signals, sig)
		}
	}
	// Else Go ends this process when nobody reads what it prints. The child is
	// told instead: see masking.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	var passing sync.WaitGroup
	passing.Go(func() {
		for sig := range signals {
			s.pass(sig.(syscall.Signal))
		}
	})
	return func() {
		signal.Stop(signals)
		close(signals)
		passing.Wait()
	}
}

// pass passes a signal on, now or when there is a child.
func (s *supervisor) pass(sig syscall.Signal) {
	if s.mask != nil && s.mask.signalled(sig) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.shared && slices.Contains(fromKeyboard, sig):
		return // the child has got it too
	case sig == syscall.SIGCONT && s.resumed > 0:
		s.resumed--
		return // stop goes on, and first gives the terminal back
	case sig == syscall.SIGCONT && s.pid != 0:
		s.lendTerminal()
	}
	if ends := sig == syscall.SIGTERM || sig == syscall.SIGINT || sig == syscall.SIGHUP || sig == syscall.SIGQUIT; ends && s.again {
		s.again = false // somebody wants an end, and not a new beginning
	}
	if s.pid == 0 {
		s.was = append(s.was, sig)
		return
	}
	syscall.Kill(s.pid, sig)
}

// start starts the program, without package os: see child.
func (s *supervisor) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	attr := &syscall.ProcAttr{Env: s.env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: !s.shared}}
	if s.tty >= 0 && inForeground(s.tty) {
		attr.Sys.Foreground, attr.Sys.Ctty = true, s.tty
	}
	diesWithUs(attr.Sys)
	if s.mask != nil {
		if err := s.mask.open(attr); err != nil {
			return err
		}
	}
	pid, err := syscall.ForkExec(s.path, s.words, attr)
	if err == syscall.ENOEXEC {
		pid, err = syscall.ForkExec(shellPath, shellWords(s.path, s.words), attr)
	}
	if s.mask != nil {
		s.mask.started()
	}
	if err != nil {
		return err
	}
	s.pid = pid
	for _, sig := range s.was {
		syscall.Kill(pid, sig)
	}
	s.was = nil
	return nil
}

// wait waits until the program has ended, and stops when it stops.
func (s *supervisor) wait() (syscall.WaitStatus, error) {
	for {
		status, _, err := s.next(syscall.WUNTRACED)
		if err == nil && status.Stopped() {
			s.stop(status.StopSignal())
			continue
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		pid := s.pid
		s.pid = 0
		if s.kill != nil {
			s.kill.Stop()
		}
		if s.tty >= 0 {
			if group, err := unix.IoctlGetInt(s.tty, unix.TIOCGPGRP); err == nil && group == pid {
				giveTerminal(s.tty, unix.Getpgrp())
			}
		}
		return status, err
	}
}

// next is the next change of the child's state. With WNOHANG there may be none.
func (s *supervisor) next(options int) (status syscall.WaitStatus, changed bool, err error) {
	for {
		pid, err := syscall.Wait4(s.pid, &status, options, nil)
		if err == nil {
			return status, pid == s.pid, nil
		}
		if err != syscall.EINTR {
			return 0, false, fmt.Errorf("waiting for the program: %w", err)
		}
	}
}

// stop stops this process as the child has stopped, and goes on with it: the
// shell above watches this one only.
func (s *supervisor) stop(by syscall.Signal) {
	if by == syscall.SIGSTOP && s.tty < 0 && (s.mask == nil || !s.mask.pty()) {
		return // somebody has stopped the child itself, who will tell it to go on
	}
	if s.shared {
		// The terminal has stopped both, and this process may hear of it when
		// both go on: that is over.
		if _, changed, err := s.next(syscall.WCONTINUED | syscall.WNOHANG); err != nil || changed {
			return
		}
	}
	stops := s.monitor || !orphaned()
	s.mu.Lock()
	if stops {
		s.resumed++
	}
	if s.tty >= 0 {
		if group, err := unix.IoctlGetInt(s.tty, unix.TIOCGPGRP); err == nil && group == s.pid {
			giveTerminal(s.tty, unix.Getpgrp())
		}
	}
	s.mu.Unlock()
	if s.mask != nil {
		s.mask.suspend()
	}
	if stops {
		stopSelf()
	}
	if s.mask != nil {
		s.mask.resume()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lendTerminal()
	s.signalAll(syscall.SIGCONT)
}

// orphaned reports whether nobody would tell this process to go on if it
// stopped: the kernel does not let ^Z stop such ones either.
func orphaned() bool {
	above, err := unix.Getsid(os.Getppid())
	ours, err2 := unix.Getsid(0)
	return err != nil || err2 != nil || above != ours
}

// lendTerminal puts the child in the foreground if that is where this process is.
func (s *supervisor) lendTerminal() {
	if s.tty >= 0 && inForeground(s.tty) {
		if err := giveTerminal(s.tty, s.pid); err != nil {
			s.warn(fmt.Errorf("giving the terminal to the program: %w", err))
		}
	}
}

// signalAll signals the child, with its process group if that is its own.
func (s *supervisor) signalAll(sig syscall.Signal) {
	switch {
	case s.pid == 0:
	case s.shared && (s.mask == nil || !s.mask.pty()):
		syscall.Kill(s.pid, sig)
	default:
		syscall.Kill(-s.pid, sig)
	}
}
