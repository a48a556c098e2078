package keyserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/keyserver/api"
)

// fetchSecrets answers with the workspace's secrets, sealed to the recipient.
// That they were fetched is on record before.
func (s *Server) fetchSecrets(ctx context.Context, c *call, in api.FetchSecretsRequest) ([]byte, error) {
	var p problems
	if len(in.Recipient) != recipientSize {
		p.add("recipient", "must be the %d bytes of an X25519 public key", recipientSize)
	}
	const message = "no secrets can be fetched"
	if err := p.err(message); err != nil {
		return nil, err
	}
	out, wipe, err := s.workspaceSecrets(ctx, c, func(b []byte) api.SecretValue { return api.SecretValue{ValueBase64: b} })
	if err != nil {
		return nil, err
	}
	defer wipe()
	// As in fetchKey, sealing and recording go side by side.
	var sealed []byte
	var sealing sync.WaitGroup
	sealing.Go(func() { sealed, err = sealSecrets(in.Recipient, out) })
	unrecorded := s.recordDelivery(ctx, c, out, "sealed")
	sealing.Wait()
	if unrecorded != nil {
		return nil, unrecorded
	}
	if errors.Is(err, api.ErrInvalid) { // a point of low order: no secret can be shared with it
		e := c.event(c.owner.Name + "/" + c.workspace.Name)
		e.Result, e.Detail = Failed, "the secrets can't be sealed to the recipient"
		if err := s.record(ctx, e); err != nil {
			return nil, err
		}
		p.add("recipient", "is not an X25519 public key")
		return nil, p.err(message)
	}
	return sealed, err
}

func sealSecrets(recipient []byte, out api.WorkspaceSecrets) ([]byte, error) {
	text, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encoding secrets: %w", err)
	}
	defer clear(text)
	return api.SealSecrets(recipient, text)
}

// showSecrets answers with the workspace's secrets as scripts want them.
func (s *Server) showSecrets(ctx context.Context, c *call, _ none) (api.WorkspaceSecrets, error) {
	// The values are a part of the answer, so they are not wiped here.
	out, _, err := s.workspaceSecrets(ctx, c, api.NewSecretValue)
	if err != nil {
		return api.WorkspaceSecrets{}, err
	}
	return out, s.recordDelivery(ctx, c, out, "as JSON")
}

// workspaceSecrets opens what a workspace is given. A value that does not open
// takes no other away: it is on record, and in the answer by name.
func (s *Server) workspaceSecrets(ctx context.Context, c *call, form func([]byte) api.SecretValue) (out api.WorkspaceSecrets, wipe func(), err error) {
	all, values, revision, err := s.store.CurrentValues(ctx, c.user.ID)
	if err != nil {
		return out, nil, fmt.Errorf("reading the secrets: %w", gone(c, err))
	}
	// The workspace as it was before the secrets were read could be delivered
	// under a revision that is too new, and so stay. As it is afterwards, what
	// is told under a revision that is too old is fetched again.
	w, err := s.store.Workspace(ctx, c.workspace.ID)
	if errors.Is(err, api.ErrNotFound) {
		return out, nil, fmt.Errorf("the workspace was deleted: %w", api.ErrUnauthenticated)
	}
	if err != nil {
		return out, nil, fmt.Errorf("reading the workspace: %w", err)
	}
	out = api.WorkspaceSecrets{
		Revision: revision, Refused: w.RefuseSecrets,
		Secrets: []api.DeliveredSecret{}, Requirements: listed(w.Requirements),
	}
	opened, err := s.openSecrets(ctx, c, all, values, func(sec Secret) bool { return sec.goesTo(w) })
	if err != nil {
		return out, nil, err
	}
	out.Damaged = opened.damaged
	for _, o := range opened.list {
		out.Secrets = append(out.Secrets, api.DeliveredSecret{
			ID: string(o.ID), Name: o.Name, EnvName: o.EnvName, FilePath: o.FilePath, Version: o.Version,
			SecretValue: form(o.value.reveal()),
		})
	}
	return out, opened.wipe, nil
}

// goesTo reports whether a workspace is given a secret.
func (sec Secret) goesTo(w Workspace) bool {
	return sec.Enabled && (sec.EnvName != "" || sec.FilePath != "") && !w.RefuseSecrets && sec.covers(w)
}

// covers reports whether a workspace is one of those that a secret is limited to,
// if it is.
func (sec Secret) covers(w Workspace) bool {
	if len(sec.Workspaces) == 0 && len(sec.Labels) == 0 {
		return true
	}
	if slices.Contains(sec.Workspaces, w.Name) {
		return true
	}
	return slices.ContainsFunc(sec.Labels, func(l string) bool { return slices.Contains(w.Labels, l) })
}

// recordDelivery must succeed before the secrets leave. A token that was
// revoked before that is refused, as the store would refuse a change with it.
func (s *Server) recordDelivery(ctx context.Context, c *call, out api.WorkspaceSecrets, form string) error {
	names := make([]string, len(out.Secrets))
	for i, sec := range out.Secrets {
		names[i] = sec.Name
	}
	of := fmt.Sprintf("revision %d, %s, %d secrets", out.Revision, form, len(names))
	if out.Refused {
		of = fmt.Sprintf("revision %d: the workspace takes no user secrets", out.Revision)
	}
	e := c.event(c.owner.Name + "/" + c.workspace.Name)
	e.Detail = bounded(of, names)
	if err := s.record(ctx, e); err != nil {
		return err
	}
	_, err := s.authenticate(ctx, c.http)
	return err
}

// openedSecrets are secrets with their current values.
type openedSecrets struct {
	list    []openedSecret
	damaged []string // by name: those that do not open
}

type openedSecret struct {
	Secret
	value plaintext
}

func (o openedSecrets) wipe() {
	for _, one := range o.list {
		one.value.wipe()
	}
}

// openSecrets opens the current values of those secrets that are wanted. That
// one does not open is on record: somebody may have changed the store.
func (s *Server) openSecrets(ctx context.Context, c *call, all []Secret, values []SecretValue, wanted func(Secret) bool) (out openedSecrets, err error) {
	failed := func(detail string) error {
		e := c.event(c.owner.Name)
		e.Result, e.Detail = Failed, detail
		return s.record(ctx, e)
	}
	data, err := s.sealer.dataKey(c.owner)
	if err != nil {
		return out, errors.Join(err, failed("the data key does not open"))
	}
	for i, sec := range all {
		if !wanted(sec) {
			continue
		}
		// The version is the secret's, not the value's own.
		v := values[i]
		v.Secret, v.Version = sec.ID, sec.Version
		value, err := data.openSecret(v)
		if err != nil {
			out.damaged = append(out.damaged, sec.Name)
			continue
		}
		out.list = append(out.list, openedSecret{sec, value})
	}
	if len(out.damaged) > 0 {
		if err := failed(bounded("does not open", out.damaged)); err != nil {
			out.wipe()
			return out, err
		}
		s.log.ErrorContext(ctx, "stored secrets do not open", "user", c.owner.ID, "secrets", strings.Join(out.damaged, " "))
	}
	return out, nil
}
