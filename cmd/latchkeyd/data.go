package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// A dataDir is the directory in which a server keeps what it stores: an
// absolute path.
type dataDir string

func (d dataDir) database() string  { return filepath.Join(string(d), "latchkey.db") }
func (d dataDir) masterKey() string { return filepath.Join(string(d), "master.key") }

// lockFile is what a serving process holds locked. It is not the directory
// itself, which the store locks for the moment in which it opens.
func (d dataDir) lockFile() string { return filepath.Join(string(d), "serving.json") }

const dataVariable = "LATCHKEYD_DATA"

// dataFlag reads the variable itself, not by the cli package, so that IsSet
// tells the flag from the variable.
func dataFlag() cli.Flag {
	return &cli.PathFlag{Name: "data", Usage: "keep everything in `DIR`; else in $" + dataVariable + ", else in $XDG_DATA_HOME/latchkeyd or ~/.local/share/latchkeyd"}
}

// dataDirOf finds the data directory's path: the flag's, the variable's, the default.
func dataDirOf(c *cli.Context) (dataDir, error) {
	dir := c.Path("data")
	if dir == "" {
		dir = os.Getenv(dataVariable)
	}
	if dir == "" {
		// A relative path in the variable is invalid and must be ignored
		// (XDG Base Directory Specification).
		if base := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(base) {
			dir = filepath.Join(base, "latchkeyd")
		} else if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
			dir = filepath.Join(home, ".local", "share", "latchkeyd")
		} else {
			return "", withHint(errors.New("there is no home directory for the data directory"), "name one with --data DIR")
		}
	}
	dir, err := filepath.Abs(dir)
	return dataDir(dir), err
}

// create makes the directory if there is none.
func (d dataDir) create() error {
	if err := makeDir(string(d)); err != nil {
		return withHint(fmt.Errorf("making the data directory: %w", err), "%s", unlessFull(err, "make "+string(d)+" yourself, for this user alone, or name another with --data"))
	}
	return d.check()
}

// makeDir makes a directory and its parents, for our user alone, and sees to it
// that they survive a power loss as what is in them does.
func makeDir(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(filepath.Dir(path)); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // check tells whether it will do
	}
	if err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// check refuses a directory that is not this user's alone to write to: who can
// write to it can replace what is in it.
func (d dataDir) check() error {
	info, err := os.Stat(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("there is no data directory %s", d), "\"latchkeyd serve\" makes it; if it is elsewhere, name it with --data DIR or %s", dataVariable)
	}
	if err != nil {
		return withHint(fmt.Errorf("looking at the data directory: %w", err), "run latchkeyd as the user to whom %s belongs, or name another directory with --data", d)
	}
	if !info.IsDir() {
		return withHint(fmt.Errorf("%s is not a directory", d), "name another with --data")
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; owner != uint32(os.Geteuid()) {
		return withHint(fmt.Errorf("the data directory %s belongs to %s", d, userName(owner)),
			"run latchkeyd as that user, for example with sudo -u %s, or name another directory with --data", userName(owner))
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return withHint(fmt.Errorf("others can write to the data directory %s (mode %04o)", d, mode), "if nobody has: chmod 0700 %s", d)
	}
	return nil
}

func userName(uid uint32) string {
	if u, err := user.LookupId(strconv.Itoa(int(uid))); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(int(uid))
}

// hasStore reports whether a server has stored something here before.
func (d dataDir) hasStore() (bool, error) {
	_, err := os.Stat(d.database())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// A serving is what a serving process tells other processes on this machine.
type serving struct {
	PID int    `json:"pid"`
	URL string `json:"url"`
	CA  string `json:"ca_file,omitempty"` // what clients must be told to trust
}

// lock makes this process the only one that serves from the directory, until
// the file is closed or the process ends.
func (d dataDir) lock() (*os.File, error) {
	f, err := os.OpenFile(d.lockFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, withHint(fmt.Errorf("locking the data directory: %w", err), "%s", unlessFull(err, "latchkeyd must be able to write to "+string(d)+"; --data names another directory"))
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	f.Close()
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("locking %s: %w", d.lockFile(), err)
	}
	who := "another latchkeyd"
	if s, err := d.serving(); err == nil && s.PID > 0 {
		who = fmt.Sprintf("another latchkeyd (process %d)", s.PID)
	}
	return nil, withHint(fmt.Errorf("%s serves from %s", who, d), "stop it first, or give this one a directory of its own with --data")
}

// announce writes s into the locked file.
func (s serving) announce(f *os.File) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(append(text, '\n'), 0)
	return err
}

// serving is what the process that serves, or the last one that did, has announced.
func (d dataDir) serving() (s serving, err error) {
	f, err := os.Open(d.lockFile())
	if err != nil {
		return s, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 16<<10))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}
