package sshagent

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	// What an added key may be made of. A list has no room for the largest of them
	// all: see list.
	maxComment = 1 << 10
	maxBlob    = 16 << 10

	minRSABits = 2048
	maxRSABits = 16384 // what OpenSSH makes at most
)

// An addRequest is the body of SSH_AGENTC_ADD_IDENTITY or of
// SSH_AGENTC_ADD_ID_CONSTRAINED (RFC 9987, section 5.2). Its private fields, and
// nothing else of it, share the request's memory.
type addRequest struct {
	blob    []byte        // what the key is listed by: of the certificate, for one
	plain   ssh.PublicKey // never a certificate
	private []byte        // see Server.Keep
	comment string
	constraints
}

// Constraints of a key (RFC 9987, section 5.2.7).
type constraints struct {
	lifetime     time.Duration
	mortal       bool // it has a lifetime, which may be 0
	confirm      bool
	destinations []destination
}

// Constraints' numbers (RFC 9987, section 8.2).
const (
	constrainLifetime  = 1
	constrainConfirm   = 2
	constrainMaxSign   = 3
	constrainExtension = 255
)

var errAdd = errors.New("malformed request to add a key")

// parseAdd parses a request to add a key. Constraints are taken only by the
// message that is meant for them.
func parseAdd(request []byte) (*addRequest, error) {
	name, rest, ok := cutString(request[1:])
	if !ok {
		return nil, errAdd
	}
	a := &addRequest{}
	rest, err := a.parseKey(string(name), rest)
	if err != nil {
		return nil, err
	}
	comment, rest, ok := cutString(rest)
	if !ok {
		return nil, errAdd
	}
	if len(comment) > maxComment || len(a.blob) > maxBlob {
		return nil, fmt.Errorf("a key with %d bytes and a comment of %d; at most %d and %d are taken", len(a.blob), len(comment), maxBlob, maxComment)
	}
	a.comment = string(comment)
	if request[0] == agentAddIdentity && len(rest) > 0 {
		return nil, errAdd
	}
	if err := a.parseConstraints(rest); err != nil {
		return nil, err
	}
	return a, nil
}

// parseKey parses the key, and returns what follows it. The private fields come
// last whatever the kind (RFC 9987, section 5.2); with a certificate
// they are all there is besides the certificate, bar Ed25519's.
func (a *addRequest) parseKey(name string, b []byte) (rest []byte, err error) {
	var certificate *ssh.Certificate
	kind, isCertificate := certified[name]
	if !isCertificate {
		kind = name
	}
	shape, ok := shapes[kind]
	if !ok {
		return nil, fmt.Errorf("%s: %w", printable([]byte(name)), unsupported(name))
	}
	public := appendString(nil, kind)
	if isCertificate {
		var blob []byte
		if blob, b, ok = cutString(b); !ok {
			return nil, errAdd
		}
		a.blob = append([]byte(nil), blob...) // nor must the certificate share the memory of what is wiped
		if certificate, _ = publicKey(a.blob).(*ssh.Certificate); certificate == nil || certificate.Type() != name {
			return nil, fmt.Errorf("what comes as %s is no such certificate", name)
		}
	}
	if !isCertificate || kind == ssh.KeyAlgoED25519 {
		if public, b, ok = shape.cutPublic(public, b); !ok {
			return nil, errAdd
		}
		if a.plain, err = ssh.ParsePublicKey(public); err != nil {
			return nil, fmt.Errorf("the public part of the key: %w", err)
		}
	}
	if a.private, rest, ok = cutStrings(b, shape.private); !ok {
		return nil, errAdd
	}
	switch {
	case certificate == nil:
		a.blob = a.plain.Marshal()
	case a.plain != nil && string(a.plain.Marshal()) != string(certificate.Key.Marshal()):
		return nil, errors.New("the certificate is of another key")
	default:
		a.plain = certificate.Key
	}
	return rest, checkSize(a.plain)
}

