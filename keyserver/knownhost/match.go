package knownhost

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/sshpattern"
)

// IsName reports whether text is one host as ssh looks for it in a known_hosts
// file: a name or an address, or with a port other than 22 "[name]:port".
func IsName(text string) bool {
	return !strings.ContainsAny(text, "*?") && checkPattern(strings.ToLower(text)) == nil
}

// IsPattern reports whether text is a name, or a pattern with * and ?, as host
// certificates have them: in small letters, as ssh compares, and without a port.
func IsPattern(text string) bool {
	return !strings.HasPrefix(text, "[") && strings.ToLower(text) == text && checkPattern(text) == nil
}

// Matches reports whether the hosts of a line are about a host, as ssh decides
// it (match_hostname and host_hash of OpenSSH).
func Matches(hosts, name string) bool {
	name = strings.ToLower(name)
	if strings.HasPrefix(hosts, "|") {
		return matchesHashed(hosts, name)
	}
	matched := false
	for pattern := range strings.SplitSeq(strings.ToLower(hosts), ",") {
		bare, negated := strings.CutPrefix(pattern, "!")
		if !sshpattern.Match(bare, name) {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	return matched
}

// matchesHashed: the salt is the key of an HMAC-SHA1 over the name, which hides it
// from who reads over a shoulder; nothing is secured by it.
func matchesHashed(hosts, name string) bool {
	if checkHashed(hosts) != nil {
		return false
	}
	parts := strings.Split(hosts, "|")
	salt, _ := base64.StdEncoding.DecodeString(parts[2]) // checked
	sum, _ := base64.StdEncoding.DecodeString(parts[3])
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return bytes.Equal(mac.Sum(nil), sum)
}

// Keys are what lines say of a host: its keys, and those that sign its
// certificates, each once and without what is revoked for it.
func Keys(lines []Line, name string) (keys, authorities []Line) {
	seen := map[string]bool{}
	for _, l := range lines {
		if l.Marker == Revoked && Matches(l.Hosts, name) {
			seen[string(l.Key)] = true
			seen[CertAuthority+string(l.Key)] = true
		}
	}
	for _, l := range lines {
		if seen[l.Marker+string(l.Key)] || l.Marker == Revoked || !Matches(l.Hosts, name) {
			continue
		}
		seen[l.Marker+string(l.Key)] = true
		if l.Marker == CertAuthority {
			authorities = append(authorities, l)
		} else {
			keys = append(keys, l)
		}
	}
	return keys, authorities
}

// Revocations are the lines by which a key of a host is revoked: one that another
// line says it has, or that is revoked for this host and not for just any. It does
// not show whose a key was that is revoked for all.
func Revocations(lines []Line, name string) (revoked []Line) {
	known := map[string]bool{}
	for _, l := range lines {
		if l.Marker != Revoked && Matches(l.Hosts, name) {
			known[string(l.Key)] = true
		}
	}
	for _, l := range lines {
		if l.Marker == Revoked && Matches(l.Hosts, name) && (known[string(l.Key)] || !slices.ContainsFunc(strings.Split(l.Hosts, ","), isAny)) {
			revoked = append(revoked, l)
		}
	}
	return revoked
}
