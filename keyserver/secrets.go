package keyserver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (s *Server) listSecrets(ctx context.Context, c *call, _ none) ([]api.Secret, error) {
	all, _, err := s.store.Secrets(ctx, c.owner.ID)
	if err != nil {
		return nil, fmt.Errorf("listing secrets: %w", gone(c, err))
	}
	return wireAll(all, wireSecret), nil
}

func (s *Server) showSecret(ctx context.Context, c *call, _ none) (api.Secret, error) {
	sec, err := s.ownedSecret(ctx, c)
	if err != nil {
		return api.Secret{}, err
	}
	return wireSecret(sec), nil
}

// ownedSecret finds the owner's secret that the path names.
func (s *Server) ownedSecret(ctx context.Context, c *call) (Secret, error) {
	all, _, err := s.store.Secrets(ctx, c.owner.ID)
	if err != nil {
		return Secret{}, fmt.Errorf("looking for a secret: %w", gone(c, err))
	}
	sec, ok := secretNamed(all, c.path("secret"))
	if !ok {
		return Secret{}, noSecret(c)
	}
	return sec, nil
}

func secretNamed(all []Secret, name string) (Secret, bool) {
	for _, sec := range all {
		if sec.Name == name || strings.EqualFold(string(sec.ID), name) {
			return sec, true
		}
	}
	return Secret{}, false
}

func noSecret(c *call) error {
	return refusal(api.ErrNotFound, "list the secrets for their names", "%s has no secret %s", c.owner.Name, shown(c.path("secret")))
}

func (s *Server) createSecret(ctx context.Context, c *call, in api.CreateSecretRequest) (api.Secret, error) {
	value, ok := in.Bytes()
	defer clear(value)
	d, err := s.changeSecrets(ctx, c, "the secret can't be stored", func(d *draft) error {
		if !ok && in.Value == nil {
			d.problems.add("value", "is missing, and so is value_base64: give one of them; it may be empty")
		}
		sec := s.newSecret(d, "", in, value)
		d.event.Target += "/" + sec.Name
		d.event.Detail = secretDetail(sec)
		return nil
	})
	if err != nil {
		return api.Secret{}, err
	}
	return wireSecret(d.edited()[0]), nil
}

// newSecret adds a secret to a draft; value is nil if the request has no good one.
func (s *Server) newSecret(d *draft, at string, in api.CreateSecretRequest, value []byte) Secret {
	s.secretFields(&d.problems, at, api.UpdateSecretRequest{
		Name: &in.Name, Description: &in.Description, EnvName: &in.EnvName, FilePath: &in.FilePath,
		Workspaces: &in.Workspaces, Labels: &in.Labels, SecretValue: in.SecretValue,
	})
	sec := Secret{
		ID: SecretID(newID()), UserID: d.owner.ID, Name: in.Name, Description: in.Description,
		EnvName: in.EnvName, FilePath: in.FilePath, Enabled: in.Enabled == nil || *in.Enabled,
		Workspaces: in.Workspaces, Labels: in.Labels, CreatedAt: d.event.At,
	}
	d.edit(sec, at, slices.Clone(value), 0)
	return d.after[len(d.after)-1]
}

func (s *Server) updateSecret(ctx context.Context, c *call, in api.UpdateSecretRequest) (api.Secret, error) {
	defer clear(in.ValueBase64)
	d, err := s.changeSecrets(ctx, c, "the secret can't be changed", func(d *draft) error {
		sec, ok := d.named(c.path("secret"))
		if !ok {
			return noSecret(c)
		}
		d.event.Target += "/" + sec.Name
		d.event.Detail = s.change(d, "", sec, in)
		return nil
	})
	if err != nil {
		return api.Secret{}, err
	}
	return wireSecret(d.edited()[0]), nil
}

// maxUpdates bounds the changes in one request. No user may have more secrets.
const maxUpdates = 1000

