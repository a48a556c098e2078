package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// maxFile bounds a file that is looked into.
const maxFile = 64 << 20

// A Skipped is something that was not looked into, and why.
type Skipped struct {
	File string `json:"file"`
	Why  string `json:"why"`
}

// A Walk is how files come to be looked into: each goes to add, and what can't
// be looked into to skip.
type Walk struct {
	Add  func(File) error
	Skip func(Skipped)
}

// Tree walks the file at path, or the files below it: of a git work tree, those
// that git tracks or would, so neither .git nor what is ignored; elsewhere, all
// but those in a directory called .git. No link is followed.
func (w Walk) Tree(ctx context.Context, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return w.file(path, path)
	}
	names, err := workTree(ctx, path)
	if errors.Is(err, errNoRepository) {
		return w.directory(ctx, path)
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.file(filepath.Join(path, name), filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

func (w Walk) directory(ctx context.Context, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			w.Skip(Skipped{path, reason(err)})
			return nil
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		return w.file(path, path)
	})
}

// file looks into a regular file. Anything else has no content of its own.
func (w Walk) file(path, shown string) error {
	// A FIFO would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, fs.ErrNotExist) {
		return nil // a link, whose text git keeps, or gone meanwhile
	}
	if err != nil {
		w.Skip(Skipped{shown, reason(err)})
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		w.Skip(Skipped{shown, reason(err)})
		return nil
	case len(content) > maxFile:
		w.Skip(Skipped{shown, tooLarge})
		return nil
	}
	return w.Add(File{Name: shown, Content: content})
}

var tooLarge = fmt.Sprintf("it is larger than %d MiB", maxFile>>20)

// reason is an error without the path, which is said beside it.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return err.Error()
}
