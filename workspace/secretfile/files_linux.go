package secretfile

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver/api"
)

// Files are the files of one user's secrets in one workspace.
type Files struct {
	config  Config
	sys     system
	lock    *os.File // held as long as this lives
	damaged string
	step    func(name string) // told of each step, for tests that die there

	mu       sync.Mutex // guards the rest
	closed   bool
	journal  *journal
	memories map[string]*memory // by directory; that of the configuration, and those of former ones
	slash    dir

	// Of the delivery under way:
	home     dir
	homeless error // why there is no home directory
}

// Open reads the journal, and removes what a killed process has left half
// written. It fails if another process has the state directory open, or if the
// memory directory is not in memory.
func Open(config Config) (*Files, error) { return open(config, func(string) {}) }

func open(config Config, step func(string)) (*Files, error) {
	f := &Files{config: config, sys: newSystem(), step: step, memories: map[string]*memory{}}
	if f.config.Log == nil {
		f.config.Log = slog.New(slog.DiscardHandler)
	}
	if err := f.open(); err != nil {
		f.release()
		return nil, err
	}
	return f, nil
}

func (f *Files) open() (err error) {
	if f.slash, err = root("/"); err != nil {
		return fmt.Errorf("opening /: %w", err)
	}
	if f.config.StateDir, err = stateDir(f.config.StateDir); err != nil {
		return err
	}
	if f.lock, err = lock(filepath.Join(f.config.StateDir, "files.lock")); err != nil {
		return err
	}
	if f.journal, f.damaged, err = openJournal(f.config.StateDir); err != nil {
		return err
	}
	f.journal.step = f.step
	if f.damaged != "" {
		f.config.Log.Warn("the journal of secrets' files is damaged; files that it named are left alone", "journal", f.damaged)
	}
	if f.config.MemoryDir != "" {
		m, err := f.makeMemory(f.config.MemoryDir)
		if err != nil {
			return err
		}
		f.config.MemoryDir = m.dir.path
	}
	f.openHome()
	defer f.closeHome()
	f.clearTemps()
	return nil
}

// Damaged says where a damaged journal was set aside, and what is wrong with
// it; it is "" if it was whole. Files that only that one named are left alone
// until they are wanted again.
func (f *Files) Damaged() string { return f.damaged }

// stateDir makes the directory of the journal, and returns its path without links.
func stateDir(name string) (string, error) {
	if !filepath.IsAbs(name) {
		return "", fmt.Errorf("the state directory %q: not an absolute path", name)
	}
	if err := os.MkdirAll(name, 0o700); err != nil {
		return "", fmt.Errorf("making the state directory: %w", err)
	}
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return "", fmt.Errorf("the state directory: %w", err)
	}
	d, err := root(real)
	if err != nil {
		return "", fmt.Errorf("the state directory %s: %w", real, err)
	}
	defer d.close()
	return real, check(d, toLook)
}

// lock takes what one process alone may have. The file stays: removing it
// would give two processes two locks.
func lock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the lock of the state directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another workspace daemon writes the files of secrets (%s is locked); stop it first", name)
		}
		return nil, fmt.Errorf("locking %s: %w", name, err)
	}
	return f, nil
}

// Close lets another process open the state directory. It removes nothing, and
// may be called twice.
func (f *Files) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.release()
	return nil
}

func (f *Files) release() {
	if f.closed {
		return
	}
	f.closed = true
	for name, m := range f.memories {
		m.dir.close()
		os.Remove(name) // fails if anything is left in it
	}
	f.memories = nil
	if f.slash.path != "" {
		f.slash.close()
	}
	if f.lock != nil {
		f.lock.Close()
	}
}

// Remove removes all files, except those that the user has changed.
func (f *Files) Remove() []Result { return f.Deliver(nil) }

// Deliver makes the files be these and no others. The results are in the order
// of files, followed by those of files that should be gone and are not. What
// could not be done is tried again by the next call; what is done already
// costs that one only a look.
func (f *Files) Deliver(files []File) []Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return results(files, api.Failed, "the workspace daemon is stopping")
	}
	f.openHome()
	defer f.closeHome()
	f.clearTemps()

	targets, all := f.resolve(files)
	left := f.removeOthers(targets, files)
	f.removeUnlinked(targets)
	f.sweep(targets)
	for i, t := range targets {
		if t != nil {
			f.conclude(&all[i], t, f.plan(t))
		}
	}
	if err := f.save(); err != nil { // nothing is touched that the journal does not know
		for i, t := range targets {
			if t.pending() {
				t.undo()
				f.conclude(&all[i], t, failed("writing the journal in "+f.config.StateDir, err))
			}
		}
	}
	for i, t := range targets {
		if t.pending() && all[i].State == api.Delivered {
			f.conclude(&all[i], t, f.apply(t))
		}
	}
	if err := f.save(); err != nil { // it says of files that they may be there: true, if less exact
		f.config.Log.Warn("writing the journal of secrets' files; it is tried again", "error", err)
	}
	return append(all, left...)
}

// conclude enters into a result what became of its target.
func (f *Files) conclude(r *Result, t *target, err error) {
	if err == nil {
		r.State, r.Detail = api.Delivered, ""
		return
	}
	t.dead = true
	if t.memory != nil {
		t.memory.dead = true
	}
	problem := faultOf(t.path, err)
	r.State, r.Detail = problem.state, problem.detail
}

// save makes durable what there may be, where it has changed.
func (f *Files) save() error {
	var errs []error
	for name, m := range f.memories {
		if m.journal.dirty {
			errs = append(errs, m.save())
		}
		if len(m.journal.Files) == 0 && name != f.config.MemoryDir {
			m.dir.close()
			delete(f.memories, name)
			os.Remove(name) // fails if anything is left in it
		}
	}
	if f.journal.dirty {
		errs = append(errs, f.journal.save())
	}
	return errors.Join(errs...)
}

// openHome opens the home directory for one delivery, so that one that is not
// there yet may be there for the next.
func (f *Files) openHome() {
	f.home, f.homeless = dir{}, nil
	home := f.config.Home
	if !filepath.IsAbs(home) {
		f.homeless = blocked("your home directory %q is not an absolute path; set HOME", home)
		return
	}
	real, err := filepath.EvalSymlinks(home)
	var d dir
	if err == nil {
		d, err = root(real)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		f.homeless = blocked("your home directory %s is not there; make it, or set HOME", home)
	case errors.Is(err, unix.ENOTDIR):
		f.homeless = blocked("your home directory %s is not a directory; set HOME", home)
	case err != nil:
		f.homeless = failed("opening your home directory "+home, err)
	default:
		var st unix.Stat_t
		if err := unix.Fstat(d.fd, &st); err != nil {
			f.homeless = failed("looking at your home directory "+home, err)
		} else if int(st.Uid) != os.Geteuid() {
			f.homeless = blocked("your home directory %s belongs to user %d, not to you; set HOME", home, st.Uid)
		}
	}
	if f.homeless != nil {
		if d.path != "" {
			d.close()
		}
		return
	}
	f.home = d
	if f.journal.Home != real {
		f.journal.Home = real
		f.journal.dirty = f.journal.dirty || len(f.journal.Files) > 0
	}
}

func (f *Files) closeHome() {
	if f.homeless == nil {
		f.home.close()
	}
}

// entries are the journal's, and may be removed from it meanwhile.
func (f *Files) entries() []*entry {
	return slices.SortedFunc(slices.Values(f.journal.Files), func(a, b *entry) int { return strings.Compare(a.Path, b.Path) })
}
