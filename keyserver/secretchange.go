package keyserver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey/latchkey/keyserver/api"
)

// changeTries bounds how often a change of a user's secrets is thought out
// again, because another server, or a change of the user's keys or workspaces,
// came in between.
const changeTries = 20

// errStale is in the errors of a draft that is not about what is stored now.
var errStale = errors.New("the secrets were changed at the same time")

// A draft is a user's secrets as they would be after a request.
type draft struct {
	owner   User
	before  []Secret
	after   []Secret
	edits   []edit
	deleted []SecretID

	problems problems
	message  string // of the refusal, if there are problems
	event    Event
}

// An edit is one secret that a draft makes or changes.
type edit struct {
	id      SecretID
	at      string    // where it is in the request: stands before the names of fields
	value   plaintext // the new value, if reveal is not nil
	repeats int64     // the version that the new value repeats; 0: none
}

// secret is a secret as it would be, nil if there is none of that ID.
func (d *draft) secret(id SecretID) *Secret {
	if i := slices.IndexFunc(d.after, func(sec Secret) bool { return sec.ID == id }); i >= 0 {
		return &d.after[i]
	}
	return nil
}

// was is a secret as it is stored, zero if it is new.
func (d *draft) was(id SecretID) Secret {
	for _, sec := range d.before {
		if sec.ID == id {
			return sec
		}
	}
	return Secret{}
}

// named finds a secret as it is stored, by name or ID.
func (d *draft) named(name string) (Secret, bool) { return secretNamed(d.before, name) }

// edit notes that a secret is made or changed; value is nil if it stays.
func (d *draft) edit(sec Secret, at string, value []byte, repeats int64) {
	sec.UpdatedAt = d.event.At
	e := edit{id: sec.ID, at: at, repeats: repeats}
	if value != nil {
		sec.Version++
		sec.Size = int64(len(value))
		e.value = newPlaintext(value)
	}
	if old := d.secret(sec.ID); old != nil {
		*old = sec
	} else {
		d.after = append(d.after, sec)
	}
	d.edits = append(d.edits, e)
}

// edited are the secrets that were made or changed, in the request's order.
func (d *draft) edited() []Secret {
	out := make([]Secret, len(d.edits))
	for i, e := range d.edits {
		out[i] = *d.secret(e.id)
	}
	return out
}

// wipe overwrites the new values.
func (d *draft) wipe() {
	for _, e := range d.edits {
		if e.value.reveal != nil {
			e.value.wipe()
		}
	}
}

// changeSecrets makes a change of the owner's secrets: think makes it on a
// draft of what is stored, again if another change comes first. The draft that
// was stored is returned.
func (s *Server) changeSecrets(ctx context.Context, c *call, message string, think func(*draft) error) (*draft, error) {
	unlock, err := s.writers.lock(ctx, c.owner.ID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for range changeTries {
		d, err := s.tryChange(ctx, c, message, think)
		if !errors.Is(err, errStale) {
			return d, err
		}
	}
	return nil, refusal(api.ErrConflict, "try again", "%s: %s", message, errStale)
}

// tryChange is one try of changeSecrets: its error is an errStale if another
// change came first.
func (s *Server) tryChange(ctx context.Context, c *call, message string, think func(*draft) error) (*draft, error) {
	have, revision, err := s.store.Secrets(ctx, c.owner.ID)
	if err != nil {
		return nil, fmt.Errorf("listing secrets: %w", gone(c, err))
	}
	d := &draft{owner: c.owner, before: have, after: slices.Clone(have), message: message, event: c.event(c.owner.Name)}
	defer d.wipe()
	if err := think(d); err != nil {
		return nil, err
	}
	if err := s.checkDraft(ctx, d); err != nil {
		return nil, err
	}
	change, err := s.sealDraft(d)
	if err != nil {
		return nil, err
	}
	switch err := s.store.ChangeSecrets(ctx, c.owner.ID, revision, change, d.event); {
	case errors.Is(err, api.ErrConflict):
		return nil, errStale
	case err != nil:
		return nil, fmt.Errorf("storing secrets: %w", gone(c, err))
	}
	return d, nil
}

// gone says that there is no user any more, if that is what the store says.
func gone(c *call, err error) error {
	if errors.Is(err, api.ErrNotFound) {
		return refusal(api.ErrNotFound, "", "there is no user %s", c.owner.Name)
	}
	return err
}

// checkDraft tells all problems at once: first those that each secret has by
// itself, then what is taken, then the limits of all together.
func (s *Server) checkDraft(ctx context.Context, d *draft) error {
	p := &d.problems
	for _, e := range d.edits {
		sec, was := *d.secret(e.id), d.was(e.id)
		value, err := s.valueToCheck(ctx, d, e, sec, was)
		if err != nil {
			return err
		}
		p.target(e.at, sec)
		s.value(p, e.at, sec, was, value)
		if e.value.reveal == nil {
			clear(value)
		}
	}
	if err := p.err(d.message); err != nil {
		return err
	}
	for _, e := range d.edits {
		clashes(p, e.at, *d.secret(e.id), d.after)
	}
	if len(p.list) > 0 {
		return &api.Error{Kind: api.ErrConflict, Message: d.message, Detail: "nothing was changed: choose what is free, or change the other secret", Validations: p.list}
	}
	field := "value"
	if len(d.edits) > 0 {
		field = d.edits[len(d.edits)-1].at + field
	}
	s.totals(p, field, d.before, d.after)
	return p.err(d.message)
}

// valueToCheck is the new value of a secret, or the current one if that is to
// become an environment variable; else nil.
func (s *Server) valueToCheck(ctx context.Context, d *draft, e edit, sec, was Secret) ([]byte, error) {
	if e.value.reveal != nil {
		return e.value.reveal(), nil
	}
	if was.ID == "" || sec.EnvName == "" || was.EnvName != "" {
		return nil, nil
	}
	values, err := s.store.SecretValues(ctx, sec.ID)
	if err != nil {
		return nil, fmt.Errorf("reading a secret: %w", err)
	}
	i := slices.IndexFunc(values, func(v SecretValue) bool { return v.Version == sec.Version })
	if i < 0 {
		return nil, errStale
	}
	data, err := s.sealer.dataKey(d.owner)
	if err != nil {
		return nil, err
	}
	value, err := data.openSecret(values[i])
	if err != nil {
		return nil, err
	}
	return value.reveal(), nil
}

// sealDraft is the change that makes a draft.
func (s *Server) sealDraft(d *draft) (SecretChange, error) {
	change := SecretChange{Delete: d.deleted, Keep: s.limits.Versions}
	if len(d.edits) == 0 {
		return change, nil
	}
	data, err := s.sealer.dataKey(d.owner)
	if err != nil {
		return change, err
	}
	for _, e := range d.edits {
		sec := *d.secret(e.id)
		change.Put = append(change.Put, sec)
		if e.value.reveal == nil {
			continue
		}
		v := SecretValue{Secret: sec.ID, Version: sec.Version, Size: sec.Size, CreatedAt: d.event.At, RolledBackTo: e.repeats}
		if v.Sealed, err = data.sealSecret(v, e.value); err != nil {
			return change, err
		}
		change.Values = append(change.Values, v)
	}
	return change, nil
}
