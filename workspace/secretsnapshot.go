package workspace

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
)

// A secretServer is what a workspace asks of an [api.Client] about secrets.
type secretServer interface {
	FetchSecrets(context.Context, api.FetchSecretsRequest) (sealed []byte, err error)
	ReportDelivery(context.Context, api.DeliveryReport) error
	Watch(ctx context.Context, after int64, handle func(api.WatchEvent) error) error
}

// A snapshot is what the server gave the workspace at one revision. The values
// lie outside the Go heap, one behind the other. It is not safe for concurrent
// use with close.
type snapshot struct {
	revision     int64
	refused      bool         // the workspace is set to take no user secrets
	at           time.Time    // when the server said so
	secrets      []heldSecret // by name
	requirements []api.Requirement
	values       *harden.Buffer // nil if all are empty
}

// A heldSecret is one of a snapshot's.
type heldSecret struct {
	name, env, file string
	version         int64
	start, end      int  // of the value, in the snapshot's
	without         bool // the server sent no value
}

// fetchSnapshot asks the server, in the way in which a Source fetches a key: the
// answer is sealed, and opened inside harden.Do. keep, if it is not nil, is
// called there with what was in the seal.
func fetchSnapshot(ctx context.Context, server secretServer, keep func(s *snapshot, opened []byte)) (s *snapshot, err error) {
	var recipient *api.Recipient
	var request api.FetchSecretsRequest
	harden.Do(func() {
		if recipient, err = api.NewRecipient(); err == nil {
			request.Recipient = recipient.PublicKey()
		}
	})
	if err != nil {
		return nil, fmt.Errorf("fetching secrets: %w", err)
	}
	sealed, err := server.FetchSecrets(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("fetching secrets: %w", err)
	}
	harden.Do(func() {
		var opened []byte
		if opened, err = recipient.OpenSecrets(sealed); err != nil {
			return
		}
		if s, err = decodeSnapshot(opened); err == nil && keep != nil {
			keep(s, opened)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("fetching secrets: %w", err)
	}
	s.at = time.Now()
	s.unshare()
	return s, nil
}

// errUnreadable does not repeat encoding/json's error, which may quote a value.
var errUnreadable = errors.New("what the server sent is not a list of secrets")

// decodeSnapshot takes the JSON of an [api.WorkspaceSecrets] apart. It must be
// called in harden.Do.
func decodeSnapshot(opened []byte) (*snapshot, error) {
	var w api.WorkspaceSecrets
	if json.Unmarshal(opened, &w) != nil {
		return nil, errUnreadable
	}
	s := &snapshot{revision: w.Revision, refused: w.Refused, requirements: w.Requirements}
	if w.Refused {
		w.Secrets = nil // whatever it sends beside that
	}
	slices.SortStableFunc(w.Secrets, func(a, b api.DeliveredSecret) int { return cmp.Compare(a.Name, b.Name) })
	values := make([][]byte, len(w.Secrets))
	size := 0
	for i, d := range w.Secrets {
		value, ok := d.Bytes()
		values[i] = value
		s.secrets = append(s.secrets, heldSecret{
			name: d.Name, env: d.EnvName, file: d.FilePath, version: d.Version,
			start: size, end: size + len(value), without: !ok,
		})
		size += len(value)
	}
	if size == 0 {
		return s, nil
	}
	// Secrets are kept all day, so not in memory that keeps a machine from hibernating.
	b, err := harden.NewLockedBuffer(size)
	if err != nil {
		return nil, fmt.Errorf("keeping secrets: %w", err)
	}
	s.values = b
	for i, held := range s.secrets {
		copy(b.Bytes()[held.start:held.end], values[i])
	}
	return s, nil
}

// unshare copies what outlives harden.Do: what was allocated there is erased
// one day, which costs.
func (s *snapshot) unshare() {
	secrets := make([]heldSecret, len(s.secrets))
	for i, held := range s.secrets {
		held.name, held.env, held.file = strings.Clone(held.name), strings.Clone(held.env), strings.Clone(held.file)
		secrets[i] = held
	}
	requirements := make([]api.Requirement, len(s.requirements))
	for i, r := range s.requirements {
		requirements[i] = api.Requirement{EnvName: strings.Clone(r.EnvName), FilePath: strings.Clone(r.FilePath), Help: strings.Clone(r.Help)}
	}
	s.secrets, s.requirements = secrets, requirements
}

// value is a secret's value itself, not a copy: it goes with the snapshot.
func (s *snapshot) value(held heldSecret) []byte {
	if s.values == nil {
		return nil
	}
	return s.values.Bytes()[held.start:held.end:held.end]
}

// memory is what the values lie in, see [harden.Buffer].
func (s *snapshot) memory() string {
	if s == nil || s.values == nil {
		return ""
	}
	return s.values.Memory()
}

// same reports whether two snapshots have the same for a workspace, at whichever
// revision: the revision counts changes of keys and of other workspaces as well.
func (s *snapshot) same(other *snapshot) bool {
	if s == nil || other == nil {
		return s == other
	}
	return s.refused == other.refused && slices.Equal(s.requirements, other.requirements) &&
		slices.EqualFunc(s.secrets, other.secrets, func(a, b heldSecret) bool {
			return a.name == b.name && a.env == b.env && a.file == b.file && a.version == b.version && a.without == b.without &&
				bytes.Equal(s.value(a), other.value(b))
		})
}

// close wipes the values. It may be called twice, and on nil.
func (s *snapshot) close() error {
	if s == nil || s.values == nil {
		return nil
	}
	return s.values.Close()
}
