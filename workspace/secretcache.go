package workspace

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/harden"
)

// A cache file is cacheMagic, a random salt of cacheSalt bytes, and what
// cipher.NewGCMWithRandomNonce makes (AES-256-GCM, the nonce first) of the time
// in seconds (8 bytes, big endian) and the JSON of an [api.WorkspaceSecrets].
// The key is made of the workspace token and the salt (HKDF, SHA-256), so another
// workspace's token does not open it; the associated data is all that comes
// before, and the server's URL. (The workspace's name is not in it: the token
// stands for the workspace, and without a server it is all that is known.)
const (
	cacheName  = "secrets.cache"
	cacheMagic = "latchkey secret cache 1\n"
	cacheSalt  = 32
	maxCache   = 8 << 20 // bytes of the file, as of the server's answer

	// clockSkew is how far in the future a cache may have been written: clocks
	// are set back a little.
	clockSkew = time.Minute
)

// A secretCache keeps secrets encrypted in a file of the runtime directory, for
// a daemon that starts while the server is away. A nil one keeps nothing.
type secretCache struct {
	path  string
	age   time.Duration // at most
	token *harden.Buffer
	url   string
	saved atomic.Int64 // the time in the file, in seconds; 0: there is none
}

// newSecretCache returns the cache of a runtime directory, nil for an age of 0:
// what an earlier daemon had cached is removed then. A directory on a disk is
// refused: what is encrypted with the token would lie beside the token's file
// longer than both are good for.
func newSecretCache(dir string, age time.Duration, c *Credentials) (*secretCache, error) {
	path := filepath.Join(dir, cacheName)
	if age == 0 || c == nil {
		if err := removeCache(path); err != nil {
			return nil, fmt.Errorf("removing the secret cache of an earlier daemon: %w", err)
		}
		return nil, nil
	}
	switch inMemory, err := isInMemory(dir); {
	case err != nil:
		return nil, fmt.Errorf("the secret cache in %s: %w", dir, err)
	case !inMemory:
		return nil, &Problem{fmt.Errorf("the secret cache: the runtime directory %s is not in memory (tmpfs)", dir),
			"name one that is by LATCHKEY_RUNTIME_DIR, such as one below /run/user or /dev/shm, or leave --secret-cache out"}
	}
	if err := os.Remove(tempOf(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing what an earlier daemon has left of the secret cache: %w", err)
	}
	return &secretCache{path: path, age: age, token: c.token, url: c.URL}, nil
}

// confirmations says when the server should be asked again, lest what is in the
// cache be too old once it is needed.
func (c *secretCache) confirmations() (at <-chan time.Time, stop func()) {
	if c == nil {
		return nil, func() {}
	}
	t := time.NewTicker(max(c.age/2, time.Second))
	return t.C, t.Stop
}

// fresh reports whether what was saved need not be saved again, if it is the
// same.
func (c *secretCache) fresh() bool { return time.Since(c.at()) < c.age/4 }

// at is the time in the file; zero: there is none.
func (c *secretCache) at() time.Time {
	if c == nil || c.saved.Load() == 0 {
		return time.Time{}
	}
	return time.Unix(c.saved.Load(), 0)
}

// aead is the cipher for a salt, and head what it authenticates besides.
func (c *secretCache) aead(salt []byte) (a cipher.AEAD, head []byte, err error) {
	key, err := hkdf.Key(sha256.New, c.token.Bytes(), salt, "latchkey secret cache 1", 32)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, err
	}
	a, err = cipher.NewGCMWithRandomNonce(block)
	return a, append(append([]byte(cacheMagic), salt...), c.url...), err
}

// save replaces what is cached. It must be called in harden.Do.
func (c *secretCache) save(opened []byte) error {
	salt := make([]byte, cacheSalt)
	rand.Read(salt) // never fails
	a, head, err := c.aead(salt)
	if err != nil {
		return err
	}
	now := time.Now().Unix()
	plain := make([]byte, 8, 8+len(opened))
	binary.BigEndian.PutUint64(plain, uint64(now))
	plain = append(plain, opened...)
	file := a.Seal(append([]byte(cacheMagic), salt...), nil, plain, head)
	if len(file) > maxCache {
		return fmt.Errorf("they have %d bytes; a cache takes %d", len(file), maxCache)
	}
	if err := replaceFile(c.path, file); err != nil {
		return err
	}
	c.saved.Store(now)
	return nil
}

// tempOf is the name of the file that replaceFile writes first. It is always the
// same one, so that what a killed daemon has left is found and removed.
func tempOf(path string) string { return path + ".tmp" }

// removeCache removes a cache, and what there may be of the next one.
func removeCache(path string) error {
	for _, name := range []string{tempOf(path), path} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// replaceFile writes a file beside the path (0600) and renames it. It is not
// synced: it is in memory. One daemon alone has the directory.
func replaceFile(path string, content []byte) error {
	if err := os.Remove(tempOf(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tempOf(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// load returns what is cached, nil if nothing is. What can't be used is removed.
func (c *secretCache) load() (*snapshot, error) {
	file, err := readFile(c.path, maxCache)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var s *snapshot
	if err == nil {
		harden.Do(func() { s, err = c.open(file) })
	}
	if err != nil {
		return nil, errors.Join(err, c.remove())
	}
	s.unshare()
	c.saved.Store(s.at.Unix())
	return s, nil
}

// open must be called in harden.Do.
func (c *secretCache) open(file []byte) (*snapshot, error) {
	sealed, ok := bytes.CutPrefix(file, []byte(cacheMagic))
	if !ok || len(sealed) < cacheSalt {
		return nil, errors.New("it is not a cache of this version")
	}
	a, head, err := c.aead(sealed[:cacheSalt])
	if err != nil {
		return nil, err
	}
	plain, err := a.Open(nil, nil, sealed[cacheSalt:], head)
	if err != nil || len(plain) < 8 {
		return nil, errors.New("it was changed, or is of another token or server")
	}
	at := time.Unix(int64(binary.BigEndian.Uint64(plain)), 0)
	switch age := time.Since(at); {
	case age > c.age:
		return nil, fmt.Errorf("it is of %s, and %s is the most", at.Format(time.RFC3339), c.age)
	case age < -clockSkew:
		return nil, fmt.Errorf("it is of %s, which is in the future", at.Format(time.RFC3339))
	}
	s, err := decodeSnapshot(plain[8:])
	if err != nil {
		return nil, err
	}
	s.at = at
	return s, nil
}

// remove removes what is cached.
func (c *secretCache) remove() error {
	if c == nil {
		return nil
	}
	c.saved.Store(0)
	if err := removeCache(c.path); err != nil {
		return fmt.Errorf("removing the secret cache: %w", err)
	}
	return nil
}
