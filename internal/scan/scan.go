// Package scan finds a user's secret values in files, without having them. It
// asks two sides: the workspace daemon, which has the values that were
// delivered, for all their places in a file; and the key server, which has all
// values, whether a word of a file is one, of which it gets a hash.
package scan

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/keyserver/api"
)

const (
	saltSize = 32
	hashSize = 16 // of a candidate: see api.ScanRequest

	// maxPending is how many candidates go into one request.
	maxPending = 1 << 16
)

// A File is something to look into.
type File struct {
	Name    string // its path, as it is shown
	Commit  string // that brought it; "": the work tree or the index
	Content []byte
}

// A Finding is a secret's value in a file.
type Finding struct {
	File   string `json:"file"`
	Commit string `json:"commit,omitempty"`
	Line   int    `json:"line"` // from 1
	Secret string `json:"secret"`
}

// A Hit is a secret's value at an offset.
type Hit struct {
	Secret string
	Start  int
}

// A Scanner looks into files. Either function may be nil, not both.
type Scanner struct {
	// Values finds values in a file, in all forms that the daemon knows.
	Values func(ctx context.Context, content []byte) ([]Hit, error)

	// Hashes finds candidates that are a value as a whole.
	Hashes func(context.Context, api.ScanRequest) ([]api.ScanMatch, error)

	findings map[Finding]bool
	salt     []byte
	pending  map[[hashSize]byte][]place
	hashes   []byte // the keys of pending, in order
}

// A place is where a candidate stands.
type place struct {
	file, commit string
	line         int
}

// maxPlaces bounds the places that are kept of one candidate: a word that is a
// secret is found at the first of them.
const maxPlaces = 100

// Add looks into a file.
func (s *Scanner) Add(ctx context.Context, f File) error {
	if s.Values != nil {
		hits, err := s.Values(ctx, f.Content)
		if err != nil {
			return err
		}
		for _, h := range hits {
			s.found(Finding{f.Name, f.Commit, lineAt(f.Content, h.Start), h.Secret})
		}
	}
	if s.Hashes == nil {
		return nil
	}
	for line, candidate := range candidates(f.Content) {
		s.note(f, line, candidate)
		if len(s.pending) >= maxPending {
			if err := s.ask(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// note keeps the hash of a candidate for the next request.
func (s *Scanner) note(f File, line int, candidate []byte) {
	if s.salt == nil {
		s.salt = make([]byte, saltSize)
		rand.Read(s.salt) // never fails: see crypto/rand
		s.pending = map[[hashSize]byte][]place{}
	}
	mac := hmac.New(sha256.New, s.salt)
	mac.Write(candidate)
	h := [hashSize]byte(mac.Sum(nil))
	places, known := s.pending[h]
	if !known {
		s.hashes = append(s.hashes, h[:]...)
	}
	if len(places) < maxPlaces {
		s.pending[h] = append(places, place{f.Name, f.Commit, line})
	}
}

// ask sends the hashes that wait.
func (s *Scanner) ask(ctx context.Context) error {
	if len(s.pending) == 0 {
		return nil
	}
	matches, err := s.Hashes(ctx, api.ScanRequest{Salt: s.salt, Hashes: s.hashes})
	if err != nil {
		return err
	}
	for _, m := range matches {
		if m.Index < 0 || (m.Index+1)*hashSize > len(s.hashes) {
			continue // not an answer to what was asked
		}
		for _, p := range s.pending[[hashSize]byte(s.hashes[m.Index*hashSize:])] {
			s.found(Finding{p.file, p.commit, p.line, m.Secret})
		}
	}
	s.salt, s.pending, s.hashes = nil, nil, nil
	return nil
}

func (s *Scanner) found(f Finding) {
	if s.findings == nil {
		s.findings = map[Finding]bool{}
	}
	s.findings[f] = true
}

// Findings asks what is still to be asked and lists all that was found, each
// once, by commit in the order of their names, file and line.
func (s *Scanner) Findings(ctx context.Context) ([]Finding, error) {
	if err := s.ask(ctx); err != nil {
		return nil, err
	}
	all := make([]Finding, 0, len(s.findings))
	for f := range s.findings {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Commit, b.Commit), strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Secret, b.Secret))
	})
	return all, nil
}

func lineAt(content []byte, at int) int {
	return 1 + bytes.Count(content[:min(max(at, 0), len(content))], []byte("\n"))
}
