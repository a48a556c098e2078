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
	each := eachThread()
	if err := each("NoNewPrivs", "1"); err != nil {
		gap("programs that it starts may gain privileges: %v", err)
	} else {
		r.NoNewPrivs = true
	}
	if r.SystemCalls {
		if err := each("Seccomp", "2"); err != nil {
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

// eachThread reads what the kernel says of every thread (proc(5)), once, and returns
// what checks that a field has a value for each.
func eachThread() (check func(name, value string) error) {
	texts, err := threadStatus()
	return func(name, value string) error {
		for thread, text := range texts {
			if !bytes.Contains(text, []byte("\n"+name+":\t"+value+"\n")) {
				return fmt.Errorf("the kernel took it and did not keep it: %s is not %s for thread %s", name, value, thread)
			}
		}
		return err
	}
}

func threadStatus() (texts map[string][]byte, err error) {
	const dir = "/proc/self/task"
	threads, err := os.ReadDir(dir)
	if err != nil || len(threads) == 0 {
		return nil, errors.New("it can't be read back: there is no " + dir)
	}
	texts = make(map[string][]byte)
	for _, thread := range threads {
		text, err := os.ReadFile(filepath.Join(dir, thread.Name(), "status"))
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ESRCH): // it has ended
		case err != nil:
			return nil, fmt.Errorf("it can't be read back: %w", err)
		default:
			texts[thread.Name()] = text
		}
	}
	return texts, nil
}
