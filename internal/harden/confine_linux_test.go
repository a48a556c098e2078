package harden

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const directoryVariable = "HARDEN_TEST_DIRECTORY"

// A trial is what a confined process could do and what it could not.
type trial struct {
	Report Report
	Did    map[string]string // "" or the error
}

// tryEverything confines this process, which has many threads by then, and tries
// things on a new one and on an old one.
func tryEverything(c Confinement) trial {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	dir := os.Getenv(directoryVariable)
	// A thread that was there before, and is not the one that confines.
	asked, answered := make(chan func()), make(chan bool)
	go func() {
		runtime.LockOSThread()
		for f := range asked {
			f()
			answered <- true
		}
	}()
	asked <- func() {}
	<-answered

	t := trial{Report: Confine(Process(), c), Did: map[string]string{}}
	for name, try := range attempts(dir, listener.Addr().String()) {
		var old, fresh error
		asked <- func() { old = try() }
		<-answered
		var wait sync.WaitGroup
		wait.Go(func() {
			runtime.LockOSThread()
			fresh = try()
		})
		wait.Wait()
		t.Did[name] = said(old)
		if said(old) != said(fresh) {
			t.Did[name] += " on one thread, on another " + said(fresh)
		}
	}
	return t
}

func said(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func call(number uintptr, args ...uintptr) func() error {
	return func() error {
		args := append(args, 0, 0, 0)
		if _, _, errno := unix.Syscall(number, args[0], args[1], args[2]); errno != 0 {
			return errno
		}
		return nil
	}
}

func attempts(dir, address string) map[string]func() error {
	parent := uintptr(unix.Getppid())
	return map[string]func() error{
		"attach to the parent":   call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, parent),
		"make a namespace":       call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER),
		"clone into a namespace": call(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD)),
		"clone by clone3":        call(unix.SYS_CLONE3),
		"use io_uring":           call(unix.SYS_IO_URING_SETUP, 1),
		"use a raw socket":       call(unix.SYS_SOCKET, unix.AF_PACKET, unix.SOCK_RAW),
		"use a socket":           func() error { return close1(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)) },
		"run a program":          runProgram,
		"make memory executable": makeExecutable,
		"listen on a port":       listenTCP,
		"connect":                func() error { return connectTCP(address) },
		"write in the directory": func() error { return os.WriteFile(filepath.Join(dir, "in", "f"), nil, 0o600) },
		"write elsewhere":        func() error { return os.WriteFile(filepath.Join(dir, "out", "f"), nil, 0o600) },
		"rename elsewhere":       func() error { return renameAndBack(filepath.Join(dir, "in", "g"), filepath.Join(dir, "out", "g")) },
		"read elsewhere":         func() error { _, err := os.ReadFile(filepath.Join(dir, "out", "g2")); return err },
		"make a device":          func() error { return unix.Mknod(filepath.Join(dir, "in", "null"), unix.S_IFCHR, 0x103) },
	}
}

func close1(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func runProgram() error {
	p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
	if err == nil {
		_, err = p.Wait()
	}
	return err
}

func makeExecutable() error {
	b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	defer unix.Munmap(b)
	return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
}

func listenTCP() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		l.Close()
	}
	return err
}

func connectTCP(address string) error {
	c, err := net.Dial("tcp", address)
	if err == nil {
		c.Close()
	}
	return err
}

func renameAndBack(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return os.Rename(to, from)
}

// What is given up fails on every thread, and the rest works.
func TestConfine(t *testing.T) {
	if filter := systemCallFilter(Confinement{}); filter == nil {
		t.Fatal("there is no filter for this machine")
	}
	const allowed, eperm, eacces = "", "EPERM", "EACCES"
	both := map[string]string{
		"attach to the parent": eperm, "make a namespace": eperm, "clone into a namespace": eperm, "clone by clone3": "ENOSYS",
		"use io_uring": eperm, "use a raw socket": eperm, "use a socket": allowed, "run a program": eperm, "make memory executable": eperm,
		"listen on a port": eacces, "connect": allowed, "make a device": eperm,
		"write in the directory": allowed, "write elsewhere": allowed, "rename elsewhere": allowed, "read elsewhere": allowed,
	}
	for role, differs := range map[string]map[string]string{
		"confined":                {},
		"confined with programs":  {"run a program": allowed, "make memory executable": allowed},
		"confined to a directory": {"connect": eacces, "write elsewhere": eacces, "rename elsewhere": eacces},
	} {
		t.Run(role, func(t *testing.T) {
			t.Setenv(directoryVariable, trialDirectory(t))
			var got trial
			play(t, role, &got)
			landlock := got.Report.Landlock >= landlockNetwork
			if usesCgo && got.Report.Landlock != 0 {
				t.Errorf("Landlock holds in a program with cgo: %+v", got.Report)
			}
			if !got.Report.NoNewPrivs || !got.Report.SystemCalls || got.Report.Confined != landlock {
				t.Errorf("Confine gives %+v", got.Report)
			}
			if !landlock && !strings.Contains(strings.Join(got.Report.Gaps, "\n"), "Landlock") {
				t.Errorf("without Landlock, the gaps are %q", got.Report.Gaps)
			}
			for what, want := range both {
				if w, ok := differs[what]; ok {
					want = w
				}
				byLandlock := want == eacces
				if usesCgo && what == "make memory executable" || byLandlock && !landlock {
					want = allowed
				}
				if got.Did[what] != want {
					t.Errorf("%s: %q; want %q", what, got.Did[what], want)
				}
			}
		})
	}
}

// trialDirectory holds two directories for the user that roles play.
func trialDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "harden")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, d := range []string{"", "in", "out"} {
		path := filepath.Join(dir, d)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		own(t, path)
	}
	for _, f := range []string{"in/g", "out/g2"} {
		path := filepath.Join(dir, f)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		own(t, path)
	}
	return dir
}

func own(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() == 0 {
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
}
