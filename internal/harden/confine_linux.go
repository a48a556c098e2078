package harden

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// confine does without packages for seccomp and Landlock: both are a few system
// calls, and what those packages do beyond (names of system calls, falling back
// to less without a word) is not wanted here.
func confine(r *Report, c Confinement) (gaps []string) {
	gap := func(format string, args ...any) { gaps = append(gaps, fmt.Sprintf(format, args...)) }
	if err := noNewPrivileges(); err != nil {
		gap("programs that it starts may gain privileges: PR_SET_NO_NEW_PRIVS: %v", err)
	}
	if err := refuseSystemCalls(c); err != nil {
		gap("system calls that it never needs are not refused: seccomp: %v", err)
	} else if err := trySystemCalls(c); err != nil {
		gap("system calls that it never needs are not refused: %v", err)
	} else {
		r.SystemCalls = true
	}
	if version, err := restrictFiles(c); err != nil {
		gap("files and ports are not restricted: Landlock: %v", err)
	} else if err := tryFiles(c, version); err != nil {
		gap("files and ports are not restricted: Landlock: %v", err)
	} else {
		r.Landlock = version
		if version < landlockNetwork {
			gap("ports are not restricted: that takes version %d of Landlock, in Linux 6.7, and this is version %d", landlockNetwork, version)
		}
	}
	if err := eachThread(map[string]string{"NoNewPrivs": "1"}); err != nil {
		gap("programs that it starts may gain privileges: %v", err)
	} else {
		r.NoNewPrivs = true
	}
	if r.SystemCalls {
		if err := eachThread(map[string]string{"Seccomp": "2"}); err != nil {
			r.SystemCalls = false
			gap("system calls that it never needs are not refused: %v", err)
		}
	}
	return gaps
}

// noNewPrivileges sets PR_SET_NO_NEW_PRIVS, which seccomp and Landlock ask for, on
// all threads. Where C code is linked in, Go cannot reach all of them: there it
// stays with this one until seccomp takes it to the others.
func noNewPrivileges() error {
	_, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0)
	if errno == syscall.ENOTSUP {
		return nil // see refuseSystemCalls
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// refuseSystemCalls installs the filter on all threads, and with it
// PR_SET_NO_NEW_PRIVS (seccomp(2), SECCOMP_FILTER_FLAG_TSYNC).
func refuseSystemCalls(c Confinement) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
	}
	return installFilter(systemCallFilter(c))
}

// eachThread reads back what the kernel says of every thread (proc(5)).
func eachThread(want map[string]string) error {
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(files) == 0 {
		return errors.New("it can't be read back: there is no /proc/self/task")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return fmt.Errorf("it can't be read back: %w", err)
		}
		for name, value := range want {
			if !bytes.Contains(text, []byte("\n"+name+":\t"+value+"\n")) {
				return fmt.Errorf("the kernel took it and did not keep it: %s is not %s in %s", name, value, file)
			}
		}
	}
	return nil
}
