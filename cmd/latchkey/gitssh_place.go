package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/gitssh"
	"github.com/latchkey/latchkey/workspace"
)

// What a helper has in the helpers' directory begins with its name and ends so.
const (
	placeAgent  = ".sock"   // the agent of its ssh
	placeKeys   = ".keys"   // the agent of its hops' helpers, if there is no daemon: the Latchkey keys alone
	placeHosts  = ".host"   // who knows hosts, if there is no daemon
	placeWarned = ".warned" // made by the one of them that has warned the user
	placeJudged = ".judged" // what the server's known hosts say of the host's key: see noteHost
)

// helperSSH is a link to this program in the helpers' directory, by which ssh
// starts the helpers of its hops.
const helperSSH = "ssh"

// hopVariable tells the helpers of the hops where the first one is.
const hopVariable = "LATCHKEY_HOP_OF"

// maxSocketPath is the longest path of a unix socket: sun_path less its NUL.
const maxSocketPath = len(unix.RawSockaddrUnix{}.Path) - 1

// A place is where a helper has its sockets: a directory of this user that all
// helpers share, and a name of its own in it, "PID-NUMBER". A directory for each
// would cost more than all else that a helper does before its ssh starts.
type place struct{ dir, name string }

func (p place) file(suffix string) string { return filepath.Join(p.dir, p.name+suffix) }

func (p place) agentSocket() string { return p.file(placeAgent) }
func (p place) keysSocket() string  { return p.file(placeKeys) }
func (p place) hostsSocket() string { return p.file(placeHosts) }
func (p place) warned() string      { return p.file(placeWarned) }

// helpersDir is the helpers' directory for a runtime directory, and the runtime
// directory that it is in: the given one, or one in /tmp if ssh would not take
// paths in it as they are.
func helpersDir(runtimeDir string) (above, dir string) {
	dir = filepath.Join(runtimeDir, "ssh")
	if !gitssh.Safe(dir) || len(dir)+len("/4194304-100")+len(placeAgent) > maxSocketPath {
		runtimeDir = "/tmp/latchkey-" + strconv.Itoa(os.Getuid())
		dir = filepath.Join(runtimeDir, "ssh")
	}
	return runtimeDir, dir
}

// newPlace finds a place and listens on its agent's socket.
func newPlace(runtimeDir string) (place, net.Listener, error) {
	const doing = "serving the helper's agent: %w"
	above, dir := helpersDir(runtimeDir)
	if err := workspace.MakeRuntimeDir(above); err != nil {
		return place{}, nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return place{}, nil, fmt.Errorf(doing, err)
	}
	const attempts = 100
	for i := range attempts {
		p := place{dir, strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(i)}
		l, err := p.listen(placeAgent)
		switch {
		case errors.Is(err, unix.EADDRINUSE):
			continue // left by a process that had this ID, or has it in another PID namespace
		case err != nil:
			return place{}, nil, fmt.Errorf(doing, err)
		}
		return p, l, nil
	}
	return place{}, nil, fmt.Errorf(doing, fmt.Errorf("%s is full of others", dir))
}

// listen listens on a socket of the place. The directory keeps other users out,
// and the name is no other's: it needs nothing of what sshagent.Listen does.
func (p place) listen(suffix string) (net.Listener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: p.file(suffix), Net: "unix"})
}

// link makes the link in the helpers' directory, and returns its path. It stays
// there. Without it the ssh of a hop would run as the user configured it.
func (p place) link() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("making a link to latchkey: %w", err)
	}
	path := filepath.Join(p.dir, helperSSH)
	if to, err := os.Readlink(path); err == nil && to == self {
		return path, nil
	}
	if err := p.replaceLink(self, path); err != nil {
		return "", fmt.Errorf("making a link to latchkey: %w", err)
	}
	return path, nil
}

// replaceLink makes a symbolic link, in the place of another one if there is one.
func (p place) replaceLink(to, path string) error {
	fresh := p.file(".link")
	if err := os.Symlink(to, fresh); err != nil {
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	return nil
}

// remove removes what the helper has there.
func (p place) remove() error {
	for _, suffix := range []string{placeAgent, placeKeys, placeHosts, placeWarned, placeJudged} {
		// Not os.Remove, which tries rmdir as well.
		if err := unix.Unlink(p.file(suffix)); err != nil && err != unix.ENOENT {
			return fmt.Errorf("removing %s: %w", p.file(suffix), err)
		}
	}
	return nil
}

// removeOthers removes what helpers that have died have left. A helper is dead
// if there is no such process and nobody answers: one of another PID namespace
// only looks like the first, and one that is about to listen like the second.
func (p place) removeOthers() {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return // as whoever made it so will see
	}
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), ".")
		number, _, ok := strings.Cut(name, "-")
		pid, err := strconv.Atoi(number)
		if !ok || err != nil || pid <= 0 || name == p.name || unix.Kill(pid, 0) != unix.ESRCH {
			continue
		}
		if other := (place{p.dir, name}); !answers(other.agentSocket()) {
			unix.Unlink(filepath.Join(p.dir, e.Name())) // if it fails, the next helper tries again
		}
	}
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
