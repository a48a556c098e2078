package secretfile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver/api"
)

func TestDeliver(t *testing.T) {
	modes(t, func(t *testing.T, s *site) {
		f := s.open()
		absolute := filepath.Join(s.dir, "work/key")
		wantStates(t, f.Deliver([]File{
			file("NPM", "~/.npmrc", "npm"), file("KUBE", "~/.kube/sub/config", "kube"), file("ABS", absolute, "abs"), file("EMPTY", "~/empty", ""),
		}), api.Delivered, api.Delivered, api.Delivered, api.Delivered)
		s.want("~/.npmrc", "npm")
		s.want("~/.kube/sub/config", "kube")
		s.want(absolute, "abs")
		s.want("~/empty", "")
		for _, d := range []string{"~/.kube", "~/.kube/sub", filepath.Dir(absolute)} {
			if info, err := os.Stat(s.path(d)); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("the directory %s: %v, %v; want mode 0700", d, info.Mode(), err)
			}
		}
		// Another value, another path, one less, and a path through what was a file.
		wantStates(t, f.Deliver([]File{file("NPM", "~/.npmrc/is/a/directory", "npm"), file("KUBE", "~/.kube/sub/config", "kube 2"), file("EMPTY", "~/empty", "full")}),
			api.Delivered, api.Delivered, api.Delivered)
		s.want("~/.npmrc/is/a/directory", "npm")
		s.want("~/.kube/sub/config", "kube 2")
		s.want("~/empty", "full")
		s.wantNone(absolute)
		s.wantNone(filepath.Dir(absolute))
		// And back again.
		wantStates(t, f.Deliver([]File{file("NPM", "~/.npmrc", "npm")}), api.Delivered)
		s.want("~/.npmrc", "npm")
		wantStates(t, f.Remove())
		wantTree(t, s.home, nil)
		if s.config.MemoryDir != "" {
			wantTree(t, s.config.MemoryDir, nil)
		}
		wantStates(t, f.Remove())
	})
}

// What a file is given is what is read back, whatever it is.
func TestDeliverAnything(t *testing.T) {
	modes(t, func(t *testing.T, s *site) {
		f := s.open()
		random := rand.New(rand.NewPCG(1, 2))
		sizes := []int{0, 1, 255, 4095, 4096, 4097, 256 << 10, 1 << 20}
		for round := range 6 {
			var files []File
			for i := range 12 {
				size := sizes[random.IntN(len(sizes))] + round%2*random.IntN(100)
				content := make([]byte, size)
				for j := range content {
					content[j] = byte(random.Uint32())
				}
				p := "~"
				for range random.IntN(4) {
					p += fmt.Sprintf("/dir %d", random.IntN(3))
				}
				p += fmt.Sprintf("/file ü'\"$\\%d%s", i, strings.Repeat("n", random.IntN(200)))
				files = append(files, File{Secret: fmt.Sprint("S", i), Path: p, Content: content, Version: int64(round)})
			}
			for i, r := range f.Deliver(files) {
				if r.State != api.Delivered || r.Secret != files[i].Secret || r.Path != files[i].Path || r.Version != files[i].Version {
					t.Errorf("delivering %s to %q: %+v", files[i].Secret, files[i].Path, r)
				}
			}
			for _, file := range files {
				s.want(file.Path, string(file.Content))
			}
		}
		wantStates(t, f.Remove())
		wantTree(t, s.home, nil)
	})
}

// Nothing that is right is touched: programs that watch it would read it again.
func TestUntouched(t *testing.T) {
	modes(t, func(t *testing.T, s *site) {
		f := s.open()
		files := []File{file("A", "~/dir/a", "a"), file("B", "~/dir/b", "b"), file("C", "~/found", "c")}
		s.write("~/found", "c", 0o600)
		found := inode(t, s.path("~/found"))
		f.Deliver(files)
		if inode(t, s.path("~/found")) != found {
			t.Error("a file that had the right content already was touched")
		}
		state := api.Delivered
		if s.config.MemoryDir != "" {
			state = api.Blocked // it is on a disk
		}
		stamps := func() (all string) {
			for _, p := range []string{s.path("~/dir"), s.path("~/dir/a"), s.path("~/dir/b"), s.path("~/found"), filepath.Join(s.config.StateDir, journalName)} {
				all += inode(t, p) + "\n"
				if real, err := filepath.EvalSymlinks(p); err == nil {
					all += inode(t, real) + "\n"
				}
			}
			return all
		}
		before := stamps()
		wantStates(t, f.Deliver(files), api.Delivered, api.Delivered, state)
		f.Close()
		f = s.open()
		wantStates(t, f.Deliver(files), api.Delivered, api.Delivered, state)
		if after := stamps(); after != before {
			t.Errorf("delivering the same again changed inode or time:\n%swas\n%s", after, before)
		}
	})
}

