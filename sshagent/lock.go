package sshagent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// A lock is a file that one process has locked.
type lock struct{ file *os.File }

// lockFile takes the lock at path, or says that another has it.
func lockFile(path string) (*lock, *ListenError) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, &ListenError{Err: err}
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			file.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, inUse(path)
			}
			return nil, &ListenError{Err: fmt.Errorf("locking %s: %w", path, err)}
		}
		// Who had the lock may have removed the file before we locked it: then
		// it is another's file by now, or nobody's.
		mine, err1 := file.Stat()
		there, err2 := os.Lstat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return &lock{file}, nil
		}
		file.Close()
		if err := errors.Join(err1, err2); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, &ListenError{Err: err}
		}
	}
}

// release removes the file, while it is locked, and gives the lock back.
func (l *lock) release() {
	os.Remove(l.file.Name())
	l.file.Close()
}
