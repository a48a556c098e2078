package sshd

import (
	"os/exec"

	"golang.org/x/sys/unix"
)

// waitFor waits for a program, and calls ended when it has ended but its number
// cannot be another's yet.
func waitFor(cmd *exec.Cmd, ended func()) {
	for unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	ended()
	cmd.Wait() // how it ended is in cmd.ProcessState
}
