//go:build !linux

package sshd

import "syscall"

// private leaves the mode of a socket to the umask, until it is set.
func private(string, string, syscall.RawConn) error { return nil }
