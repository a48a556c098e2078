package harden

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// protect keeps this process's memory from other processes of the same user and
// from core files. A process that is not dumpable cannot be attached to, and
// its /proc/PID/mem, environ, maps and fd belong to root (proc(5)). A core
// handler that is a program ignores RLIMIT_CORE, but not this (core(5)).
func protect() (dumpable bool, coreSize uint64, gaps []string) {
	setDumpable := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	setCore := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})

	d, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	dumpable = err != nil || d != 0
	if dumpable {
		gaps = append(gaps, fmt.Sprintf("other processes of this user can read this one's memory: PR_SET_DUMPABLE: %v; the sandbox it runs in must allow prctl", firstError(setDumpable, err)))
	}
	var core unix.Rlimit
	err = unix.Getrlimit(unix.RLIMIT_CORE, &core)
	if coreSize = core.Cur; err != nil {
		coreSize = unix.RLIM_INFINITY
	}
	if coreSize != 0 {
		gaps = append(gaps, fmt.Sprintf("a crash may leave a core file: RLIMIT_CORE: %v; start it under `ulimit -c 0`", firstError(setCore, err)))
	}
	return dumpable, coreSize, gaps
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("the kernel took it and did not keep it")
}
