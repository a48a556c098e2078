package keyserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/latchkey/latchkey/keyserver/api"
)

// maxMasterKeyFile bounds a master key file; one with one key is 300 bytes.
const maxMasterKeyFile = 64 << 10

// LoadMasterKey reads a master key: a Tink keyset in JSON, of an AEAD, in a
// regular file that its owner alone may read. A file that is not there is
// fs.ErrNotExist; other refusals are an [api.Error] whose detail says what to
// do. No error holds a part of the file.
func LoadMasterKey(path string) (tink.AEAD, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the master key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the master key: %w", err)
	}
	refuse := func(problem, todo string) error {
		return &api.Error{Kind: api.ErrInvalid, Message: fmt.Sprintf("master key %s %s", path, problem), Detail: todo}
	}
	if !info.Mode().IsRegular() {
		return nil, refuse("is not a regular file", "name the file that holds the master key")
	}
	if info.Mode().Perm()&0o077 != 0 && !readByList(info) {
		return nil, refuse(fmt.Sprintf("can be used by others (mode %04o)", info.Mode().Perm()),
			fmt.Sprintf("chmod 0600 %s; if others may have read it, make a new master key", path))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxMasterKeyFile+1))
	defer clear(text)
	if err != nil {
		return nil, fmt.Errorf("reading the master key: %w", err)
	}
	restore := "restore it from a backup: without it nothing in the store can be opened"
	switch {
	case len(text) == 0:
		return nil, refuse("is empty", restore)
	case len(text) > maxMasterKeyFile:
		return nil, refuse(fmt.Sprintf("is over %d KiB", maxMasterKeyFile>>10), restore)
	}
	// Tink's errors quote what they could not parse, which may be key bytes.
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		return nil, refuse("is not a Tink keyset in JSON", restore)
	}
	key, err := aead.New(handle)
	if err != nil {
		return nil, refuse("is a Tink keyset, but not one that encrypts with associated data (AEAD)", restore)
	}
	return key, nil
}

// readByList reports whether a file is root's and ours to read by an access
// list only. So systemd hands credentials to a service that is not root's; the
// mode shows the list's mask, 0440, where a group's permission would stand.
func readByList(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Uid == 0 && s.Gid == 0 && os.Geteuid() != 0 && info.Mode().Perm()&0o037 == 0
}

// NewMasterKey makes a master key (AES-256-GCM) that is in memory only: what is
// sealed under it is lost with the process.
func NewMasterKey() (tink.AEAD, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("making the master key: %w", err)
	}
	return aead.New(handle)
}

// CreateMasterKey makes a master key (AES-256-GCM) and writes it to a new file,
// which only its owner may read and which is on the disk when the function
// returns. A file that is there already is never touched: fs.ErrExist.
func CreateMasterKey(path string) (key tink.AEAD, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("making the master key: %w", err)
		}
	}()
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	key, err = aead.New(handle)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	defer func() { clear(text.Bytes()) }()
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text)); err != nil {
		return nil, err
	}
	return key, writeNew(path, text.Bytes())
}

// writeNew writes a file of mode 0600 that is there either whole or not at all.
func writeNew(path string, content []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// Unlike a rename, a link does not replace what is there.
	if err := os.Link(f.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s: %w", path, fs.ErrExist)
		}
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