// certified says which kind of key a kind of certificate is of.
var certified = map[string]string{
	ssh.CertAlgoED25519v01:  ssh.KeyAlgoED25519,
	ssh.CertAlgoECDSA256v01: ssh.KeyAlgoECDSA256,
	ssh.CertAlgoECDSA384v01: ssh.KeyAlgoECDSA384,
	ssh.CertAlgoECDSA521v01: ssh.KeyAlgoECDSA521,
	ssh.CertAlgoRSAv01:      ssh.KeyAlgoRSA,
}

// A shape says of which fields a kind of key is made: all are strings on the
// wire, or mpints, which are strings to who only cuts them.
type shape struct {
	public  []int // the public key's fields, in the order of its blob: which of those that come first
	private int   // how many private fields come then
}

var shapes = map[string]shape{
	ssh.KeyAlgoED25519:  {[]int{0}, 1},    // A; k || A
	ssh.KeyAlgoECDSA256: {[]int{0, 1}, 1}, // curve, Q; d
	ssh.KeyAlgoECDSA384: {[]int{0, 1}, 1},
	ssh.KeyAlgoECDSA521: {[]int{0, 1}, 1},
	ssh.KeyAlgoRSA:      {[]int{1, 0}, 4}, // n, e; d, iqmp, p, q. The blob has e, n.
}

// cutPublic appends the public fields to the blob of a public key.
func (s shape) cutPublic(blob, b []byte) (whole, rest []byte, ok bool) {
	fields := make([][]byte, len(s.public))
	for i := range fields {
		if fields[i], b, ok = cutString(b); !ok {
			return nil, nil, false
		}
	}
	for _, i := range s.public {
		blob = appendString(blob, fields[i])
	}
	return blob, b, true
}

// cutStrings takes n strings in one piece, with their lengths.
func cutStrings(b []byte, n int) (piece, rest []byte, ok bool) {
	rest = b
	for range n {
		if _, rest, ok = cutString(rest); !ok {
			return nil, nil, false
		}
	}
	size := len(b) - len(rest)
	return b[:size:size], rest, true
}

func unsupported(name string) error {
	switch {
	case name == ssh.InsecureKeyAlgoDSA || name == ssh.InsecureCertAlgoDSAv01:
		return errors.New("DSA keys are not safe, and nobody takes them any more")
	case strings.HasPrefix(name, "sk-") || strings.HasPrefix(name, "webauthn-sk-"):
		return errSecurityKey
	}
	return errors.New("an unknown kind of key")
}

// checkSize refuses the RSA keys that are too small to be safe or so large that
// one signature keeps a processor busy for long.
func checkSize(key ssh.PublicKey) error {
	if key.Type() != ssh.KeyAlgoRSA {
		return nil
	}
	n := rsaKey(key).N.BitLen()
	if n < minRSABits || n > maxRSABits {
		return fmt.Errorf("an RSA key of %d bits; want %d to %d", n, minRSABits, maxRSABits)
	}
	return nil
}

// parseConstraints parses what follows the comment. A constraint that is not
// known, or that comes twice, refuses the key: what somebody meant to bind must
// not be free.
func (c *constraints) parseConstraints(b []byte) error {
	for len(b) > 0 {
		kind := b[0]
		b = b[1:]
		switch kind {
		case constrainLifetime:
			seconds, rest, ok := cutUint32(b)
			if !ok || c.mortal {
				return errAdd
			}
			c.lifetime, c.mortal, b = time.Duration(seconds)*time.Second, true, rest
		case constrainConfirm:
			if c.confirm {
				return errAdd
			}
			c.confirm = true
		case constrainExtension:
			name, rest, ok := cutString(b)
			if !ok {
				return errAdd
			}
			if string(name) != extRestrictDestination {
				return fmt.Errorf("a constraint that this agent does not know: %s", printable(name))
			}
			if c.destinations != nil {
				return errAdd
			}
			var err error
			if c.destinations, b, err = cutDestinations(rest); err != nil {
				return fmt.Errorf("the destinations of the key: %w", err)
			}
		case constrainMaxSign:
			return errors.New("a limit to the number of signatures, which is for XMSS keys only")
		default:
			return fmt.Errorf("a constraint that this agent does not know: %d", kind)
		}
	}
	return nil
}
