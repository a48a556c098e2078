package sshagent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// ErrInUse is the error of Listen if another agent listens there.
var ErrInUse = errors.New("another agent listens there")

// A ListenError is why Listen does not listen.
type ListenError struct {
	Path string
	Err  error
	Hint string // what can be done about it; "" if that is not known
}

func (e *ListenError) Error() string { return "listening at " + e.Path + ": " + e.Err.Error() }
func (e *ListenError) Unwrap() error { return e.Err }

// Listen listens on a unix socket at path (0600) for peers of this user or
// root. It replaces the socket of a process that is gone, never a live one, and
// refuses a directory that others can write to. Closing it removes the socket.
//
// Accept returns an error for the client of another user, after which it can be
// called again, as net/http's server does. The error of Listen is a
// [ListenError]; it is [ErrInUse] if somebody listens there. While it listens
// there is a lock at path.lock.
func Listen(path string) (net.Listener, error) {
	path, err := filepath.Abs(path) // "@name" would be a socket that has no file, so no permissions
	if err != nil {
		return nil, &ListenError{Path: path, Err: err}
	}
	if len(path) > maxPath {
		return nil, &ListenError{path, fmt.Errorf("the path of the socket is %d bytes long; the system takes %d", len(path), maxPath),
			"choose a directory with a shorter path"}
	}
	if err := checkDirectory(filepath.Dir(path)); err != nil {
		return nil, err.at(path)
	}
	// Two that start together could both find the socket stale, and the second
	// would remove the socket of the first: whoever has the lock may look.
	lock, lerr := lockFile(path + ".lock")
	if lerr != nil {
		return nil, lerr.at(path)
	}
	l, lerr := listen(path)
	if lerr != nil {
		lock.release()
		return nil, lerr.at(path)
	}
	l.lock = lock
	return l, nil
}

func (e *ListenError) at(path string) *ListenError {
	e.Path = path
	return e
}

// checkDirectory refuses a directory in which others could put a socket of
// theirs in the place of ours, even where the sticky bit keeps them from
// removing ours while it is there.
func checkDirectory(dir string) *ListenError {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return &ListenError{Err: fmt.Errorf("there is no directory %s", dir), Hint: "mkdir -m 700 " + dir}
	}
	if err != nil {
		return &ListenError{Err: err}
	}
	if !info.IsDir() {
		return &ListenError{Err: fmt.Errorf("%s is not a directory", dir), Hint: "choose another directory"}
	}
	uid := int(info.Sys().(*syscall.Stat_t).Uid)
	if uid != os.Geteuid() && uid != 0 {
		return &ListenError{Err: fmt.Errorf("the directory %s belongs to another user (uid %d)", dir, uid),
			Hint: "choose a directory of your own"}
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return &ListenError{Err: fmt.Errorf("others can write to the directory %s (mode %04o)", dir, mode),
			Hint: "choose a directory of your own, or: chmod 700 " + dir}
	}
	return nil
}

// listen is Listen for who has the lock.
func listen(path string) (*listener, *ListenError) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := listenRestricted(path)
	if err != nil {
		return nil, &ListenError{Err: err}
	}
	info, err := os.Lstat(path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		l.Close()
		os.Remove(path)
		return nil, &ListenError{Err: err}
	}
	return &listener{UnixListener: l, path: path, info: info}, nil
}

func listenRestricted(path string) (*net.UnixListener, error) {
	config := net.ListenConfig{Control: restrict}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	unixListener := l.(*net.UnixListener)
	unixListener.SetUnlinkOnClose(false) // it would remove whatever is there by then
	return unixListener, nil
}

// removeStale removes a socket that nobody listens on, and nothing else.
func removeStale(path string) *ListenError {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &ListenError{Err: err}
	}
	if info.Mode().Type() != fs.ModeSocket {
		return &ListenError{Err: errors.New("there is something that is not a socket"), Hint: "move it away, or choose another path"}
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
		return inUse(path)
	case errors.Is(err, syscall.EAGAIN): // it has no room for us in its queue
		return inUse(path)
	case errors.Is(err, syscall.ECONNREFUSED):
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &ListenError{Err: fmt.Errorf("seeing whether somebody listens: %w", err), Hint: "if nobody does: rm " + path}
	}
	return nil
}

func inUse(path string) *ListenError {
	return &ListenError{Err: ErrInUse, Hint: "use that one, end it first, or choose another path"}
}

// A listener is a unix socket for one user.
type listener struct {
	*net.UnixListener
	path string
	info fs.FileInfo // of the socket
	lock *lock

	closing sync.Once
	closed  error
}

// Close stops listening and removes the socket, if it is still ours. It may be
// called twice.
func (l *listener) Close() error {
	l.closing.Do(func() {
		l.closed = l.UnixListener.Close()
		if info, err := os.Lstat(l.path); err == nil && os.SameFile(info, l.info) {
			l.closed = errors.Join(l.closed, os.Remove(l.path))
		}
		l.lock.release()
	})
	return l.closed
}
