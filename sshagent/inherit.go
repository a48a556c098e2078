package sshagent

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Inherit takes over a listening unix socket that another process has opened,
// such as systemd, at path. It takes clients as that of [Listen] does, but closing
// it leaves the socket there: it is that other process's. The file is closed.
func Inherit(f *os.File, path string) (net.Listener, error) {
	defer f.Close()
	if err := checkInherited(int(f.Fd()), path); err != nil {
		return nil, &ListenError{Path: path, Err: err, Hint: "see ListenStream= in the socket's unit"}
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, &ListenError{Path: path, Err: err}
	}
	return &inherited{l.(*net.UnixListener)}, nil
}

// checkInherited refuses what is not a socket like those that Listen makes.
func checkInherited(fd int, path string) error {
	address, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("not a socket: %w", err)
	}
	at, ok := address.(*unix.SockaddrUnix)
	if !ok {
		return errors.New("not a unix socket")
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_STREAM {
		return errors.New("not a stream socket")
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil || listens == 0 {
		return errors.New("a socket that does not listen")
	}
	there, err := os.Stat(at.Name)
	if err != nil {
		return fmt.Errorf("a socket at %q: %w", at.Name, err)
	}
	wanted, err := os.Stat(path)
	if err != nil || !os.SameFile(there, wanted) {
		return fmt.Errorf("a socket at %s, where no program looks for it", at.Name)
	}
	return nil
}

// An inherited listener has a socket of another process.
type inherited struct{ *net.UnixListener }

// Accept implements net.Listener.
func (l *inherited) Accept() (net.Conn, error) {
	return (&listener{UnixListener: l.UnixListener}).Accept()
}

// Close leaves the socket's file. It may be called twice.
func (l *inherited) Close() error {
	l.SetUnlinkOnClose(false)
	if err := l.UnixListener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
