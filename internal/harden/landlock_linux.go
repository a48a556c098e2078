package harden

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Rights to files that Landlock knows (landlock(7)).
const (
	readFiles = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	devices   = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	ofAFile   = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// Versions of Landlock: what came with each.
const (
	landlockRefer    = 2
	landlockTruncate = 3
	landlockNetwork  = 4
	landlockIoctl    = 5
)

// knownRights are the rights that a version knows: it takes no others.
func knownRights(version int) (rights uint64) {
	rights = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1 // the first version's are those up to this one
	if version >= landlockRefer {
		rights |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if version >= landlockTruncate {
		rights |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if version >= landlockIoctl {
		rights |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	return rights
}

// handled are the rights that are taken away where no rule grants them. A process
// that writes anywhere keeps all but what it has no use for.
func handled(c Confinement, version int) unix.LandlockRulesetAttr {
	var attr unix.LandlockRulesetAttr
	attr.Handled_access_fs = devices | unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_EXECUTE
	if c.Writes != nil {
		attr.Handled_access_fs = ^uint64(0)
	}
	if c.Programs {
		attr.Handled_access_fs &^= unix.LANDLOCK_ACCESS_FS_EXECUTE
	}
	attr.Handled_access_fs &= knownRights(version)
	if version >= landlockNetwork {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP
		if !c.Dials {
			attr.Handled_access_net |= unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		}
	}
	return attr
}

// restrictFiles restricts all threads to the files of a Confinement, and lets
// none listen on a TCP port: what the process serves is open by now.
func restrictFiles(c Confinement) (version int, err error) {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	switch errno {
	case 0:
		version = int(v)
	case unix.ENOSYS, unix.EOPNOTSUPP:
		return 0, fmt.Errorf("this kernel is without it, or has it switched off: %w", errno)
	default:
		return 0, errno
	}
	attr := handled(c, version)
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if errno != 0 {
		return 0, fmt.Errorf("making the rules: %w", errno)
	}
	rules := int(fd)
	defer unix.Close(rules)
	if c.Writes == nil {
		// Else it could not rename from one directory to another (landlock(7)).
		err = grant(rules, "/", attr.Handled_access_fs&unix.LANDLOCK_ACCESS_FS_REFER)
	}
	for _, path := range c.Reads {
		err = errors.Join(err, grant(rules, path, attr.Handled_access_fs&readFiles))
	}
	for _, path := range c.Writes {
		err = errors.Join(err, grant(rules, path, attr.Handled_access_fs&^(devices|unix.LANDLOCK_ACCESS_FS_EXECUTE)))
	}
	if err != nil {
		return 0, err
	}
	// It is a thread's, and Go has many; it cannot reach those of C code.
	_, _, errno = syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(rules), 0, 0)
	switch errno {
	case 0:
		return version, nil
	case syscall.ENOTSUP:
		return 0, errors.New("this program was built with cgo; `make` builds without")
	}
	return 0, errno
}

// grant adds a rule. What is not there needs none.
func grant(rules int, path string, rights uint64) error {
	if rights == 0 {
		return nil
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("looking at %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= ofAFile // others are an error
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(rules), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("granting %s: %w", path, errno)
	}
	return nil
}

// tryFiles tries what must fail: to listen on a port, and to make a file where
// none is to be made.
func tryFiles(c Confinement, version int) error {
	if version >= landlockNetwork {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
			unix.Close(fd)
		}
		if !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EAFNOSUPPORT) {
			return fmt.Errorf("a port was asked for, and came to %v", err)
		}
	}
	if c.Writes == nil {
		return nil
	}
	// A file without a name: should it be made, it is gone at once.
	fd, err := unix.Open(os.TempDir(), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err == nil {
		unix.Close(fd)
		return fmt.Errorf("a file could be made in %s", os.TempDir())
	}
	return nil
}
