package sshd

import (
	"net"
	"slices"
	"strings"
)

// Bounds on the variables that a client asks for.
const (
	maxVariables = 64
	maxVariable  = 4 << 10 // bytes of "NAME=VALUE"
)

// defaultPath is what programs get if this process has no PATH.
const defaultPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

// mayBeSet reports whether a client may set a variable: what tells the language,
// as Debian's sshd is set up, and the version of git's protocol. With others it
// could change what programs do.
func mayBeSet(name string) bool {
	switch name {
	case "LANG", "LANGUAGE", "COLORTERM", "NO_COLOR", "GIT_PROTOCOL":
		return true
	}
	rest, ok := strings.CutPrefix(name, "LC_")
	return ok && rest != "" && strings.Trim(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
}

// ofProcess are the variables that tell a process about itself, and that its
// children must not take for theirs. Those of systemd.exec(5), and of a shell.
var ofProcess = []string{
	"CREDENTIALS_DIRECTORY", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "LISTEN_PIDFDID",
	"MAINPID", "MANAGERPID", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", "NOTIFY_SOCKET", "SYSTEMD_EXEC_PID", "WATCHDOG_PID", "WATCHDOG_USEC",
	"OLDPWD", "PWD", "SHLVL", "TERM", "_",
	"SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_ORIGINAL_COMMAND",
}

// environ is the environment of a program that is started in a session: what
// this process was started with, what every login has, what the client asked for.
func (s *session) environ(base []string) []string {
	account := s.server.Account
	env := slices.DeleteFunc(slices.Clone(base), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(ofProcess, name)
	})
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "PATH=") }) {
		env = append(env, "PATH="+defaultPath)
	}
	host, port, _ := net.SplitHostPort(s.client.RemoteAddr().String())
	ownHost, ownPort, _ := net.SplitHostPort(s.client.LocalAddr().String())
	add := []string{
		"USER=" + account.Name, "LOGNAME=" + account.Name, "HOME=" + account.Home, "SHELL=" + account.Shell,
		"SSH_CLIENT=" + host + " " + port + " " + ownPort,
		"SSH_CONNECTION=" + host + " " + port + " " + ownHost + " " + ownPort,
	}
	if s.terminal != nil {
		add = append(add, "TERM="+s.terminal.name, "SSH_TTY="+s.terminal.tty.Name())
	}
	env = set(env, append(add, s.variables...)...)
	if s.server.Environ != nil {
		env = s.server.Environ(env)
	}
	return env
}

// set sets variables, in the place of those that there are.
func set(env []string, variables ...string) []string {
	for _, v := range variables {
		name, _, _ := strings.Cut(v, "=")
		env = slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		env = append(env, v)
	}
	return env
}
