package secretfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// A memory is a directory on a file system that is kept in memory, with a
// journal of its own: a hash tells much about a weak secret, so that of one
// that shall never reach a disk is not on a disk either.
type memory struct {
	dir     dir
	journal *journal
}

// makeMemory makes the directory of the configuration, if it is not there.
func (f *Files) makeMemory(name string) (*memory, error) {
	if !filepath.IsAbs(name) {
		return nil, fmt.Errorf("the memory directory %q: not an absolute path", name)
	}
	if err := os.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making the memory directory: %w", err)
	}
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, fmt.Errorf("the memory directory: %w", err)
	}
	m, err := f.openMemory(real)
	if err != nil {
		return nil, fmt.Errorf("the memory directory %s: %w", real, err)
	}
	return m, nil
}

// openMemory opens a memory directory that is there, once.
func (f *Files) openMemory(name string) (*memory, error) {
	if m := f.memories[name]; m != nil {
		return m, nil
	}
	d, err := root(name)
	if err != nil {
		return nil, err
	}
	m := &memory{dir: d}
	if err = m.check(); err == nil {
		var damaged string
		m.journal, damaged, err = openJournal(name)
		if damaged != "" {
			f.config.Log.Warn("the journal of secrets' files in memory is damaged", "journal", damaged)
		}
	}
	if err != nil {
		d.close()
		return nil, err
	}
	m.journal.step = f.step
	f.memories[name] = m
	return m, nil
}

// check refuses a directory that is not in memory, or not ours alone.
func (m *memory) check() error {
	var system unix.Statfs_t
	if err := unix.Fstatfs(m.dir.fd, &system); err != nil {
		return err
	}
	if system.Type != unix.TMPFS_MAGIC && system.Type != unix.RAMFS_MAGIC {
		return errors.New("it is not in memory, but on a disk; choose a directory on a tmpfs, such as below /run/user or /dev/shm")
	}
	var st unix.Stat_t
	if err := unix.Fstat(m.dir.fd, &st); err != nil {
		return err
	}
	switch {
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to user %d, not to you; choose another one", st.Uid)
	case st.Mode&0o077 != 0:
		return fmt.Errorf("it has mode %04o: other users may enter it; chmod 700 %s", st.Mode&0o777, quote(m.dir.path))
	}
	return nil
}

// place is that of a target's content.
func (m *memory) place(target string) place {
	name := memoryName(target)
	return place{from: m.dir, name: name, path: path.Join(m.dir.path, name)}
}

// save keeps the journal, or removes it when it says nothing.
func (m *memory) save() error {
	if len(m.journal.Files) > 0 {
		return m.journal.save()
	}
	m.journal.dirty = false
	if err := os.Remove(filepath.Join(m.dir.path, journalName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// memoryOf is the memory that a target's link of ours leads to; nil if it is not
// there, or no memory of ours.
func (f *Files) memoryOf(target, text string) *memory {
	if !inMemory(target, text) {
		return nil
	}
	m, err := f.openMemory(path.Dir(text))
	if err != nil {
		return nil
	}
	return m
}

// memoryChanged reports whether the user has changed a file in memory. One that
// is not in the journal has our name, in our directory.
func (f *Files) memoryChanged(target, text string) bool {
	m := f.memoryOf(target, text)
	if m == nil {
		return false
	}
	e := m.journal.entry(text)
	var st unix.Stat_t
	if e == nil || unix.Fstatat(m.dir.fd, path.Base(text), &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return false
	}
	file, err := f.openFile(m.dir, path.Base(text), &st)
	if err != nil {
		return true
	}
	defer file.Close()
	s, err := e.sumOf(io.LimitReader(file, st.Size+1))
	return err != nil || !e.has(s)
}

// removeMemory removes the file in memory that a target's link led to. With no
// link to it, it is nobody's but ours.
func (f *Files) removeMemory(target, text string) error {
	m := f.memoryOf(target, text)
	if m == nil {
		return nil
	}
	if err := unix.Unlinkat(m.dir.fd, path.Base(text), 0); err != nil && err != unix.ENOENT {
		return err
	}
	f.step("memory removed")
	m.journal.set(text, nil)
	return nil
}

// removeUnlinked removes the files in memory to which no link of ours leads,
// nor will lead: a process was killed before it made the link, or could not.
func (f *Files) removeUnlinked(targets []*target) {
	for _, m := range f.memories {
		for _, e := range slices.Clone(m.journal.Files) {
			linked := slices.ContainsFunc(f.journal.Files, func(l *entry) bool { return slices.Contains(l.Links, e.Path) }) ||
				slices.ContainsFunc(targets, func(t *target) bool { return t != nil && t.link == e.Path })
			if linked || path.Dir(e.Path) != m.dir.path {
				continue
			}
			err := unix.Unlinkat(m.dir.fd, path.Base(e.Path), 0)
			if err != nil && err != unix.ENOENT {
				f.config.Log.Warn("removing a secret's file in memory; it is tried again", "file", e.Path, "error", err)
				continue
			}
			m.journal.set(e.Path, nil)
		}
	}
}
