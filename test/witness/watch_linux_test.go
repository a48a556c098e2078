package witness

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A hiding is a way to put bytes into a file.
type hiding struct {
	name    string
	write   func(path string, b []byte) error
	watched bool // a Watch sees it
	stays   bool // a Search sees it
}

var hidings = []hiding{
	{"a file", func(path string, b []byte) error { return os.WriteFile(path, b, 0o600) }, true, true},
	{"a file that is removed at once", func(path string, b []byte) error {
		return firstError(os.WriteFile(path, b, 0o600), os.Remove(path))
	}, true, false},
	{"a file without a name", func(path string, b []byte) error {
		fd, err := unix.Open(filepath.Dir(path), unix.O_TMPFILE|unix.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, err = unix.Write(fd, b)
		return err
	}, true, false},
	{"shared memory of a file", func(path string, b []byte) error {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Truncate(4096); err != nil {
			return err
		}
		mem, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		copy(mem, b)
		return unix.Munmap(mem)
	}, true, true},
	{"a hard link", func(path string, b []byte) error {
		return firstError(os.WriteFile(path, b, 0o600), os.Link(path, path+"2"), os.Remove(path))
	}, true, true},
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestWatchAndSearch(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("run this test as root: fanotify")
		}
		t.Skip("run this test as root: fanotify")
	}
	dirs := []string{t.TempDir()}
	if shm, err := os.MkdirTemp("/dev/shm", "witness"); err == nil {
		t.Cleanup(func() { os.RemoveAll(shm) })
		dirs = append(dirs, shm)
	}
	for _, dir := range dirs {
		for j, p := range hidings {
			secret := rand.Text()
			m := NewMatcher(Secret{"it", []byte(secret)})
			since := time.Now()
			w, err := NewWatch(m)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, fmt.Sprint("file", j))
			if err := p.write(path, []byte(secret)); err != nil {
				t.Fatal(err)
			}
			found, err := w.Stop()
			if err != nil {
				t.Error(err)
			}
			check(t, "the watch", p.name, dir, found, p.watched)
			found, files, err := Search(m, since, dir)
			if err != nil {
				t.Error(err)
			}
			if p.stays && files == 0 {
				t.Errorf("%s in %s: the search looked into no file", p.name, dir)
			}
			check(t, "the search", p.name, dir, found, p.stays)
		}
	}
}

func check(t *testing.T, who, what, dir string, found []Finding, want bool) {
	t.Helper()
	here := 0
	for _, f := range found {
		if f.What == "it" && strings.HasPrefix(f.Where, dir) {
			here++
		} else {
			t.Errorf("%s in %s: %s saw %s", what, dir, who, f)
		}
	}
	if (here > 0) != want {
		t.Errorf("%s in %s: %s saw the secret %d times; want to be seen: %v", what, dir, who, here, want)
	}
}

func TestSearchLeavesOldFilesAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "old"), []byte("sixteen bytes, or more"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, files, err := Search(NewMatcher(Secret{"it", []byte("sixteen bytes, or more")}), time.Now().Add(time.Hour), dir)
	if err != nil || files != 0 || found != nil {
		t.Errorf("Search for what changes in an hour looked into %d files and gave %v, %v; want none", files, found, err)
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{"/": "/", `/a\040b`: "/a b", `/a\134\040`: `/a\ `, `/a\9`: `/a\9`, `/\134040`: `/\040`} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q; want %q", in, got, want)
		}
	}
}
