package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/keyserver/knownhost"
)

// The hosts of a policy, as --host names them.

// hostsGiven reads what --host says.
func (p *program) hostsGiven(ctx context.Context, s *session, list []string) ([]api.KeyHost, error) {
	hosts := []api.KeyHost{}
	for _, word := range list {
		word = withPort(word)
		if knownhost.IsName(word) {
			known, err := p.knownHost(ctx, s, word)
			if err != nil {
				return nil, err
			}
			for _, h := range known {
				// Two names of one host have its key once.
				if !slices.ContainsFunc(hosts, func(o api.KeyHost) bool { return !h.Authority && !o.Authority && o.Fingerprint == h.Fingerprint }) {
					hosts = append(hosts, h)
				}
			}
			continue
		}
		for line := range strings.Lines(word) { // ssh-keyscan prints one for each kind of key
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			given := hostGiven(line)
			if len(given) == 0 {
				return nil, noHostGiven(line)
			}
			hosts = append(hosts, given...)
		}
	}
	return hosts, nil
}

// noHostGiven says what is wrong with a line that hostGiven can't read.
func noHostGiven(line string) error {
	err := usagef("flag --host: %q is no host with its key", printable(line))
	if name, fingerprint, ok := strings.Cut(line, "=SHA256:"); ok && name != "" {
		err = usagef("flag --host: %q, which is to be the key of %s, is no fingerprint: a whole one has 43 characters after SHA256:",
			printable("SHA256:"+fingerprint), printable(name))
	}
	return withHint(err, `"ssh-keyscan HOST | ssh-keygen -lf -" shows fingerprints, for --host NAME=SHA256:…`)
}

// withPorts is withPort for several hosts, with commas.
func withPorts(hosts string) string {
	list := strings.Split(hosts, ",")
	for i, host := range list {
		list[i] = withPort(host)
	}
	return strings.Join(list, ",")
}

// withPort writes HOST:PORT as ssh looks for it in a known_hosts file: "[HOST]:PORT",
// or HOST for the port that ssh takes by itself. An IPv6 address has more colons, and
// stays what it is, as all does that is not of this form.
func withPort(text string) string {
	host, port, ok := strings.Cut(text, ":")
	name := "[" + host + "]:" + port
	if port == "22" {
		name = host
	}
	if !ok || strings.HasPrefix(host, "[") || strings.Contains(port, ":") || !knownhost.IsName(name) {
		return text
	}
	return name
}

// hostGiven reads NAME=FINGERPRINT, or the line of a host in a known_hosts file,
// which may be one of an authority's: nil if it is neither.
func hostGiven(line string) (hosts []api.KeyHost) {
	rest, authority := strings.CutPrefix(line, knownhost.CertAuthority+" ")
	if name, fingerprint, ok := strings.Cut(rest, "=SHA256:"); ok {
		sum, err := base64.RawStdEncoding.DecodeString(fingerprint)
		if name == "" || err != nil || len(sum) != 32 {
			return nil
		}
		return []api.KeyHost{{Name: withPort(name), Fingerprint: "SHA256:" + fingerprint, Authority: authority}}
	}
	_, names, key, _, _, err := ssh.ParseKnownHosts([]byte(rest)) // of a line with another marker, rest has it
	if err != nil || strings.HasPrefix(rest, "@") {
		return nil
	}
	if !authority {
		return []api.KeyHost{{Name: names[0], Fingerprint: ssh.FingerprintSHA256(key)}}
	}
	for _, name := range names {
		if strings.HasPrefix(name, "!") { // a policy can't except any
			return nil
		}
		hosts = append(hosts, api.KeyHost{Name: strings.ToLower(name), Fingerprint: ssh.FingerprintSHA256(key), Authority: true})
	}
	return hosts
}

// knownHost is a host with each of the keys that the server's known hosts have for
// it, and those that sign its certificates, and says which these are: the policy keeps them, whatever is known later.
func (p *program) knownHost(ctx context.Context, s *session, name string) ([]api.KeyHost, error) {
	list, err := s.KnownHosts(ctx)
	if err != nil {
		return nil, err
	}
	lines := make([]knownhost.Line, len(list))
	var names []string
	for i, h := range list {
		lines[i] = knownhost.Line{Marker: h.Marker, Hosts: h.Hosts, Type: h.KeyType, Key: h.Key}
		names = append(names, strings.Split(h.Hosts, ",")...)
	}
	keys, authorities := knownhost.Keys(lines, name)
	if len(keys)+len(authorities) == 0 {
		return nil, noHostKey(name, names, knownhost.Revocations(lines, name))
	}
	var hosts []api.KeyHost
	for _, l := range keys {
		p.note("%s has the key %s (%s), as the server knows it", name, l.Fingerprint(), l.Type)
		hosts = append(hosts, api.KeyHost{Name: name, Fingerprint: l.Fingerprint()})
	}
	bare, _, _ := strings.Cut(strings.TrimPrefix(strings.ToLower(name), "["), "]") // a certificate has no port
	for _, l := range authorities {
		p.note("%s has certificates by the key %s (%s), as the server knows it", name, l.Fingerprint(), l.Type)
		hosts = append(hosts, api.KeyHost{Name: bare, Fingerprint: l.Fingerprint(), Authority: true})
	}
	return hosts, nil
}

// noHostKey says that the server knows no key of a host by which it could log in, and
// what there is in its place.
func noHostKey(name string, names []string, revoked []knownhost.Line) error {
	none := fmt.Errorf("flag --host: the server knows no key of %s", name)
	hint := fmt.Sprintf(`"latchkey known-host list" shows what it knows; or say which key it is: --host %s=SHA256:…`, quoted(name))
	switch near := nearest(name, names); {
	case len(revoked) > 0:
		words := make([]string, len(revoked))
		for i, l := range revoked {
			words[i] = lineWords(l)
		}
		return withHint(fmt.Errorf("%w but revoked ones: %s", none, strings.Join(words, "; ")),
			fmt.Sprintf("if the host has a new key, say which it is: --host %s=SHA256:…", quoted(name)))
	case near != "" && near != name && knownhost.IsName(near):
		return withHint(none, fmt.Sprintf("there is %s; %s", near, hint))
	}
	return withHint(none, hint)
}