// updateSecrets changes several secrets at once, so that they can swap what
// only one of them may have.
func (s *Server) updateSecrets(ctx context.Context, c *call, in api.UpdateSecretsRequest) ([]api.Secret, error) {
	const message = "the secrets can't be changed"
	defer func() {
		for _, one := range in.Secrets {
			clear(one.ValueBase64)
		}
	}()
	d, err := s.changeSecrets(ctx, c, message, func(d *draft) error {
		if len(in.Secrets) == 0 {
			d.problems.add("secrets", "is missing: there is nothing to change")
		}
		if len(in.Secrets) > maxUpdates {
			return refusal(api.ErrInvalid, "change them in parts", "%s: %d changes in one request; at most %d are allowed", message, len(in.Secrets), maxUpdates)
		}
		var missing problems
		var names []string
		for i, one := range in.Secrets {
			at := fmt.Sprintf("secrets[%d].", i)
			sec, ok := d.named(one.Secret)
			switch {
			case !ok:
				missing.add(at+"secret", "there is no secret %s", shown(one.Secret))
			case slices.Contains(names, sec.Name):
				d.problems.add(at+"secret", "%s is there twice", sec.Name)
			default:
				names = append(names, sec.Name)
				s.change(d, at, sec, one.UpdateSecretRequest)
			}
		}
		if len(missing.list) > 0 {
			return &api.Error{Kind: api.ErrNotFound, Message: message, Detail: "list the secrets for their names", Validations: missing.list}
		}
		d.event.Detail = bounded(fmt.Sprintf("%d secrets", len(names)), names)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return wireAll(d.edited(), wireSecret), nil
}

// change makes on a draft what a request changes of a secret, and says in words
// what that is.
func (s *Server) change(d *draft, at string, sec Secret, in api.UpdateSecretRequest) string {
	s.secretFields(&d.problems, at, in)
	value, _ := in.Bytes()
	value = slices.Clone(value) // the draft wipes it, and there may be another try
	had := sec.EnvName != "" || sec.FilePath != ""
	var changed []string
	changed = set(changed, "name", &sec.Name, in.Name)
	changed = set(changed, "description", &sec.Description, in.Description)
	changed = set(changed, "env_name", &sec.EnvName, in.EnvName)
	changed = set(changed, "file_path", &sec.FilePath, in.FilePath)
	changed = set(changed, "enabled", &sec.Enabled, in.Enabled)
	changed = set(changed, "workspaces", &sec.Workspaces, in.Workspaces)
	changed = set(changed, "labels", &sec.Labels, in.Labels)
	if value != nil {
		changed = append(changed, "value")
	}
	if len(changed) == 0 && len(d.problems.list) == 0 {
		d.problems.add(at+"value", "is missing, and so is every other field: there is nothing to change")
	}
	// Whoever takes the last target away wants it delivered nowhere, which is
	// what disabled means. It shows in the answer.
	if had && sec.EnvName == "" && sec.FilePath == "" && in.Enabled == nil {
		sec.Enabled = false
	}
	d.edit(sec, at, value, 0)
	now := *d.secret(sec.ID)
	return strings.Join(changed, ", ") + ": " + secretDetail(now)
}

// set gives a field the value that a request has for it, and notes which.
func set[T any](changed []string, field string, to *T, from *T) []string {
	if from == nil {
		return changed
	}
	*to = *from
	return append(changed, field)
}

func (s *Server) deleteSecret(ctx context.Context, c *call, _ none) (none, error) {
	_, err := s.changeSecrets(ctx, c, "the secret can't be deleted", func(d *draft) error {
		sec, ok := d.named(c.path("secret"))
		if !ok {
			return noSecret(c)
		}
		d.event.Target += "/" + sec.Name
		d.deleted = []SecretID{sec.ID}
		d.after = slices.DeleteFunc(d.after, func(o Secret) bool { return o.ID == sec.ID })
		return nil
	})
	return none{}, err
}

// secretDetail is a secret in the audit log.
func secretDetail(sec Secret) string {
	var parts []string
	if sec.EnvName != "" {
		parts = append(parts, "env "+sec.EnvName)
	}
	if sec.FilePath != "" {
		parts = append(parts, "file "+sec.FilePath)
	}
	if !sec.Enabled {
		parts = append(parts, "disabled")
	}
	if n := len(sec.Workspaces) + len(sec.Labels); n > 0 {
		parts = append(parts, fmt.Sprintf("limited by %d workspaces and labels", n))
	}
	return bounded(fmt.Sprintf("version %d", sec.Version), parts)
}

// maxDetail bounds a list in the detail of an event, in bytes.
const maxDetail = 2 << 10

// bounded is a list behind what it is of, cut to maxDetail with the number of
// what is left out.
func bounded(of string, list []string) string {
	var b strings.Builder
	b.WriteString(of)
	sep := ": "
	for i, one := range list {
		if b.Len()+len(sep)+len(one) > maxDetail {
			fmt.Fprintf(&b, "%sand %d more", sep, len(list)-i)
			break
		}
		b.WriteString(sep + one)
		sep = ", "
	}
	return b.String()
}
