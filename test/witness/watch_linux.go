package witness

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// While a file changes, its content is looked at up to smallFile bytes; once a
// writer has closed it, up to largeFile. A private key in a file that is larger
// is left to the trace, which sees it being written.
const (
	smallFile = 1 << 20
	largeFile = 256 << 20
)

// A Watch looks into every file on every file system of this machine while it
// changes (fanotify(7)). The kernel hands it the open file, so it sees also what
// is unlinked at once, or never had a name. It looks a moment later than the
// change: what a program has overwritten by then, only a trace sees. It needs
// root.
type Watch struct {
	matcher *Matcher
	seen    findings
	file    *os.File // of fanotify
	ended   sync.WaitGroup
	flag    []byte        // when a file holds this, all before it has been seen
	flagged chan struct{} // closed when that file was seen
	passed  bool          // it is closed; belongs to follow

	mu    sync.Mutex
	files map[string]bool // the paths of the files that changed
	err   error
}

// NewWatch starts to watch.
func NewWatch(m *Matcher) (*Watch, error) {
	// A FIFO must not hold up the kernel's opening it for us: O_NONBLOCK.
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|unix.FAN_UNLIMITED_QUEUE|unix.FAN_UNLIMITED_MARKS,
		unix.O_RDONLY|unix.O_LARGEFILE|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOATIME)
	if err != nil {
		return nil, fmt.Errorf("fanotify_init: %w", err)
	}
	w := &Watch{
		matcher: m, seen: findings{witness: "watch"}, file: os.NewFile(uintptr(fd), "fanotify"),
		flag: []byte(rand.Text()), flagged: make(chan struct{}), files: make(map[string]bool),
	}
	if err := mark(fd); err != nil {
		w.file.Close()
		return nil, err
	}
	w.ended.Go(func() {
		if err := w.follow(); err != nil && !errors.Is(err, os.ErrClosed) {
			w.mu.Lock()
			w.err = err
			w.mu.Unlock()
		}
	})
	return w, nil
}

// mark asks for the changes of all file systems.
func mark(fd int) error {
	all, err := mounts()
	if err != nil {
		return err
	}
	marked := make(map[string]bool)
	for _, m := range all {
		// The files of /dev are devices, and the kernel would open them for us,
		// which may do anything.
		if marked[m.device] || m.point == "/dev" {
			continue
		}
		marked[m.device] = true
		err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, unix.FAN_MODIFY|unix.FAN_CLOSE_WRITE, unix.AT_FDCWD, m.point)
		if err != nil {
			return fmt.Errorf("watching the %s file system at %s: %w", m.kind, m.point, err)
		}
	}
	return nil
}

// Stop ends the watch when it has seen all that has happened so far, and
// returns what was in it. It fails if something may have been missed. It may be
// called twice.
func (w *Watch) Stop() ([]Finding, error) {
	// The kernel's queue is in order: behind this file nothing is left.
	err := writeTemp(w.flag)
	if err == nil {
		select {
		case <-w.flagged:
		case <-time.After(time.Minute):
			err = errors.New("fanotify has not told of a file that was written a minute ago")
		}
	}
	w.file.Close()
	w.ended.Wait()
	return w.seen.all(), errors.Join(err, w.err)
}

func writeTemp(content []byte) error {
	f, err := os.CreateTemp("", "witness-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// Files are the paths of the files that have changed; some may be gone.
func (w *Watch) Files() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	paths := make([]string, 0, len(w.files))
	for p := range w.files {
		paths = append(paths, p)
	}
	return paths
}

// follow reads the kernel's events: fixed structures with an open file each.
func (w *Watch) follow() error {
	const size = int(unsafe.Sizeof(unix.FanotifyEventMetadata{}))
	buf := make([]byte, 256*size)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return err
		}
		// Of several changes of one file the last is looked at: it shows what
		// all of them have made of it.
		changed := make(map[string]*change)
		for b := buf[:n]; len(b) >= size; {
			var e unix.FanotifyEventMetadata
			if _, err := binary.Decode(b, binary.NativeEndian, &e); err != nil {
				return err
			}
			if e.Event_len < uint32(size) || int(e.Event_len) > len(b) {
				return fmt.Errorf("an event of fanotify has %d bytes", e.Event_len)
			}
			b = b[e.Event_len:]
			if e.Mask&unix.FAN_Q_OVERFLOW != 0 || e.Fd < 0 {
				return errors.New("fanotify has lost events")
			}
			merge(changed, os.NewFile(uintptr(e.Fd), "changed"), e.Mask&unix.FAN_CLOSE_WRITE != 0)
		}
		for _, c := range changed {
			w.look(c)
		}
	}
}

// A change is what happened to one file.
type change struct {
	file   *os.File
	closed bool // by one who wrote to it
}

func merge(changed map[string]*change, f *os.File, closed bool) {
	var s unix.Stat_t
	if unix.Fstat(int(f.Fd()), &s) != nil || s.Mode&unix.S_IFMT != unix.S_IFREG {
		f.Close()
		return
	}
	id := fmt.Sprint(s.Dev, ":", s.Ino)
	if c := changed[id]; c != nil {
		c.closed = c.closed || closed
		f.Close()
		return
	}
	changed[id] = &change{f, closed}
}

// look looks into a file that has changed.
func (w *Watch) look(c *change) {
	defer c.file.Close()
	path, err := os.Readlink(fmt.Sprint("/proc/self/fd/", c.file.Fd()))
	if err != nil {
		path = "a file without a path"
	}
	w.mu.Lock()
	w.files[path] = true
	w.mu.Unlock()
	info, err := c.file.Stat()
	if err != nil {
		w.seen.add(path, "cannot be looked at: "+err.Error())
		return
	}
	switch size := info.Size(); {
	case size == int64(len(w.flag)):
		b := make([]byte, size)
		if n, _ := c.file.ReadAt(b, 0); n > 0 && bytes.Equal(b[:n], w.flag) {
			if !w.passed { // it comes when it is written and when it is closed
				w.passed = true
				close(w.flagged)
			}
			return
		}
	case size > largeFile, size > smallFile && !c.closed:
		return
	}
	found, err := w.matcher.findIn(io.NewSectionReader(c.file, 0, largeFile))
	if err != nil {
		w.seen.add(path, "cannot be read: "+err.Error())
	}
	w.seen.add(path, found...)
}
