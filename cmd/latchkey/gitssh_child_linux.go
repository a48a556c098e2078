package main

import (
	"bytes"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cldStopped is si_code CLD_STOPPED of waitid(2).
const cldStopped = 5

// stopWith stops this process if the child has stopped itself, as ssh does at
// "~^Z": the shell above watches this process only. Ctrl-Z on the terminal stops
// both anyway; when they go on, the child is not stopped any more.
func stopWith(child *os.Process) {
	var info struct {
		signo, errno, code, _ int32
		pid, uid, status      int32 // of the kind of siginfo_t that SIGCHLD has
		_                     [100]byte
	}
	err := unix.Waitid(unix.P_PID, child.Pid, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WSTOPPED|unix.WNOHANG, nil)
	if err != nil || info.code != cldStopped || syscall.Signal(info.status) != syscall.SIGTSTP {
		return
	}
	unix.Kill(unix.Getpid(), unix.SIGSTOP)
	child.Signal(syscall.SIGCONT) // this process was told to go on
}

// dieBy ends this process by a signal, if that is what the signal does. Go's own
// handlers would turn some of them into a stack trace.
func dieBy(s syscall.Signal) {
	signal.Reset()
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // the child has left its own core file
	var byDefault [4]uint64                          // struct kernel_sigaction with SIG_DFL
	const setSize = 8                                // bytes of a signal set
	syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&byDefault)), 0, setSize, 0, 0)
	unix.Kill(unix.Getpid(), s)
}

// exiting reports whether a process has begun to exit: the flag PF_EXITING
// (include/linux/sched.h), which the kernel sets before it closes the process's
// files.
func exiting(pid int) bool {
	const flagsField, exitingFlag = 6, 0x4 // counted behind the program's name, see proc(5)
	return statField(pid, flagsField)&exitingFlag != 0
}

// statField is a field of /proc/PID/stat, counted from 0 behind the program's
// name; all ones if it cannot be read.
func statField(pid, field int) uint64 {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ^uint64(0)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if field >= len(fields) {
		return ^uint64(0)
	}
	value, err := strconv.ParseUint(string(fields[field]), 10, 64)
	if err != nil {
		return ^uint64(0)
	}
	return value
}
