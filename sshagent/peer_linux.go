package sshagent

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// maxPath is how long the path of a unix socket may be: sun_path less a NUL.
const maxPath = 107

func peerCredentials(fd int) (Peer, error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, err
	}
	return Peer{UID: int(c.Uid), PID: int(c.Pid)}, nil
}

// restrict sets the mode of a socket before it is bound: on Linux the file that
// bind makes takes it over (less the umask), so it is never wider, and no umask
// has to be set, which would hold for the whole process.
func restrict(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
		return cerr
	}
	return err
}
