package sshd

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// drainTime is how long nothing must come from a terminal whose program has
// ended but that others still have open, for it to be taken as read.
const drainTime = 200 * time.Millisecond

// A terminal is the pseudo-terminal of a session (RFC 4254, section 6.2).
type terminal struct {
	name        string // of its kind: TERM
	master, tty *os.File
	over        atomic.Bool   // its program has ended
	quiet       time.Duration // drainTime, but for tests
}

// A size is one of a terminal, as it is sent.
type size struct{ Columns, Rows, Width, Height uint32 }

// newTerminal makes a terminal. Package pty leaves files that block, which no
// deadline ends.
func newTerminal(name string) (*terminal, error) {
	master, tty, err := pty.Open()
	if err != nil {
		return nil, err
	}
	defer master.Close()
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		tty.Close()
		return nil, err
	}
	return &terminal{name: name, master: os.NewFile(uintptr(fd), master.Name()), tty: tty, quiet: drainTime}, nil
}

func (t *terminal) setSize(to size) error {
	return control(t.master, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{
			Row: uint16(to.Rows), Col: uint16(to.Columns), Xpixel: uint16(to.Width), Ypixel: uint16(to.Height)})
	})
}

// control calls f with a file's descriptor, and leaves the file as it is.
func control(file *os.File, f func(fd int) error) error {
	c, err := file.SyscallConn()
	if err != nil {
		return err
	}
	cerr := c.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(cerr, err)
}

// openTerminal answers "pty-req".
func (s *session) openTerminal(payload []byte) bool {
	var r struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	if s.program != nil || s.terminal != nil || ssh.Unmarshal(payload, &r) != nil || strings.Contains(r.Term, "\x00") {
		return false
	}
	t, err := newTerminal(r.Term)
	if err != nil {
		s.server.Log.Error("no terminal", "err", err)
		return false
	}
	if err := t.setSize(size{r.Columns, r.Rows, r.Width, r.Height}); err != nil {
		s.server.Log.Warn("the size of a terminal is not set", "err", err)
	}
	if err := setModes(t.tty, modesOf(r.Modes)); err != nil {
		s.server.Log.Warn("the modes of a terminal are not set", "err", err)
	}
	s.terminal = t
	return true
}

// resize answers "window-change".
func (s *session) resize(payload []byte) bool {
	var to size
	return s.terminal != nil && ssh.Unmarshal(payload, &to) == nil && s.terminal.setSize(to) == nil
}

// close closes a terminal that no program was started on.
func (t *terminal) close() {
	t.master.Close()
	t.tty.Close()
}

// copyTo copies what is written to the terminal. It ends when nobody has it open
// any more, or after drain.
func (t *terminal) copyTo(w io.Writer) {
	b := make([]byte, 32<<10)
	for draining := false; ; {
		n, err := t.master.Read(b)
		if n > 0 {
			if _, err := w.Write(b[:n]); err != nil {
				return
			}
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && !draining: // drain was called
			draining = true
		case errors.Is(err, os.ErrDeadlineExceeded) && t.readable():
			t.master.SetReadDeadline(time.Time{})
			continue
		case err != nil:
			return
		}
		if draining || t.over.Load() {
			draining = true
			t.master.SetReadDeadline(time.Now().Add(t.quiet))
		}
	}
}

// readable reports whether there is something to read. A deadline says nothing of
// that: one that is over keeps package os from looking, and it is over when drain
// comes late, or when this process had to wait for its turn.
func (t *terminal) readable() bool {
	fds := []unix.PollFd{{Events: unix.POLLIN}}
	err := control(t.master, func(fd int) error {
		fds[0].Fd = int32(fd)
		_, err := unix.Poll(fds, 0)
		return err
	})
	return err == nil && fds[0].Revents&unix.POLLIN != 0
}

// drain has copyTo end when it has read what there is.
func (t *terminal) drain() {
	t.over.Store(true)
	t.master.SetReadDeadline(time.Now())
}

// modesOf are the terminal modes of an encoded list (RFC 4254, section 8). Those
// that it does not know end it, as the RFC has it.
func modesOf(list string) map[byte]uint32 {
	modes := make(map[byte]uint32)
	for b := []byte(list); len(b) >= 5 && b[0] != 0 && b[0] < 160; b = b[5:] {
		modes[b[0]] = binary.BigEndian.Uint32(b[1:])
	}
	return modes
}
