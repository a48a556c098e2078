package secretfile

import (
	"errors"
	"io"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A target is a file, or a link to one in memory, as it shall be.
type target struct {
	place
	journal *journal
	secret  string
	content []byte
	link    string  // its text; "" for a file
	memory  *target // the file that the link leads to
	shown   string  // the path in messages

	orphan  bool         // a file in memory to which no link leads (yet): nobody's but ours
	before  *entry       // what the journal had; nil is nothing
	there   *unix.Stat_t // what was there when last looked at; nil is nothing
	planned bool         // it is to be written, and the journal says so
	dead    bool         // it is not to be written: its result is known
}

// target is that of a secret's file.
func (f *Files) target(file File, at place) *target {
	t := &target{place: at, journal: f.journal, secret: file.Secret, content: file.Content, shown: at.path}
	if m := f.memories[f.config.MemoryDir]; m != nil {
		t.memory = &target{place: m.place(at.path), journal: m.journal, secret: file.Secret, content: file.Content, shown: at.path}
		t.link = t.memory.path
	}
	return t
}

// pending reports whether a target is to be written yet.
func (t *target) pending() bool {
	return t != nil && !t.dead && (t.planned || t.memory.pending())
}

// undo makes the journal have what it had before.
func (t *target) undo() {
	if t == nil {
		return
	}
	if t.planned {
		t.journal.set(t.path, t.before)
		t.planned = false
	}
	t.memory.undo()
}

// plan looks at what there is and enters into the journal what there will be.
func (f *Files) plan(t *target) error {
	t.before = t.journal.entry(t.path).clone()
	at, missing, err := f.sys.descend(t.from, t.parts, toLook)
	right := false
	switch {
	case err == errMissing:
		for _, d := range missing {
			f.made(d)
		}
	case err != nil:
		return err
	default:
		defer at.close()
		if right, err = f.inspect(at, t); err != nil {
			return err
		}
	}
	if t.memory != nil {
		t.memory.orphan = !right
		if err := f.plan(t.memory); err != nil {
			return err
		}
	}
	final := t.final()
	if right {
		final.Writing = t.before != nil && t.before.Writing
		final.Kept = f.keeps(t)
		f.removeLinked(t, final)
		if t.before == nil || !t.before.same(final) {
			t.journal.set(t.path, final)
		}
		return nil
	}
	intent := final.clone()
	intent.Writing, intent.New = true, t.before == nil
	if t.before != nil {
		intent.Sums = append(intent.Sums, t.before.Sums...)
		intent.Links = append(intent.Links, t.before.Links...)
	}
	t.planned = true
	t.journal.set(t.path, intent)
	return nil
}

// keeps reports whether a file with the right content is the user's: it was
// there before the first delivery. If a damaged journal may have had it, it is
// taken for ours, or a secret would stay for ever.
func (f *Files) keeps(t *target) bool {
	return t.journal == f.journal && (t.before == nil && f.damaged == "" || t.before != nil && t.before.Kept)
}

// made enters a directory of ours into the journal.
func (f *Files) made(d string) {
	if !slices.Contains(f.journal.Dirs, d) {
		f.journal.Dirs = append(f.journal.Dirs, d)
		f.journal.dirty = true
	}
}

// final is the entry of a target when it is written.
func (t *target) final() *entry {
	e := newEntry(t.path, t.secret)
	if t.before != nil {
		e.Salt = t.before.Salt
	}
	if t.link != "" {
		e.Links = []string{t.link}
	} else {
		e.Sums = []sum{e.sumContent(t.content)}
	}
	return e
}

// same reports whether two entries say the same of what there is.
func (e *entry) same(o *entry) bool {
	return e.Secret == o.Secret && e.Kept == o.Kept && e.Writing == o.Writing && e.New == o.New && slices.Equal(e.Links, o.Links) && slices.EqualFunc(e.Sums, o.Sums, sum.equal)
}

// inspect reports whether a target is right as it is; if not, it may be
// written. A fault says that it may not, as what is there is not ours.
func (f *Files) inspect(at dir, t *target) (right bool, err error) {
	var st unix.Stat_t
	t.there = nil
	switch err := unix.Fstatat(at.fd, t.name, &st, unix.AT_SYMLINK_NOFOLLOW); err {
	case nil:
		t.there = &st
	case unix.ENOENT:
		return false, nil
	default:
		return false, failed("looking at "+t.path, err)
	}
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFLNK:
		return f.inspectLink(at, t)
	case kind != unix.S_IFREG:
		return false, blocked("there is %s at %s; move it away, or choose another path", kindName(kind), t.path)
	case int(st.Uid) != os.Geteuid():
		return false, blocked("the file %s belongs to user %d, not to you; move it away, or choose another path", t.path, st.Uid)
	case st.Nlink > 1:
		return false, blocked("the file %s has %d names (hard links), which would come apart; move it away, or choose another path", t.path, st.Nlink)
	}
	e := t.final()
	if st.Size != int64(len(t.content)) && !t.before.hasSize(st.Size) {
		return false, t.foreign()
	}
	file, err := f.openFile(at, t.name, &st)
	if err != nil {
		if errors.Is(err, unix.EACCES) {
			return false, blocked("the file %s can't be read, so Latchkey can't tell whose it is: chmod u+r %s", t.path, quote(t.path))
		}
		return false, failed("opening "+t.path, err)
	}
	defer file.Close()
	s, err := e.sumOf(io.LimitReader(file, st.Size+1))
	if err != nil {
		return false, failed("reading "+t.path, err)
	}
	switch {
	case s.equal(e.sumContent(t.content)):
		if t.link != "" && f.keeps(t) {
			return false, blocked("there is a file %s with that content already, on the disk; move it away to have it in memory", t.path)
		}
		if t.link != "" {
			return false, nil // it becomes a link
		}
		return true, narrow(file, &st, t.path)
	case t.before.has(s):
		return false, nil
	}
	return false, t.foreign()
}

