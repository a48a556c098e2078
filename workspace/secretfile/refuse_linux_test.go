package secretfile

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver/api"
)

// must ends a test that can't be set up.
func must(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, unix.EPERM) {
		lacks(t, "run this test as root: "+err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What a target may not be: each is left as it is, is said why, and keeps no
// other secret from its file.
var badTargets = []struct {
	name   string
	path   string // of the secret; "~/dir/bad" if empty
	make   func(t *testing.T, s *site, p string)
	state  api.DeliveryState
	detail string
}{
	{name: "directory", make: func(t *testing.T, s *site, p string) { must(t, os.MkdirAll(p, 0o700)) },
		detail: "there is a directory at"},
	{name: "FIFO", make: func(t *testing.T, s *site, p string) { must(t, unix.Mkfifo(p, 0o600)) },
		detail: "there is a FIFO at"},
	{name: "socket", make: func(t *testing.T, s *site, p string) {
		wd, err := os.Getwd()
		must(t, err)
		must(t, os.Chdir(filepath.Dir(p))) // a socket's path is short
		defer os.Chdir(wd)
		l, err := net.Listen("unix", "bad")
		must(t, err)
		t.Cleanup(func() { l.Close() })
	}, detail: "there is a socket at"},
	{name: "device", make: func(t *testing.T, s *site, p string) { must(t, unix.Mknod(p, unix.S_IFCHR|0o600, 0x103)) },
		detail: "there is a device at"},
	{name: "link", make: func(t *testing.T, s *site, p string) {
		must(t, os.Symlink(filepath.Join(s.outside, "canary"), p))
	},
		detail: "there is a symbolic link at"},
	{name: "dangling link", make: func(t *testing.T, s *site, p string) { must(t, os.Symlink(filepath.Join(s.outside, "none"), p)) },
		detail: "there is a symbolic link at"},
	{name: "hard link", make: func(t *testing.T, s *site, p string) { must(t, os.Link(filepath.Join(s.outside, "canary"), p)) },
		detail: "has 2 names"},
	{name: "another's file", make: func(t *testing.T, s *site, p string) {
		s.write(p, "bad", 0o600)
		must(t, os.Chown(p, 12345, -1))
	}, detail: "belongs to user 12345"},
	{name: "other content", make: func(t *testing.T, s *site, p string) { s.write(p, "mine", 0o600) },
		detail: "already that Latchkey did not write; move it away"},
	{name: "other content of the same size", make: func(t *testing.T, s *site, p string) { s.write(p, "BAD", 0o600) },
		detail: "already that Latchkey did not write; move it away"},
	{name: "link on the way", path: "~/link/bad", make: func(t *testing.T, s *site, p string) { must(t, os.Symlink(s.outside, s.path("~/link"))) },
		detail: "link is a symbolic link, and none is followed"},
	{name: "link within home", path: "~/link/bad", make: func(t *testing.T, s *site, p string) { must(t, os.Symlink("dir", s.path("~/link"))) },
		detail: "link is a symbolic link, and none is followed"},
	{name: "magic link on the way", path: "/dev/fd/bad", detail: "reserved"},
	{name: "link on an absolute way", path: "ABS/link/bad", make: func(t *testing.T, s *site, p string) {
		must(t, os.Symlink(s.outside, filepath.Join(s.dir, "link")))
	}, detail: "link is a symbolic link"},
	{name: "file on the way", path: "~/file/bad", make: func(t *testing.T, s *site, p string) { s.write("~/file", "", 0o600) },
		detail: "file is not a directory"},
	{name: "FIFO on the way", path: "~/fifo/bad", make: func(t *testing.T, s *site, p string) { must(t, unix.Mkfifo(s.path("~/fifo"), 0o600)) },
		detail: "fifo is not a directory"},
	{name: "everybody's directory", path: "~/open/bad", make: func(t *testing.T, s *site, p string) {
		must(t, os.Mkdir(s.path("~/open"), 0o700))
		must(t, os.Chmod(s.path("~/open"), 0o707))
	}, detail: "open: chmod o-w"},
	{name: "a group's directory", path: "~/open/bad", make: func(t *testing.T, s *site, p string) {
		must(t, os.Mkdir(s.path("~/open"), 0o700))
		must(t, os.Chown(s.path("~/open"), -1, 12345))
		must(t, os.Chmod(s.path("~/open"), 0o770))
	}, detail: "open: chmod g-w"},
	{name: "another's directory", path: "~/open/bad", make: func(t *testing.T, s *site, p string) {
		must(t, os.Mkdir(s.path("~/open"), 0o700))
		must(t, os.Chown(s.path("~/open"), 12345, -1))
	}, detail: "open belongs to user 12345"},
	{name: "another's sticky directory", path: "~/open/bad", make: func(t *testing.T, s *site, p string) {
		must(t, os.Mkdir(s.path("~/open"), 0o700))
		must(t, os.Chown(s.path("~/open"), 12345, -1))
		must(t, os.Chmod(s.path("~/open"), 0o777|os.ModeSticky))
	}, detail: "open belongs to user 12345"},
	{name: "directory in the way above", path: "ABS", detail: "there is a directory at"},
	{name: "state directory", path: "ABS/state/bad", detail: "directory of Latchkey's own"},
	{name: "memory directory", path: "MEM/bad", detail: "choose"},
	{name: "runtime directory", path: "ABS/run/bad", detail: "directory of Latchkey's own"},
	{name: "runtime directory itself", path: "ABS/run", detail: "directory of Latchkey's own"},
	{name: "reserved", path: "~/.bashrc", detail: "reserved"},
	{name: "reserved by its other name", path: "ABS/home/.bashrc", detail: "reserved"},
	{name: "reserved through a linked home", path: "ABS/linked/.ssh/authorized_keys", detail: "reserved"},
	{name: "up", path: "~/../outside/bad", detail: `holds ".."`},
	{name: "relative", path: "bad", detail: "must begin with"},
	{name: "temporary name", path: "~/.latchkey-0123.tmp", detail: "temporary files"},
	{name: "the same file", path: "~/dir/good", state: api.Shadowed, detail: "the secret GOOD has the same file"},
	{name: "the same file by its other name", path: "ABS/home/dir/good", state: api.Shadowed, detail: "the secret GOOD has the same file"},
	{name: "the same file through a linked home", path: "ABS/linked/dir/good", state: api.Shadowed, detail: "the secret GOOD has the same file"},
	{name: "below a secret's file", path: "~/dir/good/bad", detail: "good is "},
	{name: "long path, to a good file", path: "~/" + strings.Repeat("ü", 127) + "/" + strings.Repeat("x/", 100) + "bad", state: api.Delivered},
}

func TestBadTargets(t *testing.T) {
	modes(t, func(t *testing.T, base *site) {
		for _, bad := range badTargets {
			t.Run(bad.name, func(t *testing.T) {
				s := newSite(t)
				s.walk = base.walk
				if base.config.MemoryDir != "" {
					s.inMemory()
				}
				// The home directory is reached by a link, as /home often is.
				must(t, os.Symlink(s.home, filepath.Join(s.dir, "linked")))
				s.config.Home = filepath.Join(s.dir, "linked")
				s.config.Forbidden = []string{filepath.Join(s.dir, "run")}
				s.write(filepath.Join(s.outside, "canary"), "canary", 0o600)
				s.write("~/dir/other", "other", 0o600)

				p := strings.Replace(bad.path, "ABS", s.dir, 1)
				if strings.HasPrefix(p, "MEM") {
					if s.config.MemoryDir == "" {
						return
					}
					p = strings.Replace(p, "MEM", s.config.MemoryDir, 1)
				}
				if p == "" {
					p = "~/dir/bad"
				}
				if bad.make != nil {
					bad.make(t, s, s.path(p))
				}
				before, outside := tree(t, s.home), tree(t, s.outside)
				if bad.state == "" {
					bad.state = api.Blocked
				}

				f := s.open()
				for range 2 { // the second one finds things half done, or not
					results := f.Deliver([]File{file("GOOD", "~/dir/good", "good"), file("BAD", p, "bad"), file("LAST", "~/dir/last/last", "last")})
					wantStates(t, results, api.Delivered, bad.state, api.Delivered)
					if detail := results[1].Detail; !strings.Contains(detail, bad.detail) || bad.state == api.Blocked && !strings.Contains(detail, "choose") && !strings.Contains(detail, "chmod") && !strings.Contains(detail, "give") && !strings.Contains(detail, "move") {
						t.Errorf("the detail is %q; want %q, and what to do", detail, bad.detail)
					}
					s.want("~/dir/good", "good")
					s.want("~/dir/last/last", "last")
					wantTree(t, s.outside, outside)
				}
				wantStates(t, f.Remove())
				wantTree(t, s.home, before)
				wantTree(t, s.outside, outside)
			})
		}
	})
}

// Directories in which only we, or root, can change what is ours.
func TestGoodDirectories(t *testing.T) {
	for _, mode := range []os.FileMode{0o700, 0o755, 0o711, 0o300, 0o777 | os.ModeSticky, 0o1770&0o777 | os.ModeSticky} {
		s := newSite(t)
		must(t, os.Mkdir(s.path("~/dir"), 0o700))
		must(t, os.Chmod(s.path("~/dir"), mode))
		wantStates(t, s.open().Deliver([]File{file("A", "~/dir/a", "a")}), api.Delivered)
		s.want("~/dir/a", "a")
		os.Chmod(s.path("~/dir"), 0o700)
	}
	if os.Getegid() == os.Geteuid() {
		s := newSite(t)
		must(t, os.Mkdir(s.path("~/dir"), 0o700))
		must(t, os.Chmod(s.path("~/dir"), 0o770))
		wantStates(t, s.open().Deliver([]File{file("A", "~/dir/a", "a")}), api.Delivered)
	}
}

// Without a home directory files elsewhere are delivered, and those in it are
// neither forgotten nor lost.
func TestNoHome(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, home string){
		"missing": func(t *testing.T, home string) {},
		"a file":  func(t *testing.T, home string) { must(t, os.WriteFile(home, nil, 0o600)) },
		"another's": func(t *testing.T, home string) {
			must(t, os.Mkdir(home, 0o755))
			must(t, os.Chown(home, 12345, -1))
		},
		"open": func(t *testing.T, home string) {
			must(t, os.Mkdir(home, 0o700))
			must(t, os.Chmod(home, 0o777))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			f := s.open()
			absolute := filepath.Join(s.dir, "abs")
			files := []File{file("HOME", "~/dir/a", "a"), file("ABS", absolute, "1"), file("HOME2", filepath.Join(s.home, "b"), "b")}
			wantStates(t, f.Deliver(files), api.Delivered, api.Delivered, api.Delivered)
			must(t, os.Rename(s.home, s.home+".away"))
			spoil(t, s.home)
			files[1].Content = []byte("2")
			results := f.Deliver(files)
			wantStates(t, results, api.Blocked, api.Delivered, api.Blocked)
			if !strings.Contains(results[0].Detail, s.home) {
				t.Errorf("without a home directory: %q; want it named", results[0].Detail)
			}
			s.want(absolute, "2")
			f.Close()
			f = s.open()
			if name == "missing" {
				wantStates(t, f.Remove(), api.Blocked, api.Blocked)
			}
			must(t, os.RemoveAll(s.home))
			must(t, os.Rename(s.home+".away", s.home))
			wantStates(t, f.Remove())
			wantTree(t, s.home, nil)
			s.wantNone(absolute)
		})
	}
}

