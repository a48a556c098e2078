package secretfile

import (
	"cmp"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver/api"
)

// removeOthers removes what is no target, and returns what is left of it.
func (f *Files) removeOthers(targets []*target, files []File) (left []Result) {
	for _, e := range f.entries() {
		if slices.ContainsFunc(targets, func(t *target) bool { return t != nil && t.path == e.Path }) {
			continue
		}
		shown := api.HomePath(e.Path, f.journal.Home)
		var err error
		if f.orphaned(e.Path) {
			if slices.ContainsFunc(files, func(file File) bool {
				return file.Path == e.Path || api.HomePath(file.Path, f.config.Home) == shown
			}) {
				continue // that one's result says why
			}
			err = f.homeless
		} else {
			err = f.remove(e)
		}
		if err == nil {
			f.journal.set(e.Path, nil)
			continue
		}
		problem := faultOf("removing "+e.Path, err)
		left = append(left, Result{Secret: e.Secret, Path: shown, State: problem.state, Detail: problem.detail})
	}
	return left
}

// orphaned reports whether a path lies in a home directory that is not there
// now: nothing can be said of its files.
func (f *Files) orphaned(p string) bool {
	return f.homeless != nil && (f.journal.Home != "" && below(p, f.journal.Home) || below(p, filepath.Clean(f.config.Home)))
}

// remove removes a file of ours, or a link with the file that it leads to.
func (f *Files) remove(e *entry) error {
	if e.Kept {
		return nil // it was there before
	}
	p := f.place(e.Path)
	at, _, err := f.sys.descend(p.from, p.parts, toRemove)
	if err != nil && err != errMissing {
		return err
	}
	if err == nil {
		defer at.close()
		var st unix.Stat_t
		switch err := unix.Fstatat(at.fd, p.name, &st, unix.AT_SYMLINK_NOFOLLOW); err {
		case nil:
			if err := f.removeFile(at, p.name, &st, e); err != nil {
				return err
			}
		case unix.ENOENT:
		default:
			return err
		}
	}
	for _, text := range e.Links {
		if err := f.removeMemory(e.Path, text); err != nil {
			return err
		}
	}
	return nil
}

// removeFile removes what is there if it still is what we have written.
func (f *Files) removeFile(at dir, name string, st *unix.Stat_t, e *entry) error {
	ours, err := f.isOurs(at, name, st, e)
	if err != nil {
		return err
	}
	if ours && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		text, err := readLink(at, name)
		ours = err == nil && !f.memoryChanged(e.Path, text)
	}
	if !ours {
		return &fault{api.Changed, "you have changed " + e.Path + ", so it is left though the secret is not for it any more; remove it if you don't need it"}
	}
	f.step("checked what is to be removed")
	if !isUnchanged(at, name, st) {
		return errMoved
	}
	if err := unix.Unlinkat(at.fd, name, 0); err != nil && err != unix.ENOENT {
		return err
	}
	f.step("removed")
	return f.sys.sync(at)
}

// isOurs reports whether what is there has a content or a text that the journal
// has for it.
func (f *Files) isOurs(at dir, name string, st *unix.Stat_t, e *entry) (bool, error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		text, err := readLink(at, name)
		return slices.Contains(e.Links, text), err
	case unix.S_IFREG:
		if int(st.Uid) != os.Geteuid() || !e.hasSize(st.Size) {
			return false, nil
		}
		file, err := f.openFile(at, name, st)
		if err != nil {
			return false, err
		}
		defer file.Close()
		s, err := e.sumOf(io.LimitReader(file, st.Size+1))
		return e.has(s), err
	}
	return false, nil
}

// sweep removes the directories that we have made and that are empty. One that
// somebody uses is the user's from now on.
func (f *Files) sweep(targets []*target) {
	dirs := slices.Clone(f.journal.Dirs)
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, d := range dirs {
		needed := slices.ContainsFunc(f.journal.Files, func(e *entry) bool { return below(e.Path, d) && e.Path != d }) ||
			slices.ContainsFunc(targets, func(t *target) bool { return t != nil && below(t.path, d) && t.path != d })
		if needed || f.orphaned(d) || !f.removeDir(d) {
			continue
		}
		f.journal.Dirs = slices.DeleteFunc(f.journal.Dirs, func(other string) bool { return other == d })
		f.journal.dirty = true
	}
}

// removeDir reports whether a directory is none of ours (any more).
func (f *Files) removeDir(d string) bool {
	p := f.place(d)
	at, _, err := f.sys.descend(p.from, p.parts, toRemove)
	if err != nil {
		return true // it is not where we made it
	}
	defer at.close()
	switch err := unix.Unlinkat(at.fd, p.name, unix.AT_REMOVEDIR); err {
	case unix.EACCES, unix.EPERM, unix.EROFS, unix.EBUSY, unix.EIO:
		f.config.Log.Warn("removing a directory that was made for a secret's file; it is tried again", "directory", path.Clean(d), "error", err)
		return false
	}
	f.step("directory removed")
	return true
}

// inMemory reports whether a link's text is one that we would give it.
func inMemory(target, text string) bool { return path.Base(text) == memoryName(target) }

// memoryName is that of a target's file in memory. It ends like the target's,
// for programs that look at the ending.
func memoryName(target string) string {
	base := path.Base(target)
	return digest(target) + "-" + strings.TrimLeft(base[max(0, len(base)-200):], "-")
}
