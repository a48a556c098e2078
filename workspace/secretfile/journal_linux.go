package secretfile

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	journalName    = "files.json"
	journalVersion = 1
	maxJournal     = 16 << 20 // bytes: some hundred files have some hundred KiB
)

// A journal is what there may be of ours. It is one small file that is
// replaced: a delivery writes it at most twice, so there is nothing that a log
// to append to would save.
type journal struct {
	Home  string   `json:"home,omitempty"` // the home directory, without links
	Files []*entry `json:"files,omitempty"`
	Dirs  []string `json:"dirs,omitempty"` // that we have made

	dir   string            // where it is kept
	dirty bool              // differs from what is kept
	step  func(name string) // told of each step
}

// An entry is a path at which there may be a file of ours.
type entry struct {
	Path   string `json:"path"` // from the root, without links
	Secret string `json:"secret"`
	Salt   []byte `json:"salt,omitempty"`

	// Sums are of the contents of ours that a file may have: while it is being
	// replaced, of two. A link's are kept in memory only.
	Sums  []sum    `json:"sums,omitempty"`
	Links []string `json:"links,omitempty"` // texts of links of ours that may be there

	// Kept means that the file was there before, with the content that it shall
	// have: it is the user's, and stays when the secret goes. One that we write in
	// its place, with the next value, is ours.
	Kept bool `json:"kept,omitempty"`

	// Writing means that its temporary file may be there, and New that nothing
	// of ours was there before.
	Writing bool `json:"writing,omitempty"`
	New     bool `json:"new,omitempty"`
}

// A sum tells a content by its hash, and mostly by its size alone.
type sum struct {
	Size int64  `json:"size"`
	Hash []byte `json:"hash"`
}

func newEntry(path, secret string) *entry {
	salt := make([]byte, 16)
	rand.Read(salt)
	return &entry{Path: path, Secret: secret, Salt: salt}
}

// clone is nil if e is.
func (e *entry) clone() *entry {
	if e == nil {
		return nil
	}
	c := *e
	c.Sums, c.Links = slices.Clone(e.Sums), slices.Clone(e.Links)
	return &c
}

// sumOf hashes what a reader gives, which is size bytes if it is not being changed.
func (e *entry) sumOf(r io.Reader) (sum, error) {
	h := sha256.New()
	h.Write(e.Salt)
	size, err := io.Copy(h, r)
	return sum{size, h.Sum(nil)}, err
}

func (e *entry) sumContent(content []byte) sum {
	s, _ := e.sumOf(bytes.NewReader(content)) // memory does not fail
	return s
}

func (s sum) equal(t sum) bool { return s.Size == t.Size && bytes.Equal(s.Hash, t.Hash) }

func (e *entry) has(s sum) bool { return e != nil && slices.ContainsFunc(e.Sums, s.equal) }

func (e *entry) hasSize(size int64) bool {
	return e != nil && slices.ContainsFunc(e.Sums, func(s sum) bool { return s.Size == size })
}

// entry is nil if the journal has none for a path.
func (j *journal) entry(path string) *entry {
	i := slices.IndexFunc(j.Files, func(e *entry) bool { return e.Path == path })
	if i < 0 {
		return nil
	}
	return j.Files[i]
}

// set makes the entry of a path be e, or be none if e is nil.
func (j *journal) set(path string, e *entry) {
	j.dirty = true
	j.Files = slices.DeleteFunc(j.Files, func(old *entry) bool { return old.Path == path })
	if e != nil {
		j.Files = append(j.Files, e)
	}
}

// A sealed journal has a checksum: a damaged one must not be taken for the truth.
type sealedJournal struct {
	Version int             `json:"version"`
	Sum     []byte          `json:"sha256"`
	Journal json.RawMessage `json:"journal"`
}

func (j *journal) encode() ([]byte, error) {
	slices.SortFunc(j.Files, func(a, b *entry) int { return strings.Compare(a.Path, b.Path) })
	body, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(body)
	return json.Marshal(sealedJournal{journalVersion, digest[:], body})
}

func decodeJournal(data []byte) (*journal, error) {
	var sealed sealedJournal
	if err := json.Unmarshal(data, &sealed); err != nil {
		return nil, errors.New("it is not JSON, or not all of it")
	}
	if sealed.Version != journalVersion {
		return nil, fmt.Errorf("it has version %d; this program knows %d", sealed.Version, journalVersion)
	}
	if digest := sha256.Sum256(sealed.Journal); !bytes.Equal(digest[:], sealed.Sum) {
		return nil, errors.New("its checksum is wrong")
	}
	var j journal
	if err := json.Unmarshal(sealed.Journal, &j); err != nil {
		return nil, fmt.Errorf("it can't be understood: %w", err)
	}
	seen := map[string]bool{}
	for _, e := range j.Files {
		if e == nil || !plainPath(e.Path) || seen[e.Path] || slices.ContainsFunc(e.Links, func(l string) bool { return !plainPath(l) }) {
			return nil, errors.New("it names a file that can't be")
		}
		seen[e.Path] = true
	}
	if slices.ContainsFunc(j.Dirs, func(d string) bool { return !plainPath(d) }) || j.Home != "" && j.Home != "/" && !plainPath(j.Home) {
		return nil, errors.New("it names a directory that can't be")
	}
	return &j, nil
}

// plainPath reports whether a path begins at the root and has no part that
// leads elsewhere.
func plainPath(p string) bool {
	return filepath.IsAbs(p) && p != "/" && filepath.Clean(p) == p && !strings.ContainsRune(p, 0)
}

// openJournal reads the journal of a directory, new if there is none. A damaged
// one is set aside as the file that is returned too, "" if there was none such.
func openJournal(dir string) (j *journal, damaged string, err error) {
	name := filepath.Join(dir, journalName)
	if err := os.Remove(name + ".tmp"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("the journal of files: %w", err)
	}
	data, err := readJournal(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &journal{dir: dir}, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("the journal of files: %w", err)
	}
	if j, err = decodeJournal(data); err == nil {
		j.dir = dir
		return j, "", nil
	}
	for n := 1; ; n++ {
		damaged = name + ".damaged-" + strconv.Itoa(n)
		if _, err := os.Lstat(damaged); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	why := err
	if err := os.Rename(name, damaged); err != nil {
		return nil, "", fmt.Errorf("setting the damaged journal of files aside: %w", err)
	}
	return &journal{dir: dir}, damaged + ": " + why.Error(), nil
}

func readJournal(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxJournal))
}

// save makes the journal durable. It holds no content.
func (j *journal) save() error {
	data, err := j.encode()
	if err != nil {
		return err
	}
	name := filepath.Join(j.dir, journalName)
	f, err := os.OpenFile(name+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	j.step("journal written")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(name+".tmp", name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(name+".tmp"))
	}
	d, err := os.Open(j.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return err
	}
	j.dirty = false
	j.step("journal saved")
	return nil
}