// What the user has changed is the user's, until it is moved away.
func TestChanged(t *testing.T) {
	modes(t, func(t *testing.T, s *site) {
		f := s.open()
		files := []File{file("A", "~/dir/a", "a1"), file("B", "~/b", "b")}
		f.Deliver(files)
		if err := os.WriteFile(s.path("~/dir/a"), []byte("me"), 0o600); err != nil { // of the same size, and through the link, if it is one
			t.Fatal(err)
		}
		files[0].Content = []byte("a2")
		for range 2 {
			wantStates(t, f.Deliver(files), api.Changed, api.Delivered)
			s.want("~/dir/a", "me")
			f.Close()
			f = s.open()
		}
		// No secret has the file any more: it stays, and is reported until it goes.
		for range 2 {
			results := f.Deliver(files[1:])
			wantStates(t, results, api.Delivered, api.Changed)
			if len(results) == 2 && (results[1].Secret != "A" || results[1].Path != "~/dir/a") {
				t.Errorf("what is left is reported as %+v; want the secret A and ~/dir/a", results[1])
			}
			s.want("~/dir/a", "me")
		}
		must(t, os.Remove(s.path("~/dir/a")))
		wantStates(t, f.Deliver(files), api.Delivered, api.Delivered)
		s.want("~/dir/a", "a2")
		wantStates(t, f.Remove())
		wantTree(t, s.home, nil)
	})
}

