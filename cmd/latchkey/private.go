package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Files that hold a token: our own login, and the ones that the user asked for.

// readPrivate reads a small file that only its owner may read.
func readPrivate(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, withHint(fmt.Errorf("%s can be read by others (mode %04o)", path, info.Mode().Perm()), "if nobody has: chmod 600 "+quoted(path))
	}
	return readBounded(f, path, limit)
}

// readInput reads a file that an argument names; - is stdin.
func (p *program) readInput(file string, limit int64) ([]byte, error) {
	if file == "-" {
		return readBounded(p.stdin, "stdin", limit)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, file, limit)
}

// readSecretInput is readInput of what must not be shown as it is typed.
func (p *program) readSecretInput(file, what, command string, limit int64) ([]byte, error) {
	if file == "-" && isTerminal(p.stdin) {
		return nil, withHint(fmt.Errorf("stdin is a terminal, where %s would be shown", what), "name the file, or redirect stdin: "+command+" - < FILE")
	}
	return p.readInput(file, limit)
}

// readBounded reads all of a file that must not be longer than limit bytes.
func readBounded(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is over %d KiB", name, limit>>10)
	}
	return b, nil
}

// A privateFile is a file in the making, readable by its owner only. It takes
// its place when it is complete and on the disk, or never.
type privateFile struct {
	path string
	temp *os.File
}

// createPrivate begins a file, so that what comes to be on its account comes
// only if it can be kept.
func createPrivate(path string) (*privateFile, error) {
	temp, err := os.CreateTemp(filepath.Dir(path), ".latchkey-*") // 0600
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err // the random name says nothing
		}
		return nil, fmt.Errorf("creating %s: %w", path, err)
	}
	return &privateFile{path, temp}, nil
}

// commit puts the file in its place with this content.
func (f *privateFile) commit(content []byte) error {
	_, err := f.temp.Write(content)
	if err == nil {
		err = f.temp.Sync()
	}
	if cerr := f.temp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.temp.Name(), f.path)
	}
	if err != nil {
		os.Remove(f.temp.Name())
		return fmt.Errorf("writing %s: %w", f.path, err)
	}
	// The file is there; that it also survives a power cut is not worth an error.
	if dir, err := os.Open(filepath.Dir(f.path)); err == nil {
		dir.Sync()
		dir.Close()
	}
	return nil
}

// abandon removes what was begun; after commit, and on nil, it does nothing.
func (f *privateFile) abandon() {
	if f == nil {
		return
	}
	if f.temp.Close() == nil {
		os.Remove(f.temp.Name())
	}
}

// quoted is a path as a shell takes it.
func quoted(path string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+@%:,=~", r)
	}
	if path != "" && path[0] != '~' && strings.TrimFunc(path, plain) == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
