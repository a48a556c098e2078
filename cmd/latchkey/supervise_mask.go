package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/latchkey/latchkey/internal/mask"
)

type maskValues struct {
	values []mask.Value
	set    *mask.Set
}

// masking hides values in what a supervisor's child prints. Where stdout is a
// terminal, the child gets one of its own, which looks the same to it: colours,
// prompts and its size stay. Else it gets pipes.
type masking struct {
	terminal bool // stdout is one
	keyboard bool // and stdin
	errors   bool // and stderr

	mu      sync.Mutex
	now     *maskValues
	outputs []*output // of the child that runs
	master  *os.File  // of its terminal
	theirs  []*os.File
	wake    [2]*os.File // its writing end is closed when the child has ended
	copies  sync.WaitGroup
	cooked  *term.State // of our terminal, while it is raw
	typed   *sync.Cond  // our terminal became raw, or the child has ended
	gone    bool        // the child has ended
	failed  error       // what it printed could not be written
}

// newMasking decides on the child's streams. It is in a session of its own if it
// has a terminal, and so the supervisor has none to lend.
func newMasking(s *supervisor, values *maskValues) *masking {
	m := &masking{
		terminal: isTerminal(os.Stdout), keyboard: isTerminal(os.Stdin), errors: isTerminal(os.Stderr),
		now: values,
	}
	m.typed = sync.NewCond(&m.mu)
	if m.terminal {
		s.tty, s.shared = -1, false
	}
	return m
}

func (m *masking) pty() bool { return m.terminal }

// messages is stderr for our own messages: a raw terminal wants both ends of a line.
func (m *masking) messages() io.Writer { return &messageWriter{m} }

type messageWriter struct{ m *masking }

func (w *messageWriter) Write(p []byte) (int, error) {
	w.m.mu.Lock()
	raw := w.m.cooked != nil
	w.m.mu.Unlock()
	text := p
	if raw {
		text = nil
		for _, b := range p {
			if b == '\n' {
				text = append(text, '\r')
			}
			text = append(text, b)
		}
	}
	if _, err := os.Stderr.Write(text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// open makes the streams of a child that is about to start.
func (m *masking) open(attr *syscall.ProcAttr) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = false
	var err error
	if m.wake[0], m.wake[1], err = os.Pipe(); err != nil {
		return fmt.Errorf("masking what the program prints: %w", err)
	}
	if m.terminal {
		err = m.openTerminal(attr)
	} else {
		err = m.openPipe(attr, 1, os.Stdout)
	}
	if err == nil && !(m.terminal && m.errors) {
		err = m.openPipe(attr, 2, os.Stderr)
	}
	if err != nil {
		return fmt.Errorf("masking what the program prints: %w", err)
	}
	return nil
}

func (m *masking) openPipe(attr *syscall.ProcAttr, fd int, to *os.File) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	attr.Files[fd] = w.Fd()
	m.theirs = append(m.theirs, w)
	m.outputs = append(m.outputs, &output{from: r, to: m.now.set.Writer(to)})
	return nil
}

func (m *masking) openTerminal(attr *syscall.ProcAttr) error {
	master, slave, err := pty.Open()
	if err != nil {
		return err
	}
	m.master = master
	m.theirs = append(m.theirs, slave)
	m.outputs = append(m.outputs, &output{from: master, to: m.now.set.Writer(os.Stdout), terminal: true})
	// As our own is: the size, and what the keys do.
	if settings, err := unix.IoctlGetTermios(1, readTermios); err == nil && m.cooked == nil {
		unix.IoctlSetTermios(int(slave.Fd()), writeTermios, settings)
	}
	m.resize()
	attr.Files[1] = slave.Fd()
	if m.keyboard {
		attr.Files[0] = slave.Fd()
	}
	if m.errors {
		attr.Files[2] = slave.Fd()
	}
	attr.Sys.Setpgid = false
	attr.Sys.Setsid, attr.Sys.Setctty, attr.Sys.Ctty = true, true, 1
	return nil
}

// resize gives the child's terminal the size of ours, and reports whether that
// is another one.
func (m *masking) resize() bool {
	size, err := unix.IoctlGetWinsize(1, unix.TIOCGWINSZ)
	if err != nil || m.master == nil {
		return false
	}
	before, err := unix.IoctlGetWinsize(int(m.master.Fd()), unix.TIOCGWINSZ)
	if err == nil && *before == *size {
		return false
	}
	return unix.IoctlSetWinsize(int(m.master.Fd()), unix.TIOCSWINSZ, size) == nil
}

// started begins to copy: the child has its ends.
func (m *masking) started() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.theirs {
		f.Close()
	}
	m.theirs = nil
	if m.terminal && m.keyboard {
		m.makeRaw() // first: what the child prints is meant for a terminal that leaves it alone
	}
	wake := int(m.wake[0].Fd())
	for _, o := range m.outputs {
		m.copies.Go(func() { defer m.panicked(); o.copy(wake) })
	}
	if m.terminal && m.keyboard {
		to := int(m.master.Fd())
		m.copies.Go(func() { defer m.panicked(); m.copyTyped(wake, to) })
	}
}

// drain copies what the child has left, which has ended.
func (m *masking) drain() {
	m.mu.Lock()
	m.gone = true
	m.wake[1].Close()
	m.typed.Broadcast()
	m.mu.Unlock()
	m.copies.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.outputs {
		o.from.Close()
		// A reader that has gone is what SIGPIPE is for: the program was told.
		if o.err != nil && !o.terminal && !errors.Is(o.err, syscall.EPIPE) {
			m.failed = o.err
		}
	}
	m.wake[0].Close()
	m.outputs, m.master = nil, nil
}

// use hides other values from now on.
func (m *masking) use(v *maskValues) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = v
	for _, o := range m.outputs {
		o.to.Use(v.set)
	}
}

func (m *masking) values() []mask.Value {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now.values
}

// signalled is told of a signal before the child is. It reports whether the child
// will get it from its terminal.
func (m *masking) signalled(sig syscall.Signal) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case sig == syscall.SIGWINCH:
		return m.resize()
	case sig == syscall.SIGCONT && m.master != nil && m.keyboard:
		m.makeRaw() // we may have come to the foreground
	}
	return false
}

// makeRaw has our terminal pass on all that is typed, if it is ours now.
func (m *masking) makeRaw() {
	if m.cooked != nil || !inForeground(0) {
		return
	}
	if before, err := term.MakeRaw(0); err == nil {
		m.cooked = before
		m.typed.Broadcast()
	}
}

// restore undoes makeRaw. In the background the terminal is somebody else's.
func (m *masking) restore() {
	if m.cooked != nil && inForeground(0) {
		term.Restore(0, m.cooked)
	}
	m.cooked = nil
}

// suspend gives the terminal back to the shell; resume takes it again.
func (m *masking) suspend() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restore()
}

func (m *masking) resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.terminal && m.keyboard {
		m.makeRaw()
	}
	m.resize()
}

// close leaves our terminal as it was.
func (m *masking) close() { m.suspend() }

// panicked leaves it so when a goroutine panics.
func (m *masking) panicked() {
	if p := recover(); p != nil {
		m.close()
		panic(p)
	}
}
