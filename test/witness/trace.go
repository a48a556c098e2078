package witness

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// traced are the system calls by which bytes leave a process, or by which a
// process gets memory that others may see. Not every machine has each of them.
const traced = "write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sendmmsg,vmsplice," + // bytes
	"execve,execveat," + // arguments, environments
	"open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,symlinkat,rename,renameat,renameat2," + // names
	"setxattr,lsetxattr,fsetxattr,add_key,keyctl,msgsnd,mq_open,mq_timedsend,process_vm_writev,prctl," + // odd places
	"mmap,memfd_create,shmget,io_uring_setup,connect" // memory, and where to

// A Trace is what strace sees of programs. It needs root to see into processes
// that are not dumpable.
type Trace struct {
	strace  string // its path
	dir     string // of the FIFOs
	matcher *Matcher
	seen    findings
	readers sync.WaitGroup

	mu    sync.Mutex
	fifos []string
	execs []string // programs that were started
	errs  []error

	connects, shares []func(string) bool
}

// NewTrace returns a Trace that runs the given strace and puts its FIFOs into dir.
func NewTrace(m *Matcher, strace, dir string) *Trace {
	return &Trace{strace: strace, dir: dir, matcher: m, seen: findings{witness: "trace"}}
}

// AllowConnect lets programs connect to the addresses that f accepts:
// "127.0.0.1:443" or "/path/of/a/socket". By default there are none.
func (t *Trace) AllowConnect(f func(address string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.connects = append(t.connects, f)
}

// AllowShared lets programs map the files that f accepts as shared, writable
// memory, where no trace sees what they write. By default there are none;
// memory of memfd_secret, which nobody else can map, is always allowed.
func (t *Trace) AllowShared(f func(path string) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shares = append(t.shares, f)
}

func (t *Trace) mayConnect(address string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.connects, func(f func(string) bool) bool { return f(address) })
}

func (t *Trace) mayShare(path string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.shares, func(f func(string) bool) bool { return f(path) })
}

// Wrap returns the command that runs argv under strace, with all that it starts.
// It must be run once, and as root.
//
// strace writes to a FIFO: a file would hold, as the record of a leak, the very
// bytes that the other witnesses look for.
func (t *Trace) Wrap(argv []string) ([]string, error) {
	t.mu.Lock()
	fifo := filepath.Join(t.dir, fmt.Sprint("trace", len(t.fifos)))
	t.fifos = append(t.fifos, fifo)
	t.mu.Unlock()
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		return nil, fmt.Errorf("making %s: %w", fifo, err)
	}
	t.readers.Go(func() {
		if err := t.follow(fifo); err != nil {
			t.mu.Lock()
			t.errs = append(t.errs, err)
			t.mu.Unlock()
		}
	})
	return append([]string{t.strace,
		"-f", "--seccomp-bpf", "-qq", "-a1", // all processes, fast, nothing but calls
		"-y", "-xx", "-v", "-s1048576", // names of descriptors; all bytes, in hex, of all arguments
		"-e", "signal=none", "-e", "trace=?" + strings.ReplaceAll(traced, ",", ",?"),
		"-o", fifo, "--"}, argv...), nil
}

// Findings waits for the programs to end and returns what was seen of them. It
// fails if the trace was not whole.
func (t *Trace) Findings() ([]Finding, error) {
	t.mu.Lock()
	fifos := t.fifos
	t.mu.Unlock()
	for _, fifo := range fifos {
		// Releases the reader of a command that was never run.
		if f, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	}
	t.readers.Wait()
	return t.seen.all(), errors.Join(t.errs...)
}

func (t *Trace) ran(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.execs = append(t.execs, path)
}

// Ran reports whether a program with this base name was started: a witness that
// sees nothing proves nothing.
func (t *Trace) Ran(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, path := range t.execs {
		if filepath.Base(path) == name {
			return true
		}
	}
	return false
}

// follow reads what one strace writes.
func (t *Trace) follow(fifo string) error {
	r, err := os.Open(fifo)
	if err != nil {
		return err
	}
	defer r.Close()
	p := newTracee(t)
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := lines.ReadString('\n')
		if err := p.line(strings.TrimSuffix(line, "\n")); err != nil {
			io.Copy(io.Discard, r) // or strace would stand still, and the programs with it
			return fmt.Errorf("strace's line %.200q: %w", line, err)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
