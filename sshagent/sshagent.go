// Package sshagent is an ssh-agent (RFC 9987) that holds no key for longer than
// it must: it lists public keys, gets a private key from its [Source] when a
// signature is wanted, and forgets it again.
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

// A Source supplies the keys a [Server] offers. It may hold them in memory or
// ask another machine to sign: a [Signer] does not say which. Its methods are
// called concurrently. They bound their own time: the Server has no timeout for
// them, but ends the context when the client hangs up.
type Source interface {
	// Keys lists the keys on offer, in the order in which to offer them. It
	// needs no private key.
	Keys(context.Context) ([]Key, error)

	// Signer gets the private key of one of them. The Server asks once for
	// requests that come together, closes what it got, and ends the context if
	// nobody waits any more.
	Signer(context.Context, ssh.PublicKey) (Signer, error)
}

// A Signer signs with one private key until it is closed. It is safe for
// concurrent use.
type Signer interface {
	ssh.AlgorithmSigner
	// Close forgets the private key. It may be called twice.
	Close() error
}

// An Upstream is another agent whose keys a Server offers behind its own. Each
// client gets a link of its own to it, and frames pass through untouched.
type Upstream struct {
	Name string // for the log and for Activity
	Dial func(context.Context) (net.Conn, error)
}

// An Activity is what a client was answered.
type Activity struct {
	Kind     ActivityKind
	Upstream string // "" for the Source
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

// A Server is an ssh-agent. Its fields are set before any method is called.
//
// It lists keys, signs, and remembers what session-bind@openssh.com tells it;
// whatever would change it (adding or removing keys, locking) it refuses. RSA
// keys sign with SHA-2 only.
type Server struct {
	Source    Source         // may be nil
	Upstreams []Upstream     // asked in this order, after Source; a key that is listed already is left out; see also Attach
	Idle      time.Duration  // how long to keep a private key after its last use; 0: forget it at once
	Log       *slog.Logger   // nil: no log
	Observe   func(Activity) // if not nil, called before the client is answered; concurrently

	state state
}
