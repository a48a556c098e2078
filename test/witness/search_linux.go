package witness

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Search looks into every file of this machine, or of the given directories if
// there are any, that has changed since a moment, and returns how many it has
// looked into.
func Search(m *Matcher, since time.Time, dirs ...string) (seen []Finding, files int, err error) {
	s := &search{matcher: m, since: since, done: make(map[[2]uint64]bool)}
	s.seen.witness = "search"
	all, err := mounts()
	if err != nil {
		return nil, 0, err
	}
	if len(dirs) == 0 {
		for _, m := range all {
			dirs = append(dirs, m.point)
		}
	}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err != nil {
			continue // this machine has none
		}
		if err := s.walk(dir); err != nil {
			return nil, 0, err
		}
	}
	return s.seen.all(), s.files, nil
}

type search struct {
	matcher *Matcher
	since   time.Time
	done    map[[2]uint64]bool // by device and inode
	files   int
	seen    findings
}

// walk looks through a directory, and not through the other file systems that
// are mounted below it: those have a mount of their own, or are not real.
func (s *search) walk(root string) error {
	info, err := os.Stat(root)
	if err != nil {
		return err
	}
	device := info.Sys().(*syscall.Stat_t).Dev
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err != nil {
			return err
		}
		if !d.IsDir() && !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil // gone meanwhile
		}
		stat := info.Sys().(*syscall.Stat_t)
		switch {
		case stat.Dev != device && d.IsDir():
			return fs.SkipDir
		case stat.Dev == device && !d.IsDir():
			s.look(path, stat)
		}
		return nil
	})
}

// look looks into a file that has changed.
func (s *search) look(path string, stat *syscall.Stat_t) {
	id := [2]uint64{uint64(stat.Dev), stat.Ino}
	// Unlike the time of its last change, ctime cannot be set. The kernel's
	// clock for it ticks every few milliseconds.
	if s.done[id] || time.Unix(stat.Ctim.Unix()).Before(s.since.Add(-time.Second)) || stat.Size > largeFile {
		return
	}
	s.done[id] = true
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var found []string
	if err == nil {
		found, err = s.matcher.findIn(f)
		f.Close()
	}
	if err != nil {
		s.seen.add(path, "cannot be read: "+err.Error())
	}
	s.files++
	s.seen.add(path, found...)
}

// findIn names the forms of secrets in a file.
func (m *Matcher) findIn(r io.Reader) (found []string, err error) {
	s := m.Stream()
	buf := make([]byte, 256<<10)
	for {
		n, err := r.Read(buf)
		for _, name := range s.Write(buf[:n]) {
			if !slices.Contains(found, name) {
				found = append(found, name)
			}
		}
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return found, err
		}
	}
}
