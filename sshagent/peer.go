package sshagent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// A Peer is the process at the other end of a unix socket, when it connected. It
// may be another by now, or gone: it is for a log or a prompt, not to trust.
type Peer struct {
	UID int // of no meaning without a PID
	PID int // 0: not known
}

// peerOf asks the kernel who connected.
func peerOf(conn net.Conn) (p Peer, err error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return Peer{}, errors.New("not a socket")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	if cerr := raw.Control(func(fd uintptr) { p, err = peerCredentials(int(fd)) }); cerr != nil {
		return Peer{}, cerr
	}
	return p, err
}

// A peerError refuses a client. It is temporary, so that net/http's server, too,
// goes on after it.
type peerError struct{ err error }

func (e *peerError) Error() string   { return e.err.Error() }
func (e *peerError) Unwrap() error   { return e.err }
func (e *peerError) Timeout() bool   { return false }
func (e *peerError) Temporary() bool { return true }

// CheckPeer refuses the processes of other users, bar root: who can become root
// has the keys anyway, and sshd asks for host keys as root. Of a connection that was
// dialled, it is the process that listens.
func CheckPeer(conn net.Conn) error {
	p, err := peerOf(conn)
	switch {
	case err != nil:
		return &peerError{fmt.Errorf("a process of a user who is not known: %w", err)}
	case p.UID != os.Geteuid() && p.UID != 0:
		return &peerError{fmt.Errorf("a process of another user (uid %d, pid %d)", p.UID, p.PID)}
	}
	return nil
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.UnixListener.Accept()
	if err != nil {
		return nil, err
	}
	if err := CheckPeer(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
