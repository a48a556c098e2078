package workspace

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// What the user should know of their secrets.
const (
	noticeOff     = "the workspace daemon was told to take no user secrets (--no-secrets)"
	noticeRefuses = "this workspace is set to take no user secrets"
)

// A StateSecrets is what a daemon says of the user's secrets: no values.
type StateSecrets struct {
	Off       bool               `json:"off"` // told to take none
	Revision  int64              `json:"revision"`
	Delivered int                `json:"delivered"` // targets
	Items     []api.DeliveryItem `json:"items"`     // every target
	Missing   []api.Requirement  `json:"missing"`
	Known     bool               `json:"known"` // the server, or the cache, has said what there is
	Notice    string             `json:"notice,omitempty"`

	WatchedSince *time.Time `json:"watched_since,omitempty"` // nil: no change is told now
	AwaySince    *time.Time `json:"away_since,omitempty"`    // nil: the server answers
	Polled       bool       `json:"polled"`                  // the server is too old to be watched
	CachedAt     *time.Time `json:"cached_at,omitempty"`     // nil: nothing is cached
	CacheSeconds float64    `json:"cache_seconds"`           // how old a cache may be; 0: there is none
	Memory       string     `json:"memory,omitempty"`        // what the values lie in

	FilesInMemory bool `json:"files_in_memory"`
}

// notice is what the user should know. mu is held.
func (s *secretSync) notice() string {
	const form = "2006-01-02 15:04"
	switch l := s.link; {
	case l.refusal != nil:
		return fmt.Sprintf("the key server refuses this workspace, so it has no secrets: %v", l.refusal)
	case s.current == nil && l.err != nil:
		return fmt.Sprintf("there are no secrets yet, as the key server is away: %v", l.err)
	case s.current == nil:
		return "there are no secrets yet: the key server was not asked"
	case l.err != nil:
		return fmt.Sprintf("the key server is away since %s: secrets are as they were at %s", l.away.Local().Format(form), s.current.at.Local().Format(form))
	case s.current.refused:
		return noticeRefuses
	}
	return ""
}

// state is what the daemon answers, with copies of the values, and what ends
// when the generation does.
func (s *secretSync) state() (SecretState, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := SecretState{Variables: []Variable{}, Missing: []api.Requirement{}, Files: []SecretFile{}, Generation: s.generation, Notice: s.notice(), Refused: s.link.refusal != nil}
	if s.current != nil {
		state.Known = true
		state.Variables = s.current.copies(s.plan)
		state.Files = filesOf(s.plan)
		state.Missing = missing(s.current.requirements, s.items)
	}
	return state, s.changed
}

// filesOf lists the files of a plan.
func filesOf(p plan) []SecretFile {
	files := []SecretFile{}
	for _, held := range p.files {
		files = append(files, SecretFile{held.name, held.file, held.version})
	}
	return files
}

// maxHidden is how much of a file's value is given to who hides it, in bytes: each
// of its lines, and its encoded forms, are looked for in all that is printed.
const maxHidden = 16 << 10

// fileValues are copies of the values of secrets with a file, or their beginnings.
func (s *secretSync) fileValues() SecretState {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := SecretState{Variables: []Variable{}, Generation: s.generation, Known: s.current != nil}
	for _, held := range s.plan.files {
		if s.current != nil {
			state.Variables = append(state.Variables, Variable{Secret: held.name, Value: bytes.Clone(beginning(s.current.value(held), maxHidden))})
		}
	}
	return state
}

// serveFileValues answers GET /secrets/files.
func (d *Daemon) serveFileValues(w http.ResponseWriter, _ *http.Request) {
	state := SecretState{Notice: noticeOff}
	if d.secrets != nil {
		state = d.secrets.fileValues()
	}
	d.tellSecrets(w, state)
}

// summary is for the status.
func (s *secretSync) summary() StateSecrets {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := StateSecrets{Items: []api.DeliveryItem{}, Missing: []api.Requirement{}, Notice: s.notice(), Polled: s.link.polled, Memory: s.current.memory()}
	if s.current != nil {
		sum.Known = true
		sum.Revision = s.current.revision
		sum.Items = append(sum.Items, s.items...)
		sum.Missing = missing(s.current.requirements, s.items)
	}
	for _, item := range sum.Items {
		if item.State == api.Delivered {
			sum.Delivered++
		}
	}
	sum.WatchedSince, sum.AwaySince, sum.CachedAt = known(s.link.watched), known(s.link.away), known(s.cache.at())
	if s.cache != nil {
		sum.CacheSeconds = s.cache.age.Seconds()
	}
	return sum
}

// known is nil for a time that is not there.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// serveSecrets answers GET /secrets.
func (d *Daemon) serveSecrets(w http.ResponseWriter, _ *http.Request) {
	if d.secrets == nil {
		d.tellSecrets(w, SecretState{Notice: noticeOff})
		return
	}
	state, _ := d.secrets.state()
	d.tellSecrets(w, state)
}

// serveWait answers GET /secrets/wait when the generation is another than the
// caller's, or the daemon ends.
func (d *Daemon) serveWait(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseInt(r.URL.Query().Get("after"), 10, 64)
	if err != nil {
		http.Error(w, "after is not a generation", http.StatusBadRequest)
		return
	}
	for {
		var changed <-chan struct{}
		state := SecretState{Notice: noticeOff}
		if d.secrets != nil {
			state, changed = d.secrets.state()
		}
		if state.Generation != after {
			d.tellSecrets(w, state)
			return
		}
		state.wipe()
		select {
		case <-changed:
		case <-d.ending:
			http.Error(w, "the workspace daemon is ending", http.StatusServiceUnavailable)
			return
		case <-r.Context().Done():
			return
		}
	}
}

// tellSecrets writes a state and wipes it. The answer is made in one piece and
// not by encoding/json, which keeps its buffers.
func (d *Daemon) tellSecrets(w http.ResponseWriter, state SecretState) {
	defer state.wipe()
	text, err := encodeState(state)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer clear(text)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	if _, err := w.Write(text); err != nil {
		d.log.Warn("secrets were not delivered on the control socket", "err", err)
	}
}

// wipe clears the values.
func (s SecretState) wipe() {
	for _, v := range s.Variables {
		clear(v.Value)
	}
}

// encodeState is a state's JSON. Whatever is no value goes through encoding/json.
func encodeState(state SecretState) ([]byte, error) {
	bare := state
	bare.Variables = nil
	rest, err := json.Marshal(bare)
	if err != nil {
		return nil, err
	}
	names := make([][]byte, len(state.Variables))
	size := len(rest) + 2
	for i, v := range state.Variables {
		if names[i], err = json.Marshal(Variable{Name: v.Name, Secret: v.Secret}); err != nil {
			return nil, err
		}
		size += len(names[i]) + base64.StdEncoding.EncodedLen(len(v.Value))
	}
	const before, without = `{"variables":`, `null`
	text := append(make([]byte, 0, size), before+"["...)
	for i, v := range state.Variables {
		if i > 0 {
			text = append(text, ',')
		}
		// {"name":"N","value":null,"secret":"S"}: no name that may be a variable's holds a quote.
		head := len(`{"name":""`) + len(v.Name) + len(`,"value":`)
		text = append(text, names[i][:head]...)
		text = append(text, '"')
		text = base64.StdEncoding.AppendEncode(text, v.Value)
		text = append(text, '"')
		text = append(text, names[i][head+len(without):]...)
	}
	text = append(text, ']')
	return append(text, rest[len(before+without):]...), nil
}
