package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/gitssh"
	"github.com/latchkey/latchkey/workspace"
)

// What lies in a helper's directory.
const (
	helperAgent  = "agent.sock" // for its ssh
	helperKeys   = "keys.sock"  // for the helpers of its hops, if there is no daemon: the Latchkey keys alone
	helperSSH    = "ssh"        // a link to this program, by which ssh starts those helpers
	helperWarned = "warned"     // made by the one of them that has warned the user
)

var helperFiles = []string{helperAgent, helperKeys, helperSSH, helperWarned,
	helperAgent + ".lock", helperKeys + ".lock"} // of [sshagent.Listen]

// maxSocketPath is the longest path of a unix socket: sun_path less its NUL.
const maxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1

// A helperDir is the private directory of one helper. It is locked (flock) while
// the helper lives, which the kernel sees to however it ends; so what a dead one
// has left is told from what a live one needs, also in another PID namespace.
type helperDir struct {
	path string
	lock *os.File
}

// helpersDir is where the helpers' directories are, and the runtime directory
// above it: the one given, or one in /tmp if ssh would not take paths in it as
// they are.
func helpersDir(runtimeDir string) (above, dir string) {
	dir = filepath.Join(runtimeDir, "ssh")
	if !gitssh.Safe(dir) || len(dir)+len("/4194304-1000/")+len(helperAgent) > maxSocketPath {
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
		if lock := lockDir(path); lock != nil {
			return &helperDir{path, lock}, nil
		}
	}
	return nil, fmt.Errorf("making a directory for the helper: %s is full of others", parent)
}

func (d *helperDir) file(name string) string { return filepath.Join(d.path, name) }

// remove removes the directory with what helpers put there.
func (d *helperDir) remove() error {
	defer d.lock.Close()
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
		if lock := lockDir(path); lock != nil {
			removeHelperDir(path) // if it fails, the next helper tries again
			lock.Close()
		}
	}
}

func removeHelperDir(path string) error {
	for _, name := range helperFiles {
		if err := os.Remove(filepath.Join(path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the helper's directory: %w", err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the helper's directory: %w", err)
	}
	return nil
}

// lockDir locks a directory, or returns nil if another process has it, or has
// removed it.
func lockDir(path string) *os.File {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		locked, err := f.Stat()
		there, thereErr := os.Lstat(path)
		if err == nil && thereErr == nil && os.SameFile(locked, there) {
			return f
		}
	}
	f.Close()
	return nil
}
