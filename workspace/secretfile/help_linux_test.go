package secretfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A site is a home directory with what belongs to it, and an outside that must
// stay as it is.
type site struct {
	t       testing.TB
	config  Config
	walk    bool // without openat2
	dir     string
	home    string
	outside string
}

func newSite(t testing.TB) *site { return newSiteIn(t, t.TempDir()) }

func newSiteIn(t testing.TB, dir string) *site {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: dir, home: filepath.Join(dir, "home"), outside: filepath.Join(dir, "outside")}
	for _, d := range []string{s.home, s.outside} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.config = Config{Home: s.home, StateDir: filepath.Join(dir, "state")}
	return s
}

// newFastSite is a site whose files need not outlive the machine: fsync costs
// nothing there.
func newFastSite(t testing.TB) *site { return newSiteIn(t, filepath.Dir(memoryDir(t))) }

// inMemory lets the contents go to a tmpfs.
func (s *site) inMemory() *site {
	s.t.Helper()
	s.config.MemoryDir = memoryDir(s.t)
	return s
}

func memoryDir(t testing.TB) string {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		lacks(t, "there is no tmpfs at /dev/shm")
	}
	d, err := os.MkdirTemp("/dev/shm", "secretfile-test-")
	if err != nil {
		lacks(t, err.Error())
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	return filepath.Join(d, "memory")
}

// open opens the files; they are closed when the test ends, if not before.
func (s *site) open() *Files {
	s.t.Helper()
	f, err := Open(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	f.sys.walk = f.sys.walk || s.walk
	s.t.Cleanup(func() { f.Close() })
	return f
}

// path is that of a secret's path.
func (s *site) path(p string) string {
	if rest, ok := strings.CutPrefix(p, "~/"); ok {
		return filepath.Join(s.home, rest)
	}
	return p
}

func (s *site) write(p, content string, mode os.FileMode) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(p)), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(p), []byte(content), mode); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chmod(s.path(p), mode); err != nil { // whatever the umask is
		s.t.Fatal(err)
	}
}

// want checks that a file has a content, and is for its owner only.
func (s *site) want(p, content string) {
	s.t.Helper()
	data, err := os.ReadFile(s.path(p))
	if err != nil {
		s.t.Errorf("the file of a secret: %v", err)
		return
	}
	if string(data) != content {
		s.t.Errorf("%s holds %d bytes %.20q…; want %d bytes %.20q…", p, len(data), data, len(content), content)
	}
	if info, err := os.Stat(s.path(p)); err != nil || info.Mode().Perm() != 0o600 {
		s.t.Errorf("%s has mode %v, %v; want 0600", p, info.Mode(), err)
	}
}

func (s *site) wantNone(p string) {
	s.t.Helper()
	if _, err := os.Lstat(s.path(p)); !errors.Is(err, fs.ErrNotExist) {
		s.t.Errorf("%s is there (%v); want it gone", p, err)
	}
}

// tree lists all that is below a directory, with contents.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprint(strings.TrimPrefix(p, dir+"/"), " ", info.Mode())
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil && !errors.Is(err, fs.ErrPermission) {
				return err
			}
			line += fmt.Sprintf(" %q", data)
		case info.Mode()&fs.ModeSymlink != 0:
			text, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " -> " + text
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wantTree checks that a directory is as it was.
func wantTree(t testing.TB, dir string, before []string) {
	t.Helper()
	if now := tree(t, dir); !slices.Equal(now, before) {
		t.Errorf("%s holds\n\t%s\nwant\n\t%s", dir, strings.Join(now, "\n\t"), strings.Join(before, "\n\t"))
	}
}

// wantStates checks results one by one; what is not delivered says why.
func wantStates(t testing.TB, got []Result, want ...api.DeliveryState) {
	t.Helper()
	var states []api.DeliveryState
	for _, r := range got {
		states = append(states, r.State)
		if (r.State == api.Delivered) != (r.Detail == "") {
			t.Errorf("%s is %s with the detail %q", r.Path, r.State, r.Detail)
		}
	}
	if !slices.Equal(states, want) {
		t.Errorf("the results are %+v; want the states %q", got, want)
	}
}

func file(secret, path, content string) File {
	return File{Secret: secret, Path: path, Content: []byte(content), Version: 1}
}

func inode(t testing.TB, p string) string {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Lstat(p, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(st.Ino, st.Mtim, st.Ctim)
}

// lacks ends a test for which something is missing on this machine. It is an
// error where the environment promises that nothing is: CI or LATCHKEY_TEST_ALL.
func lacks(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("LATCHKEY_TEST_ALL") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// modes runs a test for files and for links to memory, with and without openat2.
func modes(t *testing.T, run func(t *testing.T, s *site)) {
	t.Run("files", func(t *testing.T) { run(t, newSite(t)) })
	t.Run("walk", func(t *testing.T) {
		s := newSite(t)
		s.walk = true
		run(t, s)
	})
	t.Run("memory", func(t *testing.T) { run(t, newSite(t).inMemory()) })
}
