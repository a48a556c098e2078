package keyserver

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (s *Server) listSecretVersions(ctx context.Context, c *call, _ none) ([]api.SecretVersion, error) {
	sec, err := s.ownedSecret(ctx, c)
	if err != nil {
		return nil, err
	}
	values, err := s.store.SecretValues(ctx, sec.ID)
	if err != nil {
		return nil, fmt.Errorf("listing the versions of a secret: %w", err)
	}
	return wireAll(values, func(v SecretValue) api.SecretVersion {
		// The newest is the current one, also if a change came in between.
		return api.SecretVersion{
			Version: v.Version, Size: v.Size, CreatedAt: v.CreatedAt,
			Current: v.Version == values[0].Version, RolledBackTo: v.RolledBackTo,
		}
	}), nil
}

// rollbackSecret makes a new version of an earlier value. It is sealed anew: a
// sealed value opens as the version that it was sealed as, and no other.
func (s *Server) rollbackSecret(ctx context.Context, c *call, in api.RollbackSecretRequest) (api.Secret, error) {
	var p problems
	if in.Version < 0 {
		p.add("version", "must be 1 or more, or 0 for the one before the current one")
	}
	const message = "the secret can't be rolled back"
	if err := p.err(message); err != nil {
		return api.Secret{}, err
	}
	d, err := s.changeSecrets(ctx, c, message, func(d *draft) error {
		sec, ok := d.named(c.path("secret"))
		if !ok {
			return noSecret(c)
		}
		v, err := s.earlierValue(ctx, sec, in.Version)
		if err != nil {
			return err
		}
		d.event.Target += "/" + sec.Name
		value, err := s.openEarlier(ctx, d, v)
		if err != nil {
			return err
		}
		d.edit(sec, "", value.reveal(), v.Version)
		d.event.Detail = fmt.Sprintf("to version %d, as version %d", v.Version, sec.Version+1)
		return nil
	})
	if err != nil {
		return api.Secret{}, err
	}
	return wireSecret(d.edited()[0]), nil
}

// earlierValue finds a version of a secret's value; 0 is the one before the
// current one.
func (s *Server) earlierValue(ctx context.Context, sec Secret, version int64) (SecretValue, error) {
	if version == sec.Version {
		return SecretValue{}, refusal(api.ErrInvalid, "list the versions", "version %d is the current one", version)
	}
	values, err := s.store.SecretValues(ctx, sec.ID)
	if err != nil {
		return SecretValue{}, fmt.Errorf("looking for a version of a secret: %w", err)
	}
	for _, v := range values { // newest first
		if v.Version == version || version == 0 && v.Version < sec.Version {
			return v, nil
		}
	}
	if version == 0 {
		return SecretValue{}, refusal(api.ErrNotFound, "list the versions", "secret %s has no earlier version", sec.Name)
	}
	return SecretValue{}, refusal(api.ErrNotFound, "list the versions: only the newest are kept", "secret %s has no version %d", sec.Name, version)
}

// openEarlier opens a value. That it does not open is on record.
func (s *Server) openEarlier(ctx context.Context, d *draft, v SecretValue) (plaintext, error) {
	data, err := s.sealer.dataKey(d.owner)
	var value plaintext
	if err == nil {
		value, err = data.openSecret(v)
	}
	if err == nil {
		return value, nil
	}
	e := d.event
	e.Result, e.Detail = Failed, fmt.Sprintf("version %d does not open", v.Version)
	return plaintext{}, errors.Join(err, s.record(ctx, e))
}
