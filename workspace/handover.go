package workspace

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/internal/harden"
)

const (
	tokenVariable   = "LATCHKEY_TOKEN"
	tokenFDVariable = "LATCHKEY_TOKEN_FD" // ours, between the two lives of one process
)

// TakeToken takes LATCHKEY_TOKEN out of this process's environment and returns
// it, or nil if there is none. What a process was started with stays readable in
// /proc/PID/environ whatever it unsets later, so the process executes itself
// again (same PID, same arguments) without the variable and with the token in a
// pipe; TakeToken then does not return in the first life, but with the token in
// the second.
//
// Call it right after [harden.Process], with its report, which shuts the first life's environ and
// pipe to others of the same user; exec opens the second life until it calls
// harden.Process itself. Whoever may look at that moment could as well have
// looked when the process started: a token in the environment is protected from
// then on, not before.
func TakeToken(report harden.Report) ([]byte, error) {
	if token := os.Getenv(tokenVariable); token != "" {
		return nil, report.AsStarted(func() error { return handOver(token) })
	}
	if fd, ok := os.LookupEnv(tokenFDVariable); ok {
		return receiveToken(fd)
	}
	return nil, nil
}

// handOver begins the second life. It returns only if that fails.
func handOver(token string) error {
	const doing = "taking the token out of the environment"
	if len(token) > maxToken {
		return fmt.Errorf("%s is larger than %d bytes", tokenVariable, maxToken)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf(doing+": %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf(doing+": %w", err)
	}
	defer r.Close()
	defer w.Close()
	// maxToken is below a pipe's smallest capacity of one page, so this does not block.
	if _, err := w.WriteString(token); err != nil {
		return fmt.Errorf(doing+": %w", err)
	}
	if _, err := unix.FcntlInt(r.Fd(), unix.F_SETFD, 0); err != nil {
		return fmt.Errorf(doing+": keeping the pipe over exec: %w", err)
	}
	env := append(withoutVariables(os.Environ(), tokenVariable, tokenFDVariable), tokenFDVariable+"="+strconv.Itoa(int(r.Fd())))
	err = syscall.Exec(self, os.Args, env)
	if runtime.GOOS == "linux" {
		// The path may be closed to this user, or gone; the process would be
		// called "exe" by ps, which is why it is not the first try.
		err = cmp.Or(syscall.Exec("/proc/self/exe", os.Args, env), err)
	}
	return fmt.Errorf(doing+": executing %s again: %w", self, err)
}

func receiveToken(number string) ([]byte, error) {
	if err := os.Unsetenv(tokenFDVariable); err != nil {
		return nil, err
	}
	fd, err := strconv.Atoi(number)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%s is %q, not what an earlier life of this process would have set", tokenFDVariable, number)
	}
	// Only the pipe that handOver made: not a file of somebody who sets the variable.
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, fmt.Errorf("%s names no pipe: %w", tokenFDVariable, cmp.Or(err, os.ErrInvalid))
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "token")
	defer f.Close()
	token, err := readAll(f, maxToken)
	if err != nil {
		return nil, fmt.Errorf("taking the token over: %w", err)
	}
	return token, nil
}

func withoutVariables(env []string, names ...string) []string {
	return slices.DeleteFunc(env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(names, name)
	})
}
