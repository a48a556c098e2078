package secretfile

import (
	"errors"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// apply writes a target that is planned, the file in memory before the link to it.
func (f *Files) apply(t *target) error {
	if t.memory.pending() {
		if err := f.apply(t.memory); err != nil {
			t.undo()
			return err
		}
	}
	if !t.planned {
		return nil
	}
	t.planned = false
	at, made, err := f.sys.descend(t.from, t.parts, toMake)
	for _, d := range made {
		f.made(d) // it was there when this was planned
	}
	if err == errMissing {
		err = failed("making the directory "+path.Dir(t.path), errMoved)
	}
	if err != nil {
		t.journal.set(t.path, t.before)
		return err
	}
	defer at.close()
	f.step("parents made")
	right, err := f.inspect(at, t) // again: it is a while since
	if err == nil && !right {
		var touched bool
		if touched, err = f.write(at, t); touched && err != nil {
			return err // either content may be there, as the journal says
		}
	}
	if err != nil {
		t.journal.set(t.path, t.before)
		return err
	}
	final := t.final()
	f.removeLinked(t, final)
	t.journal.set(t.path, final)
	return nil
}

// removeLinked removes what a link led to that was at a target before. What
// can't be removed stays in the target's entry.
func (f *Files) removeLinked(t *target, final *entry) {
	if t.before == nil {
		return
	}
	for _, text := range t.before.Links {
		if text != t.link && f.removeMemory(t.path, text) != nil {
			final.Links = append(final.Links, text)
		}
	}
}

// write puts a target in place of what is there. Touched is false if
// everything is as it was.
func (f *Files) write(at dir, t *target) (touched bool, err error) {
	temp := tempName(t.path)
	var st unix.Stat_t
	if t.link != "" {
		err = f.makeLink(at, temp, t.link, &st)
	} else {
		err = f.makeFile(at, temp, t.content, &st)
	}
	if err == nil {
		touched, err = f.rename(at, temp, t, &st)
	}
	if err == nil {
		f.step("renamed")
		if err = f.sys.sync(at); err == nil {
			f.step("directory synced")
			return true, nil
		}
	}
	if gone := unix.Unlinkat(at.fd, temp, 0); gone != nil && gone != unix.ENOENT {
		touched = true
	}
	if errors.Is(err, errMoved) {
		return touched, failed(t.path, err)
	}
	return touched, failed("writing "+t.path, err)
}

// rename gives a temporary file its name, over a file of ours or over nothing.
func (f *Files) rename(at dir, temp string, t *target, st *unix.Stat_t) (renamed bool, err error) {
	if !isNamed(at, temp, st) {
		return false, errMoved
	}
	if t.there != nil {
		renamed, err = f.exchange(at, temp, t)
	} else {
		err = unix.Renameat2(at.fd, temp, at.fd, t.name, unix.RENAME_NOREPLACE)
		switch err {
		case unix.EEXIST: // somebody was faster
			err = errMoved
		case unix.EINVAL, unix.ENOSYS: // not every file system can
			err = unix.Renameat(at.fd, temp, at.fd, t.name)
		}
	}
	if err != nil {
		return renamed, err
	}
	if !isNamed(at, t.name, st) {
		return true, errMoved
	}
	return true, nil
}

// isNamed reports whether a name is that of a file.
func isNamed(at dir, name string, st *unix.Stat_t) bool {
	var there unix.Stat_t
	return unix.Fstatat(at.fd, name, &there, unix.AT_SYMLINK_NOFOLLOW) == nil && sameFile(&there, st)
}

// makeFile makes a temporary file, which is durable before it gets its name:
// or a machine that loses power may have the name, and no content.
func (f *Files) makeFile(at dir, temp string, content []byte, st *unix.Stat_t) error {
	fd, err := f.create(at, temp)
	if err != nil {
		return err
	}
	f.step("temporary file made")
	file := os.NewFile(uintptr(fd), path.Join(at.path, temp))
	defer file.Close()
	for piece := range slices.Chunk(content, 256<<10) {
		if _, err := file.Write(piece); err != nil {
			return err
		}
		f.step("piece written")
	}
	if err := file.Sync(); err != nil {
		return err
	}
	f.step("file synced")
	return unix.Fstat(fd, st)
}

// create makes an empty file that nobody else has open. One that is there was
// left by a killed process.
func (f *Files) create(at dir, temp string) (fd int, err error) {
	for range 2 {
		if err := unix.Unlinkat(at.fd, temp, 0); err != nil && err != unix.ENOENT {
			return -1, err
		}
		fd, err = f.sys.open(at, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
		if err != unix.EEXIST {
			return fd, err
		}
	}
	return -1, errMoved
}

func (f *Files) makeLink(at dir, temp, text string, st *unix.Stat_t) error {
	if err := unix.Unlinkat(at.fd, temp, 0); err != nil && err != unix.ENOENT {
		return err
	}
	if err := unix.Symlinkat(text, at.fd, temp); err != nil {
		return err
	}
	f.step("temporary link made")
	return unix.Fstatat(at.fd, temp, st, unix.AT_SYMLINK_NOFOLLOW)
}

// clearTemps removes what a killed process has left half written.
func (f *Files) clearTemps() {
	for _, e := range f.entries() {
		if f.orphaned(e.Path) {
			continue
		}
		if p := f.place(e.Path); e.Writing && f.clearTemp(p) {
			f.settle(f.journal, e, p)
		}
	}
	for _, m := range f.memories {
		for _, e := range slices.Clone(m.journal.Files) {
			p := place{from: m.dir, name: path.Base(e.Path), path: e.Path}
			if e.Writing && f.clearTemp(p) {
				f.settle(m.journal, e, p)
			}
		}
	}
}

// settle enters into a journal what came of an intent. A file that is not ours,
// where none of ours was before, was not written by us, nor changed by anybody.
func (f *Files) settle(j *journal, e *entry, p place) {
	if e.New {
		at, _, err := f.sys.descend(p.from, p.parts, toRemove)
		if err == nil {
			defer at.close()
			var st unix.Stat_t
			if err = unix.Fstatat(at.fd, p.name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil {
				var ours bool
				if ours, err = f.isOurs(at, p.name, &st, e); err == nil && !ours {
					err = unix.ENOENT
				}
			}
		}
		if err == unix.ENOENT || err == errMissing {
			j.set(e.Path, nil)
			return
		}
	}
	e = e.clone()
	e.Writing, e.New = false, false
	j.set(e.Path, e)
}

// clearTemp reports whether there is no temporary file of a place (any more).
func (f *Files) clearTemp(p place) bool {
	at, _, err := f.sys.descend(p.from, p.parts, toRemove)
	if err != nil {
		return err == errMissing
	}
	defer at.close()
	err = unix.Unlinkat(at.fd, tempName(p.path), 0)
	if err != nil && err != unix.ENOENT {
		f.config.Log.Warn("removing a temporary file that was left; it is tried again", "beside", p.path, "error", err)
		return false
	}
	return true
}
