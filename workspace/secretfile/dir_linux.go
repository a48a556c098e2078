package secretfile

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// A dir is a directory that is held open, so that it stays the same one
// whatever becomes of its path.
type dir struct {
	fd   int
	path string // for messages
}

func (d dir) close() { unix.Close(d.fd) }

// A system opens files without following links.
type system struct {
	// walk is true where there is no openat2(2), before Linux 5.6 and under old
	// seccomp profiles. Paths are opened part by part in any case, to look at
	// each directory, and O_NOFOLLOW is as good for one part.
	walk bool
}

func newSystem() system {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
	if err != nil {
		return system{walk: true}
	}
	unix.Close(fd)
	return system{}
}

// open opens one part of a path below a directory; it is no link.
func (s system) open(at dir, name string, flags int, mode uint32) (fd int, err error) {
	flags |= unix.O_NOFOLLOW | unix.O_CLOEXEC
	how := &unix.OpenHow{
		Flags: uint64(flags), Mode: uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		if s.walk {
			fd, err = unix.Openat(at.fd, name, flags, mode)
		} else {
			fd, err = unix.Openat2(at.fd, name, how)
		}
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// root opens a directory that others are opened below.
func root(name string) (dir, error) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return dir{fd, name}, err
}

// A purpose is what a directory is opened for.
type purpose int

const (
	toLook   purpose = iota // and not to make what is missing
	toMake                  // and to make what is missing
	toRemove                // and not to refuse it for who else may write there
)

// descend opens the directory that a file lies in, part by part, and checks
// all directories on the way. The missing ones it makes, and returns, or, if
// they shall not be made, only returns: then there is no directory.
func (s system) descend(from dir, parts []string, why purpose) (at dir, missing []string, err error) {
	fd, err := unix.FcntlInt(uintptr(from.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return dir{}, nil, failed("opening "+from.path, err)
	}
	at = dir{fd, from.path}
	if err := check(at, why); err != nil {
		at.close()
		return dir{}, nil, err
	}
	for i, part := range parts {
		next, made, err := s.enter(at, part, why)
		if made {
			missing = append(missing, path.Join(at.path, part))
		}
		at.close()
		if errors.Is(err, unix.ENOENT) {
			for j := range parts[i:] {
				missing = append(missing, path.Join(at.path, path.Join(parts[i:i+j+1]...)))
			}
			return dir{}, missing, errMissing
		}
		if err != nil {
			return dir{}, missing, err
		}
		at = next
	}
	return at, missing, nil
}

var errMissing = errors.New("there is no such directory")

// enter opens a directory below another, and makes it if that is wanted.
func (s system) enter(at dir, name string, why purpose) (next dir, made bool, err error) {
	next.path = path.Join(at.path, name)
	const flags = unix.O_PATH | unix.O_DIRECTORY
	next.fd, err = s.open(at, name, flags, 0)
	if err == unix.ENOENT && why == toMake {
		if err = unix.Mkdirat(at.fd, name, 0o700); err == nil {
			made = true
		} else if err != unix.EEXIST {
			return dir{}, false, failed("making the directory "+next.path, err)
		}
		next.fd, err = s.open(at, name, flags, 0)
	}
	switch err {
	case nil:
	case unix.ENOENT:
		return dir{}, made, err
	case unix.ELOOP, unix.ENOTDIR:
		return dir{}, made, notDirectory(at, name)
	default:
		return dir{}, made, failed("opening the directory "+next.path, err)
	}
	if err := check(next, why); err != nil {
		next.close()
		return dir{}, made, err
	}
	return next, made, nil
}

func notDirectory(at dir, name string) error {
	full := path.Join(at.path, name)
	var st unix.Stat_t
	if err := unix.Fstatat(at.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return blocked("%s is a symbolic link, and none is followed; give the path that it leads to", full)
	}
	return blocked("%s is not a directory; move it away, or choose another path", full)
}

// check refuses a directory in which somebody else could change what we write.
func check(d dir, why purpose) error {
	if why == toRemove {
		return nil // what is there must not stay there
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return failed("looking at the directory "+d.path, err)
	}
	us := os.Geteuid()
	private := int(st.Gid) == os.Getegid() && os.Getegid() == us // a group of one's own
	switch sticky := st.Mode&unix.S_ISVTX != 0; {
	case st.Uid != 0 && int(st.Uid) != us:
		return blocked("the directory %s belongs to user %d, who could replace the file; choose another path", d.path, st.Uid)
	case st.Mode&0o002 != 0 && !sticky:
		return blocked("everybody may write to the directory %s: chmod o-w %s", d.path, quote(d.path))
	case st.Mode&0o020 != 0 && !sticky && !private:
		return blocked("the group %d may write to the directory %s: chmod g-w %s", st.Gid, d.path, quote(d.path))
	}
	return nil
}

// quote is a word for a shell.
func quote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// sync makes the names in a directory durable. One that we may not read can't
// be opened for it.
func (s system) sync(d dir) error {
	fd, err := s.open(d, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == unix.EACCES {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fsync(fd); err != nil && err != unix.EINVAL { // not every file system can
		return fmt.Errorf("fsync: %w", err)
	}
	return nil
}
