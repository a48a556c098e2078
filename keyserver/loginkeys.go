package keyserver

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
)

const (
	maxLoginKeys    = 100 // of a user
	maxLoginKeyLine = 16 << 10
	minLoginRSABits = 2048 // what OpenSSH takes is less: RequiredRSASize is 1024
	maxLoginRSABits = 16384
)

func (s *Server) listLoginKeys(ctx context.Context, c *call, _ none) ([]api.LoginKey, error) {
	keys, err := s.store.LoginKeys(ctx, c.owner.ID)
	if err != nil {
		return nil, fmt.Errorf("listing login keys: %w", err)
	}
	return wireAll(keys, wireLoginKey), nil
}

func (s *Server) createLoginKey(ctx context.Context, c *call, in api.CreateLoginKeyRequest) (api.LoginKey, error) {
	var p problems
	public, comment := p.loginKey("public_key", in.PublicKey)
	if in.Name == "" && public != nil {
		in.Name = loginKeyName(public, comment)
	}
	if in.Name != "" || public != nil {
		p.name("name", in.Name)
	}
	if err := p.err("the login key can't be added"); err != nil {
		return api.LoginKey{}, err
	}
	k := LoginKey{UserID: c.owner.ID, Name: in.Name, PublicKey: public.Marshal(), Fingerprint: ssh.FingerprintSHA256(public), CreatedAt: c.at}
	unlock, err := s.writers.lock(ctx, c.owner.ID)
	if err != nil {
		return api.LoginKey{}, err
	}
	defer unlock()
	all, err := s.store.LoginKeys(ctx, c.owner.ID)
	if err != nil {
		return api.LoginKey{}, fmt.Errorf("listing login keys: %w", err)
	}
	if i := slices.IndexFunc(all, func(old LoginKey) bool { return old.Fingerprint == k.Fingerprint }); i >= 0 {
		return api.LoginKey{}, taken("public_key", "%s has this login key already, under the name %s", c.owner.Name, all[i].Name)
	}
	if slices.ContainsFunc(all, func(old LoginKey) bool { return old.Name == k.Name }) {
		return api.LoginKey{}, taken("name", "%s has a login key %s already", c.owner.Name, k.Name)
	}
	if len(all) >= maxLoginKeys {
		return api.LoginKey{}, refusal(api.ErrConflict, "delete one", "%s has %d login keys, which is the most", c.owner.Name, len(all))
	}
	switch err := s.store.CreateLoginKey(ctx, k, c.loginKeyEvent(k)); {
	case errors.Is(err, api.ErrConflict):
		return api.LoginKey{}, taken("name", "%s has a login key of that name, or the same key, already", c.owner.Name)
	case errors.Is(err, api.ErrNotFound):
		return api.LoginKey{}, refusal(api.ErrNotFound, "", "there is no user %s", c.owner.Name)
	case err != nil:
		return api.LoginKey{}, fmt.Errorf("storing login key %s: %w", k.Name, err)
	}
	return wireLoginKey(k), nil
}

func (s *Server) deleteLoginKey(ctx context.Context, c *call, _ none) (none, error) {
	missing := refusal(api.ErrNotFound, "", "%s has no login key %s", c.owner.Name, shown(c.path("loginkey")))
	all, err := s.store.LoginKeys(ctx, c.owner.ID)
	if err != nil {
		return none{}, fmt.Errorf("listing login keys: %w", err)
	}
	for _, k := range all {
		if k.Name != c.path("loginkey") {
			continue
		}
		err := s.store.DeleteLoginKey(ctx, c.owner.ID, k.Name, c.loginKeyEvent(k))
		if errors.Is(err, api.ErrNotFound) {
			return none{}, missing
		}
		if err != nil {
			return none{}, fmt.Errorf("deleting login key %s: %w", k.Name, err)
		}
		return none{}, nil
	}
	return none{}, missing
}

func (c *call) loginKeyEvent(k LoginKey) Event {
	e := c.event(c.owner.Name + "/" + k.Name)
	e.Detail = k.Fingerprint
	return e
}

// loginKey checks a login key: one line of authorized_keys without options, of a
// kind that OpenSSH takes today. It returns nil if there is a problem.
func (p *problems) loginKey(field, line string) (ssh.PublicKey, string) {
	line = strings.TrimSpace(line)
	switch {
	case line == "":
		p.add(field, "is missing")
		return nil, ""
	case strings.Contains(line, "PRIVATE KEY"):
		p.add(field, "is a private key, which should be nobody's but yours: give the public one, of the file that ends in .pub")
		return nil, ""
	case len(line) > maxLoginKeyLine || strings.ContainsAny(line, "\r\n"):
		p.add(field, "must be one line of %d bytes at most", maxLoginKeyLine)
		return nil, ""
	}
	key, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
	switch {
	case err != nil:
		p.add(field, "is not a public key, such as: ssh-ed25519 AAAAC3… me@laptop")
	case len(options) > 0:
		p.add(field, "has options, which would not be kept: give the key without them")
	default:
		if why := unfitLoginKey(key); why != "" {
			p.add(field, "%s", why)
			return nil, ""
		}
		return key, comment
	}
	return nil, ""
}

// unfitLoginKey says why a key may not be a login key, "" if it may.
func unfitLoginKey(key ssh.PublicKey) string {
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return ""
	case ssh.KeyAlgoRSA:
		if public, ok := key.(ssh.CryptoPublicKey).CryptoPublicKey().(*rsa.PublicKey); ok {
			if bits := public.N.BitLen(); bits < minLoginRSABits || bits > maxLoginRSABits {
				return fmt.Sprintf("is an RSA key of %d bits; %d to %d are taken", bits, minLoginRSABits, maxLoginRSABits)
			}
			return ""
		}
	}
	if _, ok := key.(*ssh.Certificate); ok {
		return "is a certificate; give the public key that it is for"
	}
	return "is of the kind " + key.Type() + ", which is not taken"
}

// loginKeyName is what a key is called if nobody says: by its comment, such as
// me@laptop, or else by some of its hash.
func loginKeyName(key ssh.PublicKey, comment string) string {
	if validName(comment) {
		return comment
	}
	sum := sha256.Sum256(key.Marshal())
	return "key-" + hex.EncodeToString(sum[:4])
}

func wireLoginKey(k LoginKey) api.LoginKey {
	return api.LoginKey{Name: k.Name, PublicKey: bareLine(k.PublicKey), Fingerprint: k.Fingerprint, CreatedAt: k.CreatedAt}
}

// bareLine is a public key as a line of authorized_keys, without comment and
// newline.
func bareLine(public []byte) string {
	key, err := ssh.ParsePublicKey(public)
	if err != nil {
		return "" // it was checked when it was stored
	}
	return string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(key)))
}
