package harden

import (
	"cmp"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// protect keeps this process's memory from other processes of the same user and
// from core files. A process that is not dumpable cannot be attached to, and
// its /proc/PID/mem, environ, maps and fd belong to root (proc(5)). A core
// handler that is a program ignores RLIMIT_CORE, but not this (core(5)).
//
// For a host only the soft limit is lowered: to raise the hard one again takes
// CAP_SYS_RESOURCE (getrlimit(2)).
func protect(r *Report, host bool) (gaps []string) {
	setDumpable := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	var lower unix.Rlimit
	var setCore error
	if host {
		var core unix.Rlimit
		if setCore = unix.Getrlimit(unix.RLIMIT_CORE, &core); setCore == nil {
			lower.Max = core.Max
			r.started = &limits{core: core}
		}
	}
	setCore = cmp.Or(setCore, unix.Setrlimit(unix.RLIMIT_CORE, &lower))

	d, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	r.Dumpable = err != nil || d != 0
	if r.Dumpable {
		gaps = append(gaps, fmt.Sprintf("other processes of this user can read this one's memory: PR_SET_DUMPABLE: %v; the sandbox it runs in must allow prctl", firstError(setDumpable, err)))
	}
	var core unix.Rlimit
	err = unix.Getrlimit(unix.RLIMIT_CORE, &core)
	if r.CoreSize, r.CoreMax = core.Cur, core.Max; err != nil {
		r.CoreSize, r.CoreMax = unix.RLIM_INFINITY, unix.RLIM_INFINITY
	}
	switch {
	case r.CoreSize != 0:
		gaps = append(gaps, fmt.Sprintf("a crash may leave a core file: RLIMIT_CORE: %v; start it under `ulimit -c 0`", firstError(setCore, err)))
	case r.CoreMax != 0 && r.Dumpable: // the limit alone is left, and not always
		gaps = append(gaps, "a crash may leave a core file while a program is started, which gets the limit that this process was started with; start it under `ulimit -c 0`")
	}
	return gaps
}

// limits are those that a process had before it was hardened.
type limits struct {
	mu   sync.Mutex
	core unix.Rlimit
}

// during calls start with these limits. A new process takes its limits over from
// the one that makes it, and Go has no way to give it others before it runs.
func (l *limits) during(start func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &l.core); err != nil {
		return fmt.Errorf("RLIMIT_CORE as it was: %w", err)
	}
	defer unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Max: l.core.Max})
	return start()
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("the kernel took it and did not keep it")
}
