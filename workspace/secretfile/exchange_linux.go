package secretfile

import (
	"slices"

	"golang.org/x/sys/unix"
)

// exchange gives a temporary file the name of a file of ours, and removes that
// one. It looks at what it has taken away: the user may have saved their changes
// into it since it was looked at last, while the new content was on its way to
// the disk.
func (f *Files) exchange(at dir, temp string, t *target) (renamed bool, err error) {
	if !isUnchanged(at, t.name, t.there) {
		return false, errMoved
	}
	err = unix.Renameat2(at.fd, temp, at.fd, t.name, unix.RENAME_EXCHANGE)
	if err == unix.EINVAL || err == unix.ENOSYS { // not every file system can
		return false, unix.Renameat(at.fd, temp, at.fd, t.name)
	}
	if err != nil {
		return false, err
	}
	f.step("exchanged")
	if f.wasOurs(at, temp, t) {
		return true, unix.Unlinkat(at.fd, temp, 0)
	}
	if err := unix.Renameat2(at.fd, temp, at.fd, t.name, unix.RENAME_EXCHANGE); err != nil {
		return true, err
	}
	return false, errMoved
}

// wasOurs reports whether what was at a target may go: it is what the journal
// has for it, or has the content that it shall have.
func (f *Files) wasOurs(at dir, name string, t *target) bool {
	var st unix.Stat_t
	if unix.Fstatat(at.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || !sameFile(&st, t.there) {
		return false
	}
	if t.orphan {
		return true
	}
	e := t.journal.entry(t.path).clone()
	if e == nil {
		return false
	}
	e.Sums = append(slices.Clip(e.Sums), e.sumContent(t.content))
	ours, err := f.isOurs(at, name, &st, e)
	return err == nil && ours
}

// isUnchanged reports whether a name is that of a file which nobody has written
// to since it was looked at.
func isUnchanged(at dir, name string, was *unix.Stat_t) bool {
	var st unix.Stat_t
	err := unix.Fstatat(at.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && sameFile(&st, was) && st.Size == was.Size && st.Ctim == was.Ctim
}
