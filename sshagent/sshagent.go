// Package sshagent is an ssh-agent (RFC 9987) that holds no key for longer than
// it must: it lists public keys, gets a private key from its [Source] when a
// signature is wanted, and forgets it again. Beside those keys it holds the ones
// that its clients add, as any ssh-agent does, and offers those of other agents.
package sshagent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// DefaultIdle is how long a private key is usually kept after its last use.
const DefaultIdle = time.Minute

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("sshagent: server closed")

// A Key is a public key on offer.
type Key struct {
	Public  ssh.PublicKey
	Comment string
}

// A Source supplies the keys a [Server] offers, and says who may use them for
// what. It may hold them in memory or ask another machine to sign: a [Signer] does
// not say which. Its methods are called concurrently. They bound their own time:
// the Server has no timeout for them, but ends the context when the client hangs up.
type Source interface {
	// Keys lists the keys on offer, in the order in which to offer them. It
	// needs no private key.
	Keys(context.Context) ([]Key, error)

	// Signer gets the private key of one of them. The Server asks once for
	// requests that come together, closes what it got, and ends the context if
	// nobody waits any more.
	Signer(context.Context, ssh.PublicKey) (Signer, error)

	// Show says why a client must not see one of the keys in its list, or nil. ssh
	// proves which host it leads to before it asks for the list, so that a host need
	// not be offered, nor hear of, a key that does not log in to it.
	Show(Key, Session) error

	// Permit says why one of the keys must not sign a request, or nil. Its error is
	// logged, as that of Show is, so it holds no secret.
	Permit(Request) error
}

// A Signer signs with one private key until it is closed. It is safe for
// concurrent use.
type Signer interface {
	ssh.AlgorithmSigner
	// Close forgets the private key. It may be called twice.
	Close() error
}

// A ContextSigner is a Signer of the Source that takes its time, as one that asks
// another machine. Its signatures are asked for with SignContext, whose context ends when
// the client hangs up.
type ContextSigner interface {
	Signer
	SignContext(ctx context.Context, data []byte, algorithm string) (*ssh.Signature, error)
}

// An Upstream is another agent whose keys a Server offers behind its own. Each
// client gets a link of its own to it, and frames pass through untouched.
type Upstream struct {
	Name string // for the log and for Activity
	Dial func(context.Context) (net.Conn, error)

	// Changes has this agent take what clients add and remove: such requests are
	// passed to it as they come, private keys and PINs included, and nothing is
	// added to the Server. So what the Server refuses of keys and constraints may
	// be added, such as security keys and smartcards. Of several the first takes it.
	// Keys of the Source stay what they are. Locking is the Server's own affair.
	Changes bool
}

// An Activity is what a client was answered.
type Activity struct {
	Kind     ActivityKind
	Upstream string // "" for the Source and for an added key
	Added    bool   // a client had added the key
	Key      Key    // of a signature; an upstream agent's has no Comment, and no Public if x/crypto does not know its kind
	Keys     int    // of a list: how many it added
	Err      error  // why there was no list, or no signature
}

// An ActivityKind is what a client asked for.
type ActivityKind string

// The kinds of an Activity.
const (
	Listed ActivityKind = "list" // one for the Source and each Upstream
	Signed ActivityKind = "sign"
)

// A Server is an ssh-agent. Its fields are set before any method is called; the
// functions are called concurrently.
//
// It lists the keys of the Source, then those that clients added, in the order
// in which they were, then those of upstream agents; a key that is listed
// already is left out. The Source's are not a client's to change: adding one of
// them, or removing it, is refused, and removing all removes the added ones.
// What is no login and no SSH signature of a file (package signdata) is not
// signed with a key of the Source. RSA keys sign with SHA-2 only.
//
// A client may lock it with a password (RFC 9987, section 5.7): then it lists no
// keys, not even those of upstream agents, and signs nothing.
type Server struct {
	Source    Source         // may be nil
	Upstreams []Upstream     // asked in this order, see also Attach
	Idle      time.Duration  // how long to keep a private key of the Source after its last use; 0: forget it at once
	Log       *slog.Logger   // nil: no log
	Observe   func(Activity) // if not nil, called before the client is answered

	NoAdd    bool          // clients may not add keys, here or to an upstream agent
	Lifetime time.Duration // of a key that is added here without one; 0: until it is removed

	// AddHint says, for the log, how an upstream agent can be had with Changes, so that
	// clients can add the security keys and smartcards that this one refuses.
	AddHint string

	// Keep takes over the private key that a client adds, and gives what signs
	// with it. It checks that the private key is the public one's, as
	// [ParsePrivateKey] does. public is never a certificate. private is the
	// private fields as RFC 9987, section 5.2, has them, each with its length, whether a
	// certificate came along or not:
	//
	//	Ed25519  string k || A
	//	ECDSA    mpint d
	//	RSA      mpint d, iqmp, p, q
	//
	// It lies where it came in from the client, which is wiped when Keep returns:
	// what Keep wants to keep, it copies to where it keeps it. The Signer is
	// closed when the key is removed, is replaced, or has lived its lifetime. An
	// error refuses the key and is logged, so it holds no secret. If Keep is nil,
	// added keys lie on the heap, and are not erased from it.
	Keep func(public ssh.PublicKey, private []byte) (Signer, error)

	// Confirm asks the user whether a key that was added for use with leave only
	// may sign now; prompt is the question, of some lines. The context ends when
	// the client hangs up. If Confirm is nil, such keys are refused.
	Confirm func(ctx context.Context, key Key, prompt string) bool

	// KeptBack, if not nil, is told of each key that was added for certain destinations
	// and that a client has not seen in its list, or that has not signed for it, and why.
	KeptBack func(key Key, why error)

	state state
}
