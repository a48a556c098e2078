package keyserver

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/keyserver/knownhost"
)

const (
	maxHosts      = 200 // in a policy
	maxNamespaces = 50
	maxUsable     = 10 * 365 * 24 * 60 * 60
)

// keyMode is how a key serves a caller.
func (s *Server) keyMode(c caller, k Key) api.KeyMode {
	return api.Strictest(s.mode, k.Settings.Mode, c.workspace.KeyMode)
}

func (k KeySettings) policy() api.KeyPolicy {
	return api.KeyPolicy{Hosts: k.Hosts, Namespaces: k.Namespaces, RefuseForwarded: k.RefuseForwarded, UsableUntil: optional(k.UsableUntil)}
}

// updateKey changes how a key serves and what it signs.
func (s *Server) updateKey(ctx context.Context, c *call, in api.UpdateKeyRequest) (api.Key, error) {
	k, _, err := s.currentKey(ctx, c)
	if err != nil {
		return api.Key{}, err
	}
	var changed []string
	changed = set(changed, "mode", &k.Settings.Mode, in.Mode)
	changed = set(changed, "hosts", &k.Settings.Hosts, in.Hosts)
	changed = set(changed, "namespaces", &k.Settings.Namespaces, in.Namespaces)
	changed = set(changed, "refuse_forwarded", &k.Settings.RefuseForwarded, in.RefuseForwarded)
	var p problems
	if in.UsableSeconds != nil {
		changed = append(changed, "usable_seconds")
		p.seconds("usable_seconds", *in.UsableSeconds, maxUsable)
		k.Settings.UsableUntil = time.Time{}
		if *in.UsableSeconds != 0 {
			k.Settings.UsableUntil = c.at.Add(time.Duration(*in.UsableSeconds) * time.Second)
		}
	}
	if len(changed) == 0 {
		p.add("mode", "is missing, and so are hosts, namespaces, refuse_forwarded and usable_seconds: there is nothing to change")
	}
	p.keyMode("mode", k.Settings.Mode)
	p.hosts("hosts", k.Settings.Hosts)
	p.namespaces("namespaces", k.Settings.Namespaces)
	if err := p.err("the key can't be changed"); err != nil {
		return api.Key{}, err
	}
	e := c.keyEvent(k)
	e.Detail = settingsDetail(k.Settings)
	switch err := s.store.UpdateKey(ctx, c.owner.ID, k.Name, k.Settings, e); {
	case errors.Is(err, api.ErrConflict):
		return api.Key{}, refusal(api.ErrConflict, "look at the key and try again", "key %s was changed at the same time", k.Name)
	case errors.Is(err, api.ErrNotFound):
		return api.Key{}, noKey(c)
	case err != nil:
		return api.Key{}, fmt.Errorf("storing the settings of key %s: %w", k.Name, err)
	}
	return s.wireKey(c, k), nil
}

// settingsDetail is what a key is set to, in the audit log.
func settingsDetail(set KeySettings) string {
	text := "mode " + string(api.Strictest(set.Mode))
	if set.RefuseForwarded {
		text += ", refuses forwarded use"
	}
	if !set.UsableUntil.IsZero() {
		text += ", usable until " + set.UsableUntil.Format(time.RFC3339)
	}
	if len(set.Namespaces) > 0 {
		text += ", namespaces " + strings.Join(set.Namespaces, " ")
	}
	if len(set.Hosts) == 0 {
		return text + ", all hosts"
	}
	var hosts []string
	for _, h := range set.Hosts {
		hosts = append(hosts, strings.TrimSpace(marker(h)+" "+h.Name+" "+h.Fingerprint))
	}
	return bounded(text+", hosts", hosts)
}

// marker is the marker that known_hosts has for a host of a policy.
func marker(h api.KeyHost) string {
	if h.Authority {
		return knownhost.CertAuthority
	}
	return ""
}

// mayFetch says why a workspace may not have a private key.
func (s *Server) mayFetch(c *call, k Key) error {
	c.about(k)
	if s.keyMode(c.caller, k) == api.SignMode {
		return refusal(api.ErrForbidden, "a workspace daemon of this version has the server sign; scripts can with POST /api/v2/workspaceagents/me/sign",
			"the private key %s does not leave the server, which signs with it", k.Name)
	}
	return usable(k, c.at)
}

// usable says that a key has had its time.
func usable(k Key, at time.Time) error {
	return api.KeyPolicy{UsableUntil: optional(k.Settings.UsableUntil)}.Permits(api.KeyUse{Key: k.Name}, at)
}

func (p *problems) keyMode(field string, m api.KeyMode) {
	if m != "" && m != api.FetchMode && m != api.SignMode {
		p.add(field, "must be %s or %s", api.FetchMode, api.SignMode)
	}
}

func (p *problems) hosts(field string, list []api.KeyHost) {
	if len(list) > maxHosts {
		p.add(field, "has %d entries; at most %d are allowed", len(list), maxHosts)
		return
	}
	for i, h := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case h.Name == "" || len(h.Name) > maxName:
			p.add(at+".name", "must have 1 to %d bytes", maxName)
		case strings.ContainsFunc(h.Name, func(r rune) bool { return r <= ' ' || r == 0x7f || r == ',' }):
			p.add(at+".name", "must be one word, such as git.example.com")
		case h.Authority && !knownhost.IsPattern(h.Name):
			p.add(at+".name", "of an authority's hosts must be a name or a pattern in small letters, such as *.example.com, without a port")
		}
		if !isFingerprint(h.Fingerprint) {
			p.add(at+".fingerprint", `must be that of the host's public key, such as "SHA256:…" of ssh-keygen -l`)
		}
		if slices.ContainsFunc(list[:i], func(o api.KeyHost) bool {
			return o.Fingerprint == h.Fingerprint && o.Authority == h.Authority && (!h.Authority || o.Name == h.Name)
		}) {
			p.add(at+".fingerprint", "is there twice")
		}
	}
}

func (p *problems) namespaces(field string, list []string) {
	if len(list) > maxNamespaces {
		p.add(field, "has %d entries; at most %d are allowed", len(list), maxNamespaces)
		return
	}
	for i, name := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case name == "" || len(name) > maxName:
			p.add(at, "must have 1 to %d bytes", maxName)
		case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || r == ',' }):
			p.add(at, `must be one word, such as git, or "*" for any`)
		case slices.Contains(list[:i], name):
			p.add(at, "is there twice")
		}
	}
}

// isFingerprint reports whether s is one as ssh-keygen -l prints it.
func isFingerprint(s string) bool {
	sum, ok := strings.CutPrefix(s, "SHA256:")
	b, err := base64.RawStdEncoding.Strict().DecodeString(sum)
	return ok && err == nil && len(b) == 32 && !strings.ContainsAny(sum, "\r\n")
}

// wirePolicy shows what holds where nothing was chosen.
func wirePolicy(set KeySettings) api.KeyPolicy {
	p := set.policy()
	p.Hosts = listed(p.Hosts)
	p.Namespaces = listed(p.Namespaces)
	if len(p.Namespaces) == 0 {
		p.Namespaces = []string{api.DefaultNamespace}
	}
	return p
}

// wireMode is a mode that may be none.
func wireMode(m api.KeyMode) api.KeyMode { return cmp.Or(m, api.FetchMode) }