// A program that watches a directory hears of one file that is moved there, once a change.
func TestWatched(t *testing.T) {
	s := newSite(t)
	f := s.open()
	s.write("~/dir/other", "", 0o600)
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, s.path("~/dir"), unix.IN_MOVED_TO|unix.IN_MODIFY|unix.IN_ATTRIB|unix.IN_DELETE); err != nil {
		t.Fatal(err)
	}
	events := func() (all []string) {
		buf := make([]byte, 64<<10)
		n, err := unix.Read(fd, buf)
		if err != nil && err != unix.EAGAIN {
			t.Fatal(err)
		}
		for at := 0; at < n; {
			mask := uint32(buf[at+4]) | uint32(buf[at+5])<<8
			length := int(buf[at+12]) | int(buf[at+13])<<8
			name := string(bytes.TrimRight(buf[at+16:at+16+length], "\x00"))
			if !strings.HasPrefix(name, tempPrefix) {
				all = append(all, fmt.Sprintf("%#x %s", mask, name))
			}
			at += 16 + length
		}
		return all
	}
	want := func(doing string, want ...string) {
		t.Helper()
		if got := events(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: a watcher saw %q; want %q", doing, got, want)
		}
	}
	f.Deliver([]File{file("A", "~/dir/a", "1")})
	want("a new file", "0x80 a")
	f.Deliver([]File{file("A", "~/dir/a", "2")})
	want("another value", "0x80 a")
	f.Deliver([]File{file("A", "~/dir/a", "2")})
	want("the same value")
	f.Remove()
	want("removing it", "0x200 a")
}

// Files become links, and links files, when that is configured otherwise.
func TestSwitchMode(t *testing.T) {
	s := newSite(t)
	files := []File{file("A", "~/a", "a"), file("B", "~/dir/b", "b")}
	first, second := memoryDir(t), memoryDir(t)
	for _, d := range []string{"", first, "", first, second, ""} {
		s.config.MemoryDir = d
		f := s.open()
		wantStates(t, f.Deliver(files), api.Delivered, api.Delivered)
		s.want("~/a", "a")
		s.want("~/dir/b", "b")
		text, err := os.Readlink(s.path("~/a"))
		if (err == nil) != (d != "") || d != "" && filepath.Dir(text) != d {
			t.Errorf("with the memory directory %q there is a link to %q, %v", d, text, err)
		}
		for _, other := range []string{first, second} {
			if _, err := os.Stat(other); err == nil && other != d {
				wantTree(t, other, nil)
			}
		}
		journal, err := os.ReadFile(filepath.Join(s.config.StateDir, journalName))
		if err != nil || bytes.Contains(journal, []byte(`"sums"`)) != (d == "") {
			t.Errorf("with the memory directory %q the journal on the disk is %s", d, journal)
		}
		f.Close()
	}
	s.config.MemoryDir = first
	f := s.open()
	f.Deliver(files)
	f.Close()
	s.config.MemoryDir = ""
	wantStates(t, s.open().Remove())
	wantTree(t, s.home, nil)
	s.wantNone(first)
}

// After a restart of the machine what was in memory is gone.
func TestMemoryGone(t *testing.T) {
	s := newSite(t).inMemory()
	files := []File{file("A", "~/a", "a"), file("B", "~/b", "b")}
	f := s.open()
	f.Deliver(files)
	f.Close()
	if err := os.RemoveAll(s.config.MemoryDir); err != nil {
		t.Fatal(err)
	}
	f = s.open()
	wantStates(t, f.Deliver(files[:1]), api.Delivered)
	s.want("~/a", "a")
	s.wantNone("~/b")
}

func TestNotInMemory(t *testing.T) {
	var st unix.Statfs_t
	s := newSite(t)
	if err := unix.Statfs(s.dir, &st); err != nil || st.Type == unix.TMPFS_MAGIC {
		lacks(t, "temporary files are in memory here; set TMPDIR to a directory on a disk")
	}
	s.config.MemoryDir = filepath.Join(s.dir, "memory")
	if f, err := Open(s.config); err == nil || !strings.Contains(err.Error(), "on a disk; choose") {
		t.Errorf("Open with a memory directory on a disk = %v, %v; want that it is on a disk", f, err)
	}
}

func TestOpenTwice(t *testing.T) {
	s := newSite(t)
	f := s.open()
	if _, err := Open(s.config); err == nil || !strings.Contains(err.Error(), "another workspace daemon") {
		t.Errorf("opening a state directory twice: %v; want that another daemon has it", err)
	}
	f.Close()
	f.Close()
	wantStates(t, f.Deliver([]File{file("A", "~/a", "a")}), api.Failed)
	s.wantNone("~/a")
	s.open()
}

// A file that was there before with the right content is the user's, and stays;
// what we write in its place is ours.
func TestFoundFileStays(t *testing.T) {
	s := newSite(t)
	s.write("~/found", "mine", 0o644)
	f := s.open()
	wantStates(t, f.Deliver([]File{file("A", "~/found", "mine")}), api.Delivered)
	f.Close()
	f = s.open()
	wantStates(t, f.Deliver([]File{file("A", "~/found", "mine")}), api.Delivered)
	wantStates(t, f.Remove())
	s.want("~/found", "mine")
	wantStates(t, f.Deliver([]File{file("A", "~/found", "mine")}), api.Delivered)
	wantStates(t, f.Deliver([]File{file("A", "~/found", "next")}), api.Delivered)
	s.want("~/found", "next")
	wantStates(t, f.Remove())
	s.wantNone("~/found")
}
