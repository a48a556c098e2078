package sshagent

import (
	"net"
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

// hungUp reports whether the other end is gone, if that can be known. One that has
// shut down its sending only, as "nc -N" and socat do behind a request, is there.
func hungUp(conn net.Conn) (gone, known bool) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false, false
	}
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		_, err := unix.Poll(fds, 0)
		gone = err != nil || fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone || err != nil, true
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
