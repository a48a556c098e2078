package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/workspace"
)

// The exit statuses of env(1) and of shells for a program that does not run.
const (
	exitCannotRun = 126
	exitNotFound  = 127
)

// findProgram finds a program as execvp(3) does. It leaves to the kernel whether
// what a path names can be run.
func findProgram(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	if path == "" {
		path = "/bin:/usr/bin"
	}
	var refused error
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			dir = "."
		}
		file := filepath.Join(dir, name)
		if dir == "." {
			file = "./" + name
		}
		var st unix.Stat_t
		if unix.Stat(file, &st) != nil {
			continue
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG && unix.Access(file, unix.X_OK) == nil {
			return file, nil
		}
		refused = syscall.EACCES
	}
	if name == "" || refused == nil {
		refused = syscall.ENOENT
	}
	return "", notRun(name, refused, nil, nil)
}

// become replaces this process. What is no program is a script for sh, as
// execvp(3) has it.
func become(path string, words, env []string) error {
	err := syscall.Exec(path, words, env)
	if err == syscall.ENOEXEC {
		err = syscall.Exec(shellPath, shellWords(path, words), env)
	}
	return err
}

const shellPath = "/bin/sh"

func shellWords(path string, words []string) []string {
	return append([]string{shellPath, path}, words[1:]...)
}

// notRun is why a program does not run, with the exit status for it.
func notRun(name string, err error, env []string, vars []workspace.Variable) error {
	status := exitCannotRun
	if errors.Is(err, fs.ErrNotExist) {
		status = exitNotFound
	}
	failed := fmt.Errorf("running %s: %w", name, err)
	switch {
	case errors.Is(err, syscall.E2BIG):
		failed = tooBig(failed, env, vars)
	case status == exitNotFound && strings.ContainsAny(name, " \t|&;<>$"):
		failed = withHint(failed, `CMD and its arguments are words of their own; for a line of shell: latchkey run -- sh -c "..."`)
	}
	return &statusError{failed, status}
}

// maxString is what Linux allows one variable, with its name, "=" and NUL:
// MAX_ARG_STRLEN, 32 pages.
const maxString = 32 * 4096

// tooBig says what is too big for the kernel (execve(2), "Limits on size of
// arguments and environment").
func tooBig(err error, env []string, vars []workspace.Variable) error {
	for _, v := range vars {
		if n := len(v.Name) + len(v.Value) + len("=\x00"); n > maxString {
			return withHint(fmt.Errorf("%w: the variable %s has %d bytes, and the kernel takes %d", err, v.Name, n, maxString),
				"give the secret "+v.Secret+" a file, or leave it out with --only")
		}
	}
	all, ours := 0, 0
	for _, v := range env {
		all += len(v) + 1
	}
	for _, v := range vars {
		ours += len(v.Name) + len(v.Value) + len("=\x00")
	}
	return withHint(fmt.Errorf("%w: the environment has %d bytes, %d of them secrets, and the kernel takes %d with the arguments", err, all, ours, maxStrings()),
		"take fewer with --only, give large secrets a file, or raise the limit with ulimit -s")
}

// maxStrings is what the kernel takes: a quarter of the stack's limit, from
// 128 KiB to 6 MiB.
func maxStrings() uint64 {
	const least, most = 128 << 10, 6 << 20
	var stack unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_STACK, &stack) != nil {
		return most
	}
	return min(max(stack.Cur/4, least), most)
}
