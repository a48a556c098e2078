package main

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// shield keeps other processes of the user from looking into this one. exec
// undoes it: unlike limits it is nothing that a program inherits.
func shield() { unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// diesWithUs has the kernel kill a child when the thread that starts it ends.
func diesWithUs(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// stopSelf stops this process, as ^Z does, until SIGCONT. Sent to this thread, so
// that the signal comes before what follows.
func stopSelf() { unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SIGSTOP) }

// ignored reports whether this process was started with a signal ignored that
// package os/signal knows nothing of. [signal.Ignored] knows of SIGHUP and SIGINT.
func ignored(s syscall.Signal) bool {
	var action struct { // struct kernel_sigaction
		handler uintptr
		rest    [3]uint64
	}
	const setSize, sigIgn = 8, 1
	_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), 0, uintptr(unsafe.Pointer(&action)), setSize, 0, 0)
	return errno == 0 && action.handler == sigIgn
}

// giveTerminal makes a process group the one in the foreground of a terminal.
// SIGTTOU, which stops those in the background that try, is blocked for the
// moment: ignored, children would inherit it.
func giveTerminal(tty, group int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var ttou, before unix.Sigset_t
	ttou.Val[0] = 1 << (uint(unix.SIGTTOU) - 1)
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &ttou, &before); err != nil {
		return err
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	return unix.IoctlSetPointerInt(tty, unix.TIOCSPGRP, group)
}
