package keyserver

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A workspace's host key is made when somebody first asks for it, is Ed25519,
// and lasts as long as the workspace: what it is known by must not change when
// the workspace is built anew.

// workspaceHostKey is for the workspace's user, who wants to know the key before
// they first log in.
func (s *Server) workspaceHostKey(ctx context.Context, c *call, _ none) (api.HostKey, error) {
	w, err := s.ownedWorkspace(ctx, c)
	if err != nil {
		return api.HostKey{}, err
	}
	return s.hostKey(ctx, c, w)
}

// ownHostKey is for the workspace itself.
func (s *Server) ownHostKey(ctx context.Context, c *call, _ none) (api.HostKey, error) {
	return s.hostKey(ctx, c, c.workspace)
}

// hostKey is a workspace's host key, made now if there is none.
func (s *Server) hostKey(ctx context.Context, c *call, w Workspace) (api.HostKey, error) {
	if len(w.HostKey) == 0 {
		err := s.makeHostKey(ctx, c, w)
		if errors.Is(err, api.ErrNotFound) {
			return api.HostKey{}, refusal(api.ErrNotFound, "", "there is no workspace %s any more", w.Name)
		}
		if err != nil && !errors.Is(err, api.ErrConflict) { // somebody else has just made it
			return api.HostKey{}, fmt.Errorf("making the host key of workspace %s: %w", w.Name, err)
		}
		if w, err = s.store.Workspace(ctx, w.ID); err != nil {
			return api.HostKey{}, fmt.Errorf("looking for the host key of workspace %s: %w", w.Name, err)
		}
	}
	return wireHostKey(w.HostKey), nil
}

func (s *Server) makeHostKey(ctx context.Context, c *call, w Workspace) error {
	data, err := s.sealer.dataKey(c.owner)
	if err != nil {
		return err
	}
	pair, err := s.newKeyPair(ctx, api.Ed25519)
	if err != nil {
		return err
	}
	defer pair.discard()
	sealed, err := data.sealHostKey(w.ID, pair.private)
	if err != nil {
		return err
	}
	return s.store.CreateHostKey(ctx, w.ID, pair.public, sealed, c.hostKeyEvent(w, pair.public))
}

// fetchHostKey answers with the workspace's private host key, sealed to the
// recipient. That it was fetched is on record before.
func (s *Server) fetchHostKey(ctx context.Context, c *call, in api.FetchKeyRequest) ([]byte, error) {
	var p problems
	if len(in.Recipient) != recipientSize {
		p.add("recipient", "must be the %d bytes of an X25519 public key", recipientSize)
	}
	if err := p.err("the host key can't be fetched"); err != nil {
		return nil, err
	}
	w := c.workspace
	if len(w.HostKey) == 0 || wireHostKey(w.HostKey).Fingerprint != in.Fingerprint {
		return nil, &denial{refusal(api.ErrNotFound, "ask which it is, by PUT", "the workspace %s has no host key %s", w.Name, shown(in.Fingerprint))}
	}
	private, err := s.openHostKey(ctx, c)
	if err != nil {
		return nil, err
	}
	defer private.wipe()
	sealed, err := api.SealPrivateKey(in.Recipient, in.Fingerprint, private.reveal())
	e := c.hostKeyEvent(w, w.HostKey)
	if err != nil { // a point of low order: no secret can be shared with it
		e.Result, e.Detail = Failed, e.Detail+": it can't be sealed to the recipient"
		p.add("recipient", "is not an X25519 public key")
	}
	if err := s.record(ctx, e); err != nil {
		return nil, err
	}
	return sealed, p.err("the host key can't be fetched")
}

// openHostKey opens the workspace's private host key. That it does not open is
// on record.
func (s *Server) openHostKey(ctx context.Context, c *call) (plaintext, error) {
	stored, err := s.store.SealedHostKey(ctx, c.workspace.ID)
	if err != nil {
		return plaintext{}, fmt.Errorf("reading the host key of workspace %s: %w", c.workspace.Name, err)
	}
	data, err := s.sealer.dataKey(c.user)
	var private plaintext
	if err == nil {
		private, err = data.openHostKey(c.workspace.ID, stored)
	}
	if err == nil {
		return private, nil
	}
	e := c.hostKeyEvent(c.workspace, c.workspace.HostKey)
	e.Result, e.Detail = Failed, e.Detail+": it does not open"
	return plaintext{}, errors.Join(err, s.record(ctx, e))
}

// showSSH says whom the workspace's SSH server lets in.
func (s *Server) showSSH(ctx context.Context, c *call, _ none) (api.SSHAccess, error) {
	keys, err := s.store.LoginKeys(ctx, c.user.ID)
	if err != nil {
		return api.SSHAccess{}, fmt.Errorf("listing login keys: %w", err)
	}
	return api.SSHAccess{User: c.user.Name, LoginKeys: wireAll(keys, wireLoginKey)}, nil
}

func (c *call) hostKeyEvent(w Workspace, public []byte) Event {
	e := c.event(c.owner.Name + "/" + w.Name)
	e.Detail = wireHostKey(public).Fingerprint
	return e
}

func wireHostKey(public []byte) api.HostKey {
	key, err := ssh.ParsePublicKey(public)
	if err != nil {
		return api.HostKey{} // ours
	}
	return api.HostKey{PublicKey: bareLine(public), Fingerprint: ssh.FingerprintSHA256(key)}
}
