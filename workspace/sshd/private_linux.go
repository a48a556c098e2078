package sshd

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// private sets the mode of a socket before it is bound: on Linux the file that
// bind makes takes it over, so it is never wider.
func private(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
		return cerr
	}
	return err
}
