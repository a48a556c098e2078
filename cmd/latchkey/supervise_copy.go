package main

import (
	"cmp"
	"os"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/internal/mask"
)

// copyTyped passes on what is typed, while our terminal is ours.
func (m *masking) copyTyped(wake, to int) {
	b := make([]byte, 4096)
	for {
		m.mu.Lock()
		for m.cooked == nil && !m.gone {
			m.typed.Wait()
		}
		gone := m.gone
		m.mu.Unlock()
		if gone || !readable(0, wake, -1) {
			return
		}
		if !inForeground(0) {
			m.suspend()
			continue
		}
		n, err := unix.Read(0, b)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if n <= 0 || writeAll(to, b[:n]) != nil {
			return
		}
	}
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// An output is one of a child's, on its way to ours.
type output struct {
	from     *os.File
	to       *mask.Writer
	terminal bool
	err      error // of writing, for who waits for copy
}

// terminalLag is how long what was written to a terminal may take to its other
// end, if others than the child still hold it. (If none does, that end says so.)
const terminalLag = 100 // milliseconds

// copy copies until nobody can write any more, or the child has ended and what
// it wrote is copied: others that it left running must not keep us.
func (o *output) copy(wake int) {
	defer func() { o.err = cmp.Or(o.err, o.to.Close()) }()
	fd := int(o.from.Fd())
	b := make([]byte, 32<<10)
	for {
		if !readable(fd, wake, -1) && !(o.terminal && readable(fd, -1, terminalLag)) {
			return
		}
		n, err := unix.Read(fd, b)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if n <= 0 { // EIO: no other end of the terminal
			return
		}
		// Whose reader is gone is told when it writes again. A terminal that is
		// gone has told by SIGHUP.
		if _, err := o.to.Write(b[:n]); err != nil && !o.terminal {
			o.err = err
			o.from.Close()
			return
		}
	}
}

// readable waits until there is something to read from fd, or its end. It is
// false if instead wake has something, or the time is over.
func readable(fd, wake, milliseconds int) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, milliseconds)
		if err == unix.EINTR {
			continue
		}
		return err == nil && fds[0].Revents != 0
	}
}