func (f *Files) inspectLink(at dir, t *target) (right bool, err error) {
	text, err := readLink(at, t.name)
	switch {
	case err != nil:
		return false, failed("reading the link "+t.path, err)
	case t.link != "" && text == t.link:
		return true, nil
	case t.before != nil && slices.Contains(t.before.Links, text):
		if f.memoryChanged(t.path, text) {
			return false, t.foreign()
		}
		return false, nil
	}
	return false, blocked("there is a symbolic link at %s, and none is followed; remove it, or give the path that it leads to", t.path)
}

// foreign is the fault of a file with a content that is none of ours.
func (t *target) foreign() error {
	if t.orphan {
		return nil
	}
	if t.before != nil {
		return &fault{api.Changed, "you have changed " + t.shown + ", so it is left alone; move it away (or, if it is a link, copy what you need and remove it) to get the secret's value"}
	}
	return blocked("there is a file %s already that Latchkey did not write; move it away, or choose another path", t.path)
}

// narrow takes from others what they may do with a file.
func narrow(file *os.File, st *unix.Stat_t, name string) error {
	if st.Mode&0o7177 == 0 {
		return nil
	}
	if err := unix.Fchmod(int(file.Fd()), st.Mode&0o600); err != nil {
		return failed("narrowing the mode of "+name, err)
	}
	return nil
}

// openFile opens the regular file that has been looked at. It never waits, as
// for the writer of a FIFO that has taken the file's place.
func (f *Files) openFile(at dir, name string, was *unix.Stat_t) (*os.File, error) {
	f.step("opening a file")
	fd, err := f.sys.open(at, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), path.Join(at.path, name))
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if !sameFile(&st, was) || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errors.Join(errMoved, file.Close())
	}
	return file, nil
}

var errMoved = errors.New("another program is changing it right now; it is tried again")

func sameFile(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

func readLink(at dir, name string) (string, error) {
	text := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(at.fd, name, text)
	if err != nil {
		return "", err
	}
	return string(text[:n]), nil
}

func kindName(kind uint32) string {
	switch kind {
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFIFO:
		return "a FIFO"
	case unix.S_IFSOCK:
		return "a socket"
	}
	return "a device"
}
