package secretfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A damaged journal is set aside and said; nothing is removed for what it says.
func TestDamagedJournal(t *testing.T) {
	s := newSite(t)
	files := []File{file("A", "~/a", "a"), file("B", "~/b", "b")}
	f := s.open()
	f.Deliver(files)
	f.Close()
	name := filepath.Join(s.config.StateDir, journalName)
	whole, err := os.ReadFile(name)
	must(t, err)
	var log bytes.Buffer
	s.config.Log = slog.New(slog.NewTextHandler(&log, nil))
	for i, damaged := range []string{"", "{", string(whole[:len(whole)/2]), strings.Replace(string(whole), `"version":1`, `"version":2`, 1), strings.Replace(string(whole), "/b", "/c", 1)} {
		must(t, os.WriteFile(name, []byte(damaged), 0o600))
		log.Reset()
		f := s.open()
		aside := name + ".damaged-" + string(rune('1'+i))
		if !strings.HasPrefix(f.Damaged(), aside+": ") || !strings.Contains(log.String(), aside) {
			t.Errorf("with the journal %.20q…: Damaged is %q, the log %q; want %s in both", damaged, f.Damaged(), log.String(), aside)
		}
		if data, err := os.ReadFile(aside); err != nil || string(data) != damaged {
			t.Errorf("the damaged journal was not kept: %q, %v", data, err)
		}
		wantStates(t, f.Remove())
		s.want("~/a", "a")
		s.want("~/b", "b")
		// What has the right content is taken on; what has another is not touched.
		files[1].Content = []byte{'b', byte('0' + i)}
		wantStates(t, f.Deliver(files), api.Delivered, api.Blocked)
		s.want("~/b", "b")
		f.Close()
	}
	s.open().Remove()
	s.wantNone("~/a")
}

// Whichever bit of a journal turns, it is damaged or says what it said.
func TestJournalBits(t *testing.T) {
	j := &journal{Home: "/home/alice", Dirs: []string{"/home/alice/dir"}}
	e := newEntry("/home/alice/dir/a", "A")
	e.Sums = []sum{e.sumContent([]byte("a"))}
	j.set(e.Path, e)
	data, err := j.encode()
	must(t, err)
	want, err := decodeJournal(data)
	must(t, err)
	for i := range data {
		for bit := range 8 {
			turned := slices.Clone(data)
			turned[i] ^= 1 << bit
			got, err := decodeJournal(turned)
			if err != nil {
				continue
			}
			a, _ := want.encode()
			if b, _ := got.encode(); !bytes.Equal(a, b) {
				t.Errorf("with bit %d of byte %d turned the journal says %s", bit, i, b)
			}
		}
	}
}

// No content, nor a hash that needs no salt, is in the state directory.
func TestJournalHoldsNoContent(t *testing.T) {
	modes(t, func(t *testing.T, s *site) {
		const secret = "correct horse battery staple"
		f := s.open()
		f.Deliver([]File{file("A", "~/a", secret)})
		f.Deliver([]File{file("A", "~/a", secret+"2")})
		digest := sha256.Sum256([]byte(secret + "2"))
		encoded, _ := json.Marshal(digest[:])
		for _, line := range tree(t, s.config.StateDir) {
			if strings.Contains(line, secret) || strings.Contains(line, strings.Trim(string(encoded), `"`)) {
				t.Errorf("the state directory holds %s", line)
			}
			if !strings.Contains(line, "-rw-------") {
				t.Errorf("in the state directory others may read %s", line)
			}
		}
	})
}

