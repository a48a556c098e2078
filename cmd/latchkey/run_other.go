//go:build !linux

package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// shield keeps other processes from looking into this one, where it can.
func shield() {}

// diesWithUs has the kernel kill a child when this process ends, where it can.
func diesWithUs(*syscall.SysProcAttr) {}

// stopSelf stops this process, as ^Z does, until SIGCONT.
func stopSelf() { syscall.Kill(os.Getpid(), syscall.SIGSTOP) }

// ignored reports whether this process was started with a signal ignored.
func ignored(s syscall.Signal) bool { return signal.Ignored(s) }

// giveTerminal makes a process group the one in the foreground of a terminal.
func giveTerminal(tty, group int) error {
	signal.Ignore(syscall.SIGTTOU)
	defer signal.Reset(syscall.SIGTTOU)
	return unix.IoctlSetPointerInt(tty, unix.TIOCSPGRP, group)
}
