// Package signdata parses what ssh programs have signed with a user's key: the
// login to a host (RFC 4252, section 7) and the signature of a file or of a git
// commit (OpenSSH's PROTOCOL.sshsig). Whoever signs for others knows by it what
// the signature will be good for.
//
// The parsers are strict: no byte is left over, and nothing is taken that the
// one who verifies could read in another way. No data is of both kinds: the
// first bytes of an SSHSIG are, in a login, the length of a session id that
// would be over a gigabyte long.
package signdata

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The methods of a login by public key.
const (
	PublicKey = "publickey"                           // RFC 4252, section 7
	HostBound = "publickey-hostbound-v00@openssh.com" // OpenSSH's PROTOCOL, section 3.1
)

// A UserAuth is what a client signs to log in.
type UserAuth struct {
	SessionID []byte // of the key exchange: RFC 4253, section 7.2
	User      string // the account at the host
	Service   string // which starts after the login: "ssh-connection"
	Method    string // PublicKey or HostBound
	Algorithm string // of the signature
	Key       []byte // the blob of the public key that logs in
	HostKey   []byte // the blob of the host's key; nil for PublicKey
}

// A SSHSIG is what "ssh-keygen -Y sign" signs.
type SSHSIG struct {
	Namespace     string // what the signature is for: "git", "file", …
	HashAlgorithm string // "sha256" or "sha512"
	Hash          []byte // of the message
}

const (
	msgUserAuthRequest = 50
	sshConnection      = "ssh-connection" // RFC 4254, the only service that there is
	magic              = "SSHSIG"

	maxSessionID = 128 // as OpenSSH's agent has it; SHA-512 gives 64
)

// ErrUnknown is the error of Parse for data that is of neither kind.
var ErrUnknown = errors.New("what is to be signed is neither an SSH login nor an SSH signature of a file")

// Parse parses data as whichever of the two it is: the other is nil. The error
// is ErrUnknown, or says what is wrong with data that begins as an SSHSIG.
// What it returns shares data's memory.
func Parse(data []byte) (*UserAuth, *SSHSIG, error) {
	if bytes.HasPrefix(data, []byte(magic)) {
		sig, err := ParseSSHSIG(data)
		return nil, sig, err
	}
	auth, err := ParseUserAuth(data)
	if err != nil {
		err = fmt.Errorf("%w: read as a login: %w", ErrUnknown, err)
	}
	return auth, nil, err
}

// ParseUserAuth parses the data of a login (RFC 4252, section 7). It takes a
// login for ssh-connection only, by an algorithm that is one of the key's.
func ParseUserAuth(data []byte) (*UserAuth, error) {
	r := reader{rest: data}
	a := &UserAuth{SessionID: r.bytes()}
	message := r.byte()
	user, service, method := r.text(), r.text(), r.text()
	signed := r.byte()
	algorithm := r.text()
	a.Key = r.bytes()
	hostBound := string(method) == HostBound
	if hostBound {
		a.HostKey = r.bytes()
	}
	switch {
	case r.bad || len(r.rest) > 0:
		return nil, errors.New("malformed")
	case len(a.SessionID) == 0 || len(a.SessionID) > maxSessionID:
		return nil, fmt.Errorf("a session id of %d bytes; want 1 to %d", len(a.SessionID), maxSessionID)
	case message != msgUserAuthRequest:
		return nil, fmt.Errorf("message %d; want %d", message, msgUserAuthRequest)
	case string(service) != sshConnection:
		return nil, errors.New("a service that is not " + sshConnection)
	case string(method) != PublicKey && !hostBound:
		return nil, errors.New("a method that is not by public key")
	case signed != 1:
		return nil, errors.New("a login that says it is not signed")
	case !isAlgorithmOf(string(algorithm), a.Key):
		return nil, errors.New("an algorithm that is not the key's")
	case hostBound && len(keyType(a.HostKey)) == 0:
		return nil, errors.New("a host key without a type")
	}
	a.User, a.Service, a.Method, a.Algorithm = string(user), sshConnection, PublicKey, string(algorithm)
	if hostBound {
		a.Method = HostBound
	}
	return a, nil
}

// ParseSSHSIG parses the data of an SSHSIG (PROTOCOL.sshsig, section 3).
func ParseSSHSIG(data []byte) (*SSHSIG, error) {
	rest, ok := bytes.CutPrefix(data, []byte(magic))
	r := reader{rest: rest}
	s := &SSHSIG{Namespace: string(r.text())}
	reserved := r.bytes()
	s.HashAlgorithm, s.Hash = string(r.text()), r.bytes()
	size, known := map[string]int{"sha256": 32, "sha512": 64}[s.HashAlgorithm]
	switch {
	case !ok || r.bad || len(r.rest) > 0:
		return nil, errors.New("malformed SSHSIG")
	case s.Namespace == "":
		return nil, errors.New("an SSHSIG without a namespace")
	case len(reserved) > 0: // it may mean something one day: not to be signed unread
		return nil, errors.New("an SSHSIG with something in its reserved field")
	case !known || len(s.Hash) != size:
		return nil, errors.New("an SSHSIG whose hash is neither SHA-256 nor SHA-512")
	}
	return s, nil
}

// isAlgorithmOf reports whether a key of this blob signs with the algorithm
// (RFC 8332, section 3, for RSA; the others have their type's).
func isAlgorithmOf(algorithm string, blob []byte) bool {
	t := string(keyType(blob))
	switch t {
	case "":
		return false
	case "ssh-rsa":
		return algorithm == t || algorithm == "rsa-sha2-256" || algorithm == "rsa-sha2-512"
	case "ssh-rsa-cert-v01@openssh.com":
		return algorithm == t || algorithm == "rsa-sha2-256-cert-v01@openssh.com" || algorithm == "rsa-sha2-512-cert-v01@openssh.com"
	}
	return algorithm == t
}

// keyType is the type that a key's blob begins with, empty if it has none.
func keyType(blob []byte) []byte {
	r := reader{rest: blob}
	return r.text()
}

// A reader takes the data types of RFC 4251, section 5, from what rests. It is
// bad once something was not there.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) byte() byte {
	if r.bad || len(r.rest) == 0 {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) bytes() []byte {
	if r.bad || len(r.rest) < 4 {
		r.bad = true
		return nil
	}
	n, rest := binary.BigEndian.Uint32(r.rest), r.rest[4:]
	if uint64(n) > uint64(len(rest)) {
		r.bad = true
		return nil
	}
	r.rest = rest[n:]
	return rest[:n:n]
}

// text is a string without NUL, which a program in C would read as its end.
func (r *reader) text() []byte {
	s := r.bytes()
	if bytes.IndexByte(s, 0) >= 0 {
		r.bad = true
		return nil
	}
	return s
}
