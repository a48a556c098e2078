package sshagent

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxPath is how long the path of a unix socket may be: sun_path less a NUL.
const maxPath = 103

func peerCredentials(fd int) (Peer, error) {
	c, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return Peer{}, err
	}
	pid, err := unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID)
	if err != nil {
		pid = 0 // it is for the log
	}
	return Peer{UID: int(c.Uid), PID: pid}, nil
}

// hungUp knows nothing of a link's other end.
func hungUp(net.Conn) (gone, known bool) { return false, false }

// restrict does nothing: the mode of a socket can be set only when it is bound.
// Until then, as ever, Accept refuses the processes of other users.
func restrict(string, string, syscall.RawConn) error { return nil }
