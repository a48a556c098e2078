package workspace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/mask"
	"github.com/latchkey/latchkey/keyserver/api"
)

const (
	// maxScanValue is how much of a value is looked for, in bytes: who finds its
	// beginning has found it. A set of values in all their forms is some thirty
	// times as large as they are.
	maxScanValue = 4 << 10

	scanWindow     = 64 << 10 // that is looked at in one piece, and the longest form
	maxScanMatches = 1000     // of one file
	maxScanHashes  = 8 << 20  // bytes of a request
)

// A ScanMatch is a place where a secret's value stands, in any form that package
// mask knows.
type ScanMatch struct {
	Secret string `json:"secret"` // its name
	Offset int64  `json:"offset"` // of its first byte
}

// A Scanner has a workspace daemon look for the values of its secrets in files.
// The files go to the daemon, over one connection for as many as there are; no
// value comes back. It is safe for concurrent use, with a connection each.
type Scanner struct{ client *controlClient }

// NewScanner returns a Scanner for the daemon of a runtime directory.
func NewScanner(dir string) (*Scanner, error) {
	c, err := dialControl(dir)
	if err != nil {
		return nil, err
	}
	return &Scanner{c}, nil
}

// Close ends the Scanner's connections.
func (s *Scanner) Close() { s.client.close() }

// Scan reads r to its end and returns where secrets stand in it, in order: the
// first 1000 places at most. The connection is used again by the next call.
func (s *Scanner) Scan(ctx context.Context, r io.Reader) (matches []ScanMatch, err error) {
	// A body of no length that is known, whatever r is: the daemon reads to its end.
	err = s.client.ask(ctx, "POST", "/scan", io.MultiReader(r), maxState, &matches)
	return matches, err
}

// Hashes asks the server, by way of the daemon, which of the user's secrets have
// one of the hashed values, also those that are not delivered here.
func (s *Scanner) Hashes(ctx context.Context, r api.ScanRequest) (matches []api.ScanMatch, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf(askingDaemon, err)
	}
	err = s.client.ask(ctx, "POST", "/scan/hashes", bytes.NewReader(body), maxState, &matches)
	return matches, err
}

// A scanSet is what scans look for. It takes longer to prepare than a file to
// read, so it is kept for the next one, but not for long: it holds values.
type scanSet struct {
	mu         sync.Mutex
	set        *mask.Set // nil: not made yet, or dropped
	generation int64     // of set
	idle       *time.Timer
	windows    sync.Pool // of *[]byte
}

// scanSetTime is how long a set is kept that nobody asks for.
const scanSetTime = 10 * time.Second

// take returns the set for what there is now.
func (c *scanSet) take(s *secretSync) *mask.Set {
	c.mu.Lock()
	defer c.mu.Unlock()
	if values, generation := s.scanValues(c.set, c.generation); values != nil {
		c.set, c.generation = mask.New(values), generation
	}
	if c.idle != nil {
		c.idle.Stop()
	}
	c.idle = time.AfterFunc(scanSetTime, c.drop)
	return c.set
}

// drop lets go of the set, as what it holds is not there any more, or nobody asks.
func (c *scanSet) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set = nil
}

// window is room for a scan; giveBack keeps it for the next one.
func (c *scanSet) window(size int) (w []byte, giveBack func()) {
	p, _ := c.windows.Get().(*[]byte)
	if p == nil || cap(*p) < size {
		b := make([]byte, size)
		p = &b
	}
	return (*p)[:size], func() { c.windows.Put(p) }
}

// serveScan answers POST /scan: where in the body secrets stand.
func (d *Daemon) serveScan(w http.ResponseWriter, r *http.Request) {
	matches := []ScanMatch{}
	if d.secrets != nil {
		set := d.secrets.scanning.take(d.secrets)
		overlap := set.Longest()
		window, giveBack := d.secrets.scanning.window(scanWindow + overlap)
		defer giveBack()
		err := findIn(set, r.Body, window, overlap, func(name string, offset int64) bool {
			matches = append(matches, ScanMatch{name, offset})
			return len(matches) < maxScanMatches
		})
		if err != nil {
			http.Error(w, "reading what to scan: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	d.tell(w, matches)
}

// findIn gives each place in r where a value stands to found, until that returns
// false; r is read to its end in any case. A place is decided on in a window in
// which overlap more bytes follow it, or the end.
func findIn(set *mask.Set, r io.Reader, window []byte, overlap int, found func(name string, offset int64) bool) error {
	var base, covered int64 // in r: window[0], and the end of what was found
	have, wanted := 0, true
	for {
		n, err := io.ReadFull(r, window[have:])
		have += n
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		decided := have
		if !last {
			decided = len(window) - overlap
		}
		if wanted {
			for _, m := range set.Find(window[:have]) {
				if end := base + int64(m.End); m.Start < decided && end > covered && wanted {
					covered = end
					wanted = found(m.Name, base+int64(m.Start))
				}
			}
		}
		if last {
			return nil
		}
		base += int64(decided)
		have = copy(window, window[decided:have])
	}
}

// scanValues are the beginnings of all values, of secrets with a file only as
// well; nil if there is a set already, and the generation still that of the set.
func (s *secretSync) scanValues(set *mask.Set, generation int64) ([]mask.Value, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if set != nil && s.generation == generation {
		return nil, generation
	}
	values := []mask.Value{}
	if s.current != nil {
		for _, held := range s.current.secrets {
			values = append(values, mask.Value{Name: held.name, Bytes: bytes.Clone(beginning(s.current.value(held), maxScanValue))})
		}
	}
	return values, s.generation
}

// beginning is what of a value is looked for. It ends with a line if it can: what
// is left of a cut one could be anything.
func beginning(value []byte, most int) []byte {
	if len(value) <= most {
		return value
	}
	value = value[:most]
	if end := bytes.LastIndexByte(value, '\n'); end > 0 {
		return value[:end]
	}
	return value
}

// serveScanHashes answers POST /scan/hashes with the server's answer.
func (d *Daemon) serveScanHashes(w http.ResponseWriter, r *http.Request) {
	var request api.ScanRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxScanHashes)).Decode(&request); err != nil {
		http.Error(w, "this is no scan request", http.StatusBadRequest)
		return
	}
	matches, err := d.config.Client.ScanOwnSecrets(r.Context(), request)
	if err != nil {
		http.Error(w, err.Error(), api.Status(err)) // 503: the server is away
		return
	}
	if matches == nil {
		matches = []api.ScanMatch{}
	}
	d.tell(w, matches)
}
