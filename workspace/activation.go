package workspace

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/sshagent"
)

// Sockets are listeners that somebody else has opened for the daemon; one that is
// nil it opens itself.
type Sockets struct{ Agent, Control net.Listener }

// maxInherited is far more than the two sockets that the daemon has.
const maxInherited = 16

// ActivatedSockets takes over the sockets that systemd has opened for this process
// (sd_listen_fds(3)), and what says so out of its environment, so that nothing
// that it starts takes them for its own. Which is which, their paths tell: all of
// one unit have the same name.
func ActivatedSockets(dir string) (s Sockets, err error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	if pid != strconv.Itoa(os.Getpid()) {
		return s, nil // there are none, or they are another process's
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return s, err
		}
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxInherited {
		return s, fmt.Errorf("LISTEN_FDS is %q: want a number up to %d", count, maxInherited)
	}
	const first = 3 // SD_LISTEN_FDS_START
	for fd := first; fd < first+n; fd++ {
		unix.CloseOnExec(fd)
		if err := s.take(os.NewFile(uintptr(fd), "systemd's socket"), dir); err != nil {
			s.close()
			return Sockets{}, err
		}
	}
	return s, nil
}

// take takes over one of them.
func (s *Sockets) take(f *os.File, dir string) error {
	into, path := &s.Agent, AgentSocket(dir)
	if address, err := unix.Getsockname(int(f.Fd())); err == nil {
		if at, ok := address.(*unix.SockaddrUnix); ok && filepath.Base(at.Name) == filepath.Base(ControlSocket(dir)) {
			into, path = &s.Control, ControlSocket(dir)
		}
	}
	if *into != nil {
		f.Close()
		return fmt.Errorf("%s was given twice", path)
	}
	l, err := sshagent.Inherit(f, path)
	if err == nil {
		*into = l
	}
	return err
}

func (s *Sockets) close() {
	for _, l := range []net.Listener{s.Agent, s.Control} {
		if l != nil {
			l.Close()
		}
	}
}

// listen is the given listener, or else a new one at path.
func listen(given net.Listener, path string) (net.Listener, error) {
	if given != nil {
		return given, nil
	}
	return sshagent.Listen(path)
}
