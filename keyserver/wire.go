package keyserver

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// Stored records and wire types are different types, so no answer has a field
// that a sealed value could be left in.

func wireUser(u User) api.User {
	return api.User{ID: string(u.ID), Name: u.Name, Role: u.Role, Disabled: u.Disabled, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt}
}

func (s *Server) wireKey(c *call, k Key) api.Key {
	owner := c.owner
	return api.Key{
		UserID: string(k.UserID), Name: k.Name, Algorithm: k.Algorithm, Generation: k.Generation,
		PublicKey: publicLine(owner, k), Fingerprint: k.Fingerprint, Imported: k.Imported,
		CreatedAt: k.CreatedAt, UpdatedAt: k.UpdatedAt, ExpiresAt: optional(k.ExpiresAt),
		LastFetchedAt: optional(k.LastFetchedAt), LastFetchedBy: string(k.LastFetchedBy),
		Mode: s.keyMode(c.caller, k), Policy: wirePolicy(k.Settings),
	}
}

func wireWorkspace(w Workspace) api.Workspace {
	return api.Workspace{
		ID: string(w.ID), UserID: string(w.UserID), Name: w.Name, CreatedAt: w.CreatedAt,
		Labels: listed(w.Labels), RefuseSecrets: w.RefuseSecrets, Requirements: listed(w.Requirements),
		KeyMode: wireMode(w.KeyMode),
		HostKey: bareLine(w.HostKey),
	}
}

func wireSecret(sec Secret) api.Secret {
	return api.Secret{
		ID: string(sec.ID), Name: sec.Name, Description: sec.Description,
		EnvName: sec.EnvName, FilePath: sec.FilePath, Enabled: sec.Enabled,
		Workspaces: listed(sec.Workspaces), Labels: listed(sec.Labels),
		Version: sec.Version, Size: sec.Size, CreatedAt: sec.CreatedAt, UpdatedAt: sec.UpdatedAt,
	}
}

func wireToken(t Token) api.TokenInfo {
	return api.TokenInfo{
		ID: string(t.ID), Kind: t.Kind, UserID: string(t.UserID), WorkspaceID: string(t.WorkspaceID),
		Description: t.Description, CreatedAt: t.CreatedAt,
		ExpiresAt: optional(t.ExpiresAt), RevokedAt: optional(t.RevokedAt),
	}
}

// wireAll is never nil, so that an empty list is [] in JSON.
func wireAll[S, W any](stored []S, wire func(S) W) []W {
	out := make([]W, len(stored))
	for i, s := range stored {
		out[i] = wire(s)
	}
	return out
}

// listed is list, and not nil, so that an empty one is [] in JSON.
func listed[T any](list []T) []T { return append([]T{}, list...) }

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// publicLine is a key as a line of authorized_keys, without the newline.
func publicLine(owner User, k Key) string {
	kind := k.PublicKey
	if len(kind) >= 4 { // the wire form begins with the kind and its length
		if n := binary.BigEndian.Uint32(kind); int64(n) <= int64(len(kind)-4) {
			kind = kind[4 : 4+n]
		}
	}
	var line bytes.Buffer
	line.Write(kind)
	line.WriteByte(' ')
	line.WriteString(base64.StdEncoding.EncodeToString(k.PublicKey))
	line.WriteString(" " + comment(owner, k))
	return line.String()
}

// comment tells a key from others in a list: "latchkey:alice", or
// "latchkey:alice/work" if it is not the default key.
func comment(owner User, k Key) string {
	c := "latchkey:" + owner.Name
	if k.Name != api.DefaultKey {
		c += "/" + k.Name
	}
	return c
}
