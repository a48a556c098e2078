package api

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// A KeyMode is how a private key serves the workspaces. A server, a key and a
// workspace have one each, of which the strictest counts.
type KeyMode string

const (
	FetchMode KeyMode = "fetch" // workspaces fetch it, and sign with it
	SignMode  KeyMode = "sign"  // it stays at the server, which signs for them
)

// Strictest is SignMode if one of the modes is, else FetchMode.
func Strictest(modes ...KeyMode) KeyMode {
	if slices.Contains(modes, SignMode) {
		return SignMode
	}
	return FetchMode
}

// DefaultNamespace is the only namespace in which a key makes SSH signatures
// whose policy names none: git's, of commits and tags.
const DefaultNamespace = "git"

// A KeyPolicy says what a key signs, and until when. The zero KeyPolicy lets it
// log in everywhere, and sign what git signs. With [SignMode] the server holds
// every signature against it, else the workspace daemon does.
type KeyPolicy struct {
	Hosts           []KeyHost  `json:"hosts"`                  // it logs in to these only; empty: to every host
	Namespaces      []string   `json:"namespaces"`             // of SSH signatures; empty: DefaultNamespace; "*": any
	RefuseForwarded bool       `json:"refuse_forwarded"`       // it signs for nobody on another machine, to whom the agent was forwarded
	UsableUntil     *time.Time `json:"usable_until,omitempty"` // nil: for ever
}

// A KeyHost is one key of a host. A host with several is there several times.
type KeyHost struct {
	Name        string `json:"name"`        // for people; nothing depends on it, but with Authority
	Fingerprint string `json:"fingerprint"` // "SHA256:…" of the host's public key

	// Authority: the key is not a host's. It is all hosts with a certificate
	// by that key, for a name that matches Name, which may hold * and ?.
	Authority bool `json:"authority,omitempty"`
}

// A KeyUse is one signature, as far as a KeyPolicy is about it: a login, or an
// SSH signature if Namespace is set.
type KeyUse struct {
	Key       string // the name of the key, for what can be done; "" if it is not known
	Namespace string

	// Host is the fingerprint of the key of the host that the login is good for,
	// and of no other: because it names it, or because that key has signed the
	// session. "": it is not known.
	Host string

	// Certificate is what a certificate that is good now says of that key; nil if the
	// host has shown none. Whoever sets it has verified it.
	Certificate *HostCertificate

	Forwarded bool // whoever wants it is on another machine, as far as that can be seen
}

// A HostCertificate is what a certificate authority says of a host's key.
type HostCertificate struct {
	Authority  string   // the fingerprint of the key that signed the certificate
	Principals []string // the host's names
}

// set is the command that changes the key's policy. The name may be from a server
// that is not trusted with what is typed into a shell.
func (u KeyUse) set(flag string) string {
	name := u.Key
	if name == "" || strings.ContainsFunc(name, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._@+-", r))
	}) {
		name = "NAME"
	}
	return fmt.Sprintf(`"latchkey key set %s %s"`, name, flag)
}

// Permits says why a policy refuses a use: the error is an ErrForbidden whose
// Detail says what can be done.
func (p KeyPolicy) Permits(use KeyUse, at time.Time) error {
	refuse := func(todo, format string, args ...any) error {
		return &Error{Kind: ErrForbidden, Message: fmt.Sprintf(format, args...), Detail: todo}
	}
	switch {
	case p.UsableUntil != nil && !at.Before(*p.UsableUntil):
		return refuse(use.set("--usable 8h")+" lets it be used again", "the key was usable until %s", p.UsableUntil.UTC().Format(time.RFC3339))
	case p.RefuseForwarded && use.Forwarded:
		return refuse("log in from the workspace itself", "the key does not sign for a forwarded agent")
	case use.Namespace != "" && use.Forwarded && len(p.Hosts) > 0:
		return refuse("sign in the workspace itself", "the key logs in to %s only: it makes no SSH signature for a forwarded agent", p.hosts())
	case use.Namespace != "" && !p.hasNamespace(use.Namespace):
		return refuse(use.set("--namespace …")+", with all it signs for, allows another", "the key makes SSH signatures in the namespace %s only, not in %q", strings.Join(p.namespaces(), ", "), cut(use.Namespace))
	case use.Namespace != "" || len(p.Hosts) == 0 || p.HostName(use) != "":
		return nil
	case use.Host == "":
		return refuse("it takes OpenSSH 8.9 or newer, which says which host it logs in to", "the key logs in to %s only, and this login does not say to which host it is", p.hosts())
	}
	return refuse(use.set("--host …")+", with all its hosts, allows another", "the key logs in to %s only, not to the host with the key %s", p.hosts(), cut(use.Host))
}

