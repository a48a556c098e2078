package secretfile

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver/api"
)

// What others do between two steps neither leads a write elsewhere, nor is lost,
// nor keeps us waiting.
func TestMeanwhile(t *testing.T) {
	const target = "~/dir/a"
	replace := func(s *site, p string) { // as editors do
		s.write(p+".new", "user's", 0o600)
		must(s.t, os.Rename(s.path(p+".new"), s.path(p)))
	}
	link := func(s *site, p string) {
		must(s.t, os.Symlink(filepath.Join(s.outside, "canary"), s.path("~/l")))
		must(s.t, os.Rename(s.path("~/l"), s.path(p)))
	}
	fifo := func(s *site, p string) {
		must(s.t, unix.Mkfifo(s.path("~/f"), 0o600))
		must(s.t, os.Rename(s.path("~/f"), s.path(p)))
	}
	temp := func(s *site) string { return filepath.Join("~/dir", tempName(s.path(target))) }
	for _, c := range []struct {
		name  string
		old   string // what was delivered before; none if ""
		next  string // what is delivered meanwhile; none if ""
		step  string
		act   func(s *site)
		state api.DeliveryState
		want  string // at the target in the end; none if ""
	}{
		{"a file comes", "", "2", "file synced", func(s *site) { replace(s, target) }, api.Failed, "user's"},
		{"a file comes early", "", "2", "journal saved", func(s *site) { replace(s, target) }, api.Blocked, "user's"},
		{"ours is replaced", "1", "2", "file synced", func(s *site) { replace(s, target) }, api.Failed, "user's"},
		{"ours is changed", "1", "2", "journal saved", func(s *site) { s.write(target, "user's", 0o600) }, api.Changed, "user's"},
		{"ours is saved into", "1", "2", "file synced", func(s *site) { s.write(target, "user's", 0o600) }, api.Failed, "user's"},
		{"ours is saved into, the same size", "1", "2", "file synced", func(s *site) { s.write(target, "u", 0o600) }, api.Failed, "u"},
		{"ours was saved into just before", "1", "2", "exchanged", func(s *site) { s.write(temp(s), "u", 0o600) }, api.Failed, "u"},
		{"removing: it is saved into", "1", "", "checked what is to be removed", func(s *site) { s.write(target, "u", 0o600) }, api.Failed, "u"},
		{"ours goes", "1", "2", "file synced", func(s *site) { must(s.t, os.Remove(s.path(target))) }, api.Failed, ""},
		{"the temporary file becomes a link", "1", "2", "file synced", func(s *site) { link(s, temp(s)) }, api.Failed, "1"},
		{"a link takes its name", "1", "2", "parents made", func(s *site) { link(s, temp(s)) }, api.Delivered, "2"},
		{"a FIFO takes its place", "1", "2", "opening a file", func(s *site) { fifo(s, target) }, api.Failed, "FIFO"},
		{"the directory is moved", "1", "2", "parents made", func(s *site) {
			must(s.t, os.Rename(s.path("~/dir"), s.path("~/moved")))
			must(s.t, os.Symlink(s.outside, s.path("~/dir")))
		}, api.Delivered, ""},
		{"removing: it is replaced", "1", "", "checked what is to be removed", func(s *site) { replace(s, target) }, api.Failed, "user's"},
		{"removing: a link takes its place", "1", "", "opening a file", func(s *site) { link(s, target) }, api.Failed, "link"},
		{"removing: a FIFO takes its place", "1", "", "opening a file", func(s *site) { fifo(s, target) }, api.Failed, "FIFO"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t)
			s.write(filepath.Join(s.outside, "canary"), "canary", 0o600)
			outside := tree(t, s.outside)
			must(t, os.Mkdir(s.path("~/dir"), 0o700))
			f := s.open()
			if c.old != "" {
				f.Deliver([]File{file("A", target, c.old)})
			}
			acted := false
			f.step = func(name string) {
				if name == c.step && !acted {
					acted = true
					c.act(s)
				}
			}
			f.journal.step = f.step
			var files []File
			if c.next != "" {
				files = []File{file("A", target, c.next)}
			}
			wantStates(t, f.Deliver(files), c.state)
			if !acted {
				t.Fatalf("there was no step %q", c.step)
			}
			wantTree(t, s.outside, outside)
			info, err := os.Lstat(s.path(target))
			switch {
			case c.want == "":
				if err == nil {
					t.Errorf("there is %v at the target; want nothing", info.Mode())
				}
			case err != nil:
				t.Error(err)
			case info.Mode().IsRegular():
				s.want(target, c.want)
			case info.Mode()&os.ModeNamedPipe != 0 && c.want != "FIFO", info.Mode()&os.ModeSymlink != 0 && c.want != "link":
				t.Errorf("there is %v at the target; want %s", info.Mode(), c.want)
			}
		})
	}
}