// FuzzJournal: whatever a journal says, nothing is removed that it does not
// know the content of, and nothing crashes.
func FuzzJournal(f *testing.F) {
	e := newEntry("DIR/home/a", "A")
	e.Sums = []sum{e.sumContent([]byte("a"))}
	e.Writing, e.New = true, true
	l := newEntry("DIR/home/link", "L")
	l.Links = []string{"DIR/outside/canary"}
	for _, j := range []journal{
		{},
		{Home: "DIR/home", Files: []*entry{e}, Dirs: []string{"DIR/home", "DIR/outside", "DIR"}},
		{Files: []*entry{l, {Path: "DIR/outside/canary", Writing: true, New: true}, {Path: "DIR/outside/user/../canary"}}},
		{Files: []*entry{{Path: "DIR/home/user"}, {Path: "DIR/home/user/"}, {Path: "DIR/home"}, nil}},
		{Files: []*entry{{Path: "/"}, {Path: ""}, {Path: "~/user"}, {Path: "\x00"}}},
	} {
		data, err := json.Marshal(j)
		must(f, err)
		f.Add(data, true)
		f.Add(data, false)
	}
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		s := newFastSite(t)
		s.write("~/user", "user's", 0o600)
		s.write("~/dir/user", "user's", 0o600)
		s.write(filepath.Join(s.outside, "canary"), "canary", 0o600)
		must(t, os.Symlink(filepath.Join(s.outside, "canary"), s.path("~/userlink")))
		home, outside := tree(t, s.home), tree(t, s.outside)

		data = bytes.ReplaceAll(data, []byte("DIR"), []byte(s.dir))
		if sealed {
			if !json.Valid(data) {
				return
			}
			var compact bytes.Buffer
			must(t, json.Compact(&compact, data))
			sum := sha256.Sum256(compact.Bytes())
			var err error
			data, err = json.Marshal(sealedJournal{journalVersion, sum[:], compact.Bytes()})
			must(t, err)
		}
		if j, err := decodeJournal(data); err == nil {
			var all []string
			for _, e := range j.Files {
				all = append(append(all, e.Path), e.Links...)
			}
			for _, p := range append(all, j.Dirs...) {
				if !below(p, s.dir) {
					return // it would be obeyed, on this machine
				}
			}
		}
		must(t, os.Mkdir(s.config.StateDir, 0o700))
		must(t, os.WriteFile(filepath.Join(s.config.StateDir, journalName), data, 0o600))
		files := s.open()
		defer files.Close()
		files.Deliver([]File{file("A", "~/new/a", "a")})
		s.want("~/new/a", "a")
		files.Remove()
		wantTree(t, s.home, home)
		wantTree(t, s.outside, outside)
	})
}

// FuzzPath: a path leads to one file below the home directory, or to none.
func FuzzPath(f *testing.F) {
	for _, p := range []string{"~/a", "~/.ssh/id", "~/.bashrc", "HOME/a", "HOME/.bashrc", "HOME/../outside/a", "HOME", "HOME/", "~/link/a", "~/a/b/c", "~/dir/a",
		"~/user", "~", "", "/", "~/./a", "~//a", "LINK/a", "LINK/.profile", "STATE/files.json", "~/\x00", "~/ü\u202e", "HOMEx/a", "~/.latchkey-.tmp"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		s := newFastSite(t)
		link := filepath.Join(s.dir, "link")
		must(t, os.Symlink(s.home, link))
		must(t, os.Symlink(s.outside, s.path("~/link")))
		must(t, os.Mkdir(s.path("~/dir"), 0o700))
		s.write("~/user", "user's", 0o600)
		s.config.Home = link
		home, outside := tree(t, s.home), tree(t, s.outside)
		p = strings.NewReplacer("HOME", s.home, "LINK", link, "STATE", s.config.StateDir).Replace(p)
		files := s.open()
		defer files.Close()
		state := tree(t, s.config.StateDir)

		files.openHome()
		abs, err := files.absolute(p)
		files.closeHome()
		if err == nil {
			if api.CheckFilePath(p) != nil || !plainPath(abs) || abs == s.home || below(abs, s.config.StateDir) {
				t.Fatalf("%q leads to %q", p, abs)
			}
			if err := api.CheckFilePath(api.HomePath(abs, s.home)); below(abs, s.home) && err != nil {
				t.Fatalf("%q leads to %q: %v", p, abs, err)
			}
			if !below(abs, s.home) {
				return // it would be written, on this machine
			}
		}
		result := files.Deliver([]File{{Secret: "A", Path: p, Content: []byte("content")}})[0]
		if (result.State == api.Delivered) != (result.Detail == "") {
			t.Errorf("%+v", result)
		}
		if result.State == api.Delivered {
			s.want(abs, "content")
		} else {
			wantTree(t, s.config.StateDir, state)
			wantTree(t, s.home, home)
		}
		wantTree(t, s.outside, outside)
		wantStates(t, files.Remove())
		wantTree(t, s.home, home)
	})
}
