package main

import (
	"bytes"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dieBy ends this process by a signal, if that is what the signal does. Go's own
// handlers would turn some of them into a stack trace.
func dieBy(s syscall.Signal) {
	signal.Reset()
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // the child has left its own core file
	var byDefault [4]uint64                          // struct kernel_sigaction with SIG_DFL
	const setSize = 8                                // bytes of a signal set
	syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&byDefault)), 0, setSize, 0, 0)
	runtime.LockOSThread()
	unix.Tgkill(unix.Getpid(), unix.Gettid(), s) // to this thread, so that it comes before what follows
}

// exiting reports whether a process has begun to exit: the flag PF_EXITING
// (include/linux/sched.h), which the kernel sets before it closes the process's
// files. A process that cannot be looked at is taken for one.
func exiting(pid int) bool {
	const flagsField, exitingFlag = 6, 0x4 // counted behind the program's name, see proc(5)
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= flagsField {
		return true
	}
	flags, err := strconv.ParseUint(string(fields[flagsField]), 10, 64)
	return err != nil || flags&exitingFlag != 0
}
