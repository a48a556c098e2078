package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/gitssh"
	"github.com/latchkey/latchkey/workspace"
)

// What lies in a helper's directory.
const (
	helperAgentSocket = "agent.sock" // for its ssh
	helperKeys        = "keys.sock"  // for the helpers of its hops, if there is no daemon: the Latchkey keys alone
	helperSSH         = "ssh"        // a link to this program, by which ssh starts those helpers
	helperWarned      = "warned"     // made by the one of them that has warned the user
)

var helperFiles = []string{helperAgentSocket, helperKeys, helperSSH, helperWarned}

// maxSocketPath is the longest path of a unix socket: sun_path less its NUL.
const maxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1

// A helperDir is the private directory of one helper. It is locked (flock) while
// the helper lives, which the kernel sees to however it ends; so what a dead one
// has left is told from what a live one needs, also in another PID namespace.
type helperDir struct {
	path string
	lock int // a file descriptor, which only close gives up
}

// helpersDir is where the helpers' directories are, and the runtime directory
// above it: the one given, or one in /tmp if ssh would not take paths in it as
// they are.
func helpersDir(runtimeDir string) (above, dir string) {
	dir = filepath.Join(runtimeDir, "ssh")
	if !gitssh.Safe(dir) || len(dir)+len("/4194304-1000/")+len(helperAgentSocket) > maxSocketPath {
		runtimeDir = "/tmp/latchkey-" + strconv.Itoa(os.Getuid())
		dir = filepath.Join(runtimeDir, "ssh")
	}
	return runtimeDir, dir
}

// newHelperDir makes the directory of this helper.
func newHelperDir(runtimeDir string) (*helperDir, error) {
	runtimeDir, parent := helpersDir(runtimeDir)
	if err := workspace.MakeRuntimeDir(runtimeDir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(parent, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making a directory for the helper: %w", err)
	}
	const attempts = 1000
	for i := range attempts {
		path := filepath.Join(parent, strconv.Itoa(os.Getpid())+"-"+strconv.Itoa(i))
		switch err := os.Mkdir(path, 0o700); {
		case errors.Is(err, fs.ErrExist):
			continue // left by a process that had this ID, or has it elsewhere
		case err != nil:
			return nil, fmt.Errorf("making a directory for the helper: %w", err)
		}
		// Another helper may take it for left behind until it is locked.
		if lock, ok := lockDir(path); ok {
			return &helperDir{path, lock}, nil
		}
	}
	return nil, fmt.Errorf("making a directory for the helper: %s is full of others", parent)
}

func (d *helperDir) file(name string) string { return filepath.Join(d.path, name) }

// remove removes the directory with what helpers put there.
func (d *helperDir) remove() error {
	defer unix.Close(d.lock)
	return removeHelperDir(d.path)
}

// removeOthers removes the directories of helpers that have died.
func (d *helperDir) removeOthers() {
	parent := filepath.Dir(d.path)
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(parent, e.Name())
		if path == d.path || !e.IsDir() {
			continue
		}
		if lock, ok := lockDir(path); ok {
			removeHelperDir(path) // if it fails, the next helper tries again
			unix.Close(lock)
		}
	}
}

func removeHelperDir(path string) error {
	for _, name := range helperFiles {
		// Not os.Remove, which tries rmdir as well.
		if err := unix.Unlink(filepath.Join(path, name)); err != nil && err != unix.ENOENT {
			return fmt.Errorf("removing the helper's directory: %s: %w", name, err)
		}
	}
	if err := unix.Rmdir(path); err != nil && err != unix.ENOENT {
		return fmt.Errorf("removing the helper's directory: %w", err)
	}
	return nil
}

// lockDir locks a directory. It reports false if another process has locked it,
// or has removed it.
func lockDir(path string) (fd int, ok bool) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	var locked, there unix.Stat_t
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil &&
		unix.Fstat(fd, &locked) == nil && unix.Lstat(path, &there) == nil &&
		locked.Dev == there.Dev && locked.Ino == there.Ino {
		return fd, true
	}
	unix.Close(fd)
	return 0, false
}

// answers reports whether somebody listens on a unix socket.
func answers(path string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	unix.CloseOnExec(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path}) == nil
}