// A file that the user has put in place of ours is not removed, nor is a
// directory that the user uses.
func TestReplacedByUser(t *testing.T) {
	modes(t, func(t *testing.T, s *site) {
		f := s.open()
		f.Deliver([]File{file("A", "~/a", "a"), file("B", "~/b", "b"), file("C", "~/c/c/c", "c"), file("D", "~/d", "d")})
		must(t, os.Remove(s.path("~/a")))
		must(t, os.Symlink(filepath.Join(s.outside, "canary"), s.path("~/a")))
		must(t, os.Remove(s.path("~/b")))
		must(t, os.Mkdir(s.path("~/b"), 0o700))
		s.write("~/c/c/users", "user's", 0o600)
		must(t, os.Remove(s.path("~/d")))
		wantStates(t, f.Remove(), api.Changed, api.Changed)
		s.wantNone("~/c/c/c")
		s.wantNone("~/d")
		s.want("~/c/c/users", "user's")
		must(t, os.RemoveAll(s.path("~/c/c/users")))
		must(t, os.Remove(s.path("~/a")))
		must(t, os.Remove(s.path("~/b")))
		wantStates(t, f.Remove())
		if got := tree(t, s.home); len(got) != 2 { // c and c/c, in which the user had a file
			t.Errorf("the home directory holds %q", got)
		}
	})
}

func TestNarrow(t *testing.T) {
	s := newSite(t)
	s.write("~/a", "a", 0o644)
	s.write("~/b", "b", 0o400)
	before := inode(t, s.path("~/b"))
	wantStates(t, s.open().Deliver([]File{file("A", "~/a", "a"), file("B", "~/b", "b")}), api.Delivered, api.Delivered)
	s.want("~/a", "a")
	if inode(t, s.path("~/b")) != before {
		t.Error("a file that only its owner may read was touched")
	}
}
