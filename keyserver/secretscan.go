package keyserver

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/latchkey/latchkey/keyserver/api"
)

const (
	scanSalt    = 32      // bytes
	scanHash    = 16      // bytes of each HMAC that are compared
	maxScan     = 4 << 20 // bytes of hashes
	minScanned  = 8       // bytes: shorter values are everywhere
	scanMessage = "nothing can be looked for"
)

// scanSecrets says which of the owner's secrets have a value whose hash is among
// those that are given. Whoever may ask can try guesses: each scan is on record
// before its answer, with the number of guesses. A workspace learns of the
// secrets that are limited to others as little here as from a delivery.
func (s *Server) scanSecrets(ctx context.Context, c *call, in api.ScanRequest) ([]api.ScanMatch, error) {
	var p problems
	if len(in.Salt) != scanSalt {
		p.add("salt", "must be %d bytes, made for this scan", scanSalt)
	}
	switch {
	case len(in.Hashes) == 0 || len(in.Hashes)%scanHash != 0:
		p.add("hashes", "must be %d bytes for each candidate, and of one candidate at least", scanHash)
	case len(in.Hashes) > maxScan:
		p.add("hashes", "has %d bytes; at most %d are allowed: ask in parts", len(in.Hashes), maxScan)
	}
	if err := p.err(scanMessage); err != nil {
		return nil, err
	}
	if err := s.beginHeavy(ctx); err != nil {
		return nil, err
	}
	defer s.endHeavy()
	known, damaged, err := s.hashSecrets(ctx, c, in.Salt)
	if err != nil {
		return nil, err
	}
	// What is looked up is an HMAC, in a map with a seed of its own: how long
	// that takes says nothing of how much of a value was right.
	matches := []api.ScanMatch{}
	for i := 0; i < len(in.Hashes)/scanHash; i++ {
		for _, name := range known[[scanHash]byte(in.Hashes[i*scanHash:])] {
			matches = append(matches, api.ScanMatch{Index: i, Secret: name})
		}
	}
	e := c.event(c.owner.Name)
	if c.workspace.ID != "" {
		e.Target += "/" + c.workspace.Name
	}
	e.Detail = fmt.Sprintf("%d candidates, %d matches", len(in.Hashes)/scanHash, len(matches))
	if damaged > 0 {
		e.Detail += fmt.Sprintf(", %d secrets not looked at: they do not open", damaged)
	}
	if err := s.record(ctx, e); err != nil {
		return nil, err
	}
	return matches, nil
}

// hashSecrets hashes the values of the secrets that the caller may look for, and
// gives the names for each hash.
func (s *Server) hashSecrets(ctx context.Context, c *call, salt []byte) (known map[[scanHash]byte][]string, damaged int, err error) {
	all, values, _, err := s.store.CurrentValues(ctx, c.owner.ID)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the secrets: %w", gone(c, err))
	}
	opened, err := s.openSecrets(ctx, c, all, values, func(sec Secret) bool {
		return c.workspace.ID == "" || !c.workspace.RefuseSecrets && sec.covers(c.workspace)
	})
	if err != nil {
		return nil, 0, err
	}
	defer opened.wipe()
	known = map[[scanHash]byte][]string{}
	for _, o := range opened.list {
		value := o.value.reveal()
		if len(value) < minScanned {
			continue
		}
		mac := hmac.New(sha256.New, salt)
		mac.Write(value)
		hash := [scanHash]byte(mac.Sum(nil))
		known[hash] = append(known[hash], o.Name)
	}
	return known, len(opened.damaged), nil
}