// Shows says why a client must not see the key listed, which is of no use to it: as
// Permits does. The use's Host is that of the host that the client is logging in
// to, "" if it is not known to log in anywhere: it may say so later.
func (p KeyPolicy) Shows(use KeyUse, at time.Time) error {
	if use.Host == "" {
		p.Hosts = nil
	}
	return p.Permits(use, at)
}

// HostName is what the policy calls the host of a use by its key, or else what an
// authority that the policy names calls it: "" if neither does.
func (p KeyPolicy) HostName(use KeyUse) string {
	for _, h := range p.Hosts {
		if h.Fingerprint == use.Host && !h.Authority {
			return h.Name
		}
	}
	if use.Host == "" || use.Certificate == nil {
		return ""
	}
	for _, h := range p.Hosts {
		if !h.Authority || h.Fingerprint != use.Certificate.Authority {
			continue
		}
		for _, name := range use.Certificate.Principals {
			if matchesHost(h.Name, name) {
				return name
			}
		}
	}
	return ""
}

// matchesHost reports whether a name in a certificate is one that a pattern is
// about. One that is itself a pattern is for more hosts than can be told here: it
// must be the same. The server takes patterns without a slash or a bracket only,
// and for those path.Match is what ssh's match_pattern is.
func matchesHost(pattern, name string) bool {
	if strings.ContainsAny(name, "*?") {
		return name == pattern
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func (p KeyPolicy) namespaces() []string {
	if len(p.Namespaces) == 0 {
		return []string{DefaultNamespace}
	}
	return p.Namespaces
}

func (p KeyPolicy) hasNamespace(name string) bool {
	return slices.Contains(p.namespaces(), name) || slices.Contains(p.namespaces(), "*")
}

// hosts names the hosts, some of them if there are many.
func (p KeyPolicy) hosts() string {
	var names []string
	for _, h := range p.Hosts {
		if !slices.Contains(names, h.Name) {
			names = append(names, h.Name)
		}
	}
	if n := len(names) - 3; n > 0 {
		names = append(names[:3], fmt.Sprintf("%d others", n))
	}
	return strings.Join(names, ", ")
}

// cut makes what a client said fit for a message.
func cut(s string) string { return s[:min(len(s), 80)] }

// UpdateKeyRequest changes what is not nil.
type UpdateKeyRequest struct {
	Mode            *KeyMode   `json:"mode,omitempty"`
	Hosts           *[]KeyHost `json:"hosts,omitempty"`
	Namespaces      *[]string  `json:"namespaces,omitempty"`
	RefuseForwarded *bool      `json:"refuse_forwarded,omitempty"`
	UsableSeconds   *int64     `json:"usable_seconds,omitempty"` // from now; 0: for ever
}

// SignRequest asks for a signature with a private key that stays at the server.
type SignRequest struct {
	Fingerprint string `json:"fingerprint"`         // of a key from the workspace's list
	Algorithm   string `json:"algorithm,omitempty"` // of the signature (RFC 8332 for RSA); "": the key's own, with RSA rsa-sha2-512

	// Data is what is to be signed: that of a login (RFC 4252, section 7, or
	// OpenSSH's publickey-hostbound-v00@openssh.com), or of an SSH signature
	// (OpenSSH's PROTOCOL.sshsig). Nothing else is signed.
	Data []byte `json:"data"`

	// Host proves which host a login is good for that does not name it.
	Host *HostProof `json:"host,omitempty"`
}

// A HostProof is what a host proved when the session began that a login is in.
// An ssh-agent has it from session-bind@openssh.com.
type HostProof struct {
	Key       []byte `json:"key"`       // the host's public key, in SSH's wire form
	Signature []byte `json:"signature"` // of the session's ID with that key, in SSH's wire form
}

// A Signature is the answer to a SignRequest.
type Signature struct {
	Signature []byte `json:"signature"` // in SSH's wire form (RFC 4253, section 6.6)
}
