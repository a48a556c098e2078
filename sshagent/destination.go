package sshagent

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/sshpattern"
)

const (
	extRestrictDestination = "restrict-destination-v00@openssh.com"

	maxDestinations = 1024 // as OpenSSH's agent has it (AGENT_MAX_DEST_CONSTRAINTS)

	// maxPattern bounds a pattern of users: matching one with many wildcards
	// takes time (OpenSSH 10.4).
	maxPattern = 256
)

// A destination is one hop that a key may be used for: from the host where the
// agent is, or from another that it was forwarded to, to a host and some of its
// users (OpenSSH's PROTOCOL.agent, section 2).
type destination struct {
	from, to hop
}

type hop struct {
	user string // a pattern; "" is all
	host string // "" is where the agent is
	keys []hopKey
}

type hopKey struct {
	blob []byte
	ca   bool // it certifies hosts' keys
}

// cutDestinations takes the string of destinations that b begins with. The text
// of the protocol leaves out that the list is a string, that each destination is
// one, of two hops that are strings, too, and that each has a reserved string.
func cutDestinations(b []byte) (list []destination, rest []byte, err error) {
	all, rest, ok := cutString(b)
	if !ok {
		return nil, nil, errAdd
	}
	for len(all) > 0 {
		if len(list) == maxDestinations {
			return nil, nil, fmt.Errorf("more than %d", maxDestinations)
		}
		var one []byte
		if one, all, ok = cutString(all); !ok {
			return nil, nil, errAdd
		}
		d, err := parseDestination(one)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, d)
	}
	if len(list) == 0 {
		return nil, nil, errors.New("there are none: the key would be of no use, or of any")
	}
	return list, rest, nil
}

func parseDestination(b []byte) (d destination, err error) {
	from, b, ok1 := cutString(b)
	to, b, ok2 := cutString(b)
	reserved, b, ok3 := cutString(b)
	if !ok1 || !ok2 || !ok3 || len(b) > 0 {
		return d, errAdd
	}
	if len(reserved) > 0 {
		return d, errors.New("an unknown extension of one")
	}
	if d.from, err = parseHop(from); err == nil {
		d.to, err = parseHop(to)
	}
	switch {
	case err != nil:
		return d, err
	case (d.from.host == "") != (len(d.from.keys) == 0) || d.from.user != "":
		return d, errors.New("one starts where nothing can")
	case d.to.host == "" || len(d.to.keys) == 0:
		return d, errors.New("one leads to no host")
	}
	return d, nil
}

func parseHop(b []byte) (h hop, err error) {
	user, b, ok1 := cutString(b)
	host, b, ok2 := cutString(b)
	reserved, b, ok3 := cutString(b)
	if !ok1 || !ok2 || !ok3 || bytes.IndexByte(user, 0) >= 0 || bytes.IndexByte(host, 0) >= 0 {
		return h, errAdd
	}
	if len(reserved) > 0 {
		return h, errors.New("an unknown extension of a hop")
	}
	if len(user) > maxPattern {
		return h, fmt.Errorf("a pattern of users of %d bytes; at most %d are taken", len(user), maxPattern)
	}
	h.user, h.host = string(user), string(host)
	for len(b) > 0 {
		blob, rest, ok := cutString(b)
		if !ok || len(rest) == 0 {
			return h, errAdd
		}
		key, err := ssh.ParsePublicKey(blob)
		if err != nil {
			return h, fmt.Errorf("a host's key: %w", err)
		}
		h.keys = append(h.keys, hopKey{key.Marshal(), rest[0] != 0})
		b = rest[1:]
	}
	return h, nil
}

// has reports whether a host's key is one of the hop's, or a certificate for the
// hop's host by one of its authorities.
func (h *hop) has(key ssh.PublicKey) bool {
	blob := key.Marshal()
	certificate, certified := key.(*ssh.Certificate)
	for _, k := range h.keys {
		switch {
		case certified != k.ca:
		case !certified && bytes.Equal(k.blob, blob):
			return true
		case certified && bytes.Equal(k.blob, certificate.SignatureKey.Marshal()) && certifies(certificate, h.host):
			return true
		}
	}
	return false
}

// certifies reports whether a certificate names a host, and is valid now.
func certifies(c *ssh.Certificate, host string) bool {
	if c.CertType != ssh.HostCert || len(c.ValidPrincipals) == 0 { // none would be all
		return false
	}
	return (&ssh.CertChecker{}).CheckCert(host, c) == nil
}

// allows reports whether one of the destinations is the hop from one key to
// another. No from is where the agent is, no to is any host, and no user is any.
func allows(list []destination, from, to ssh.PublicKey, user *string) bool {
	for i := range list {
		d := &list[i]
		switch {
		case from == nil && d.from.host != "":
		case from != nil && !d.from.has(from):
		case to != nil && !d.to.has(to):
		case user != nil && d.to.user != "" && !sshpattern.Match(d.to.user, *user):
		default:
			return true
		}
	}
	return false
}
