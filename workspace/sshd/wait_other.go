//go:build !linux

package sshd

import "os/exec"

// waitFor waits for a program, and calls ended when it has ended.
func waitFor(cmd *exec.Cmd, ended func()) {
	cmd.Wait() // how it ended is in cmd.ProcessState
	ended()
}
