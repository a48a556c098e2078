package sshd

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	gliderlabs "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// A client is one connection.
type client struct {
	net.Conn
	server  *Server
	host    string // its address
	waiting *time.Timer
	heard   atomic.Uint64 // how often something came from it
	gone    chan struct{} // closed by Close
	closing sync.Once

	refusal Refusal // if it does not log in; for the goroutine that serves it

	// Guarded by the server's mu, and not changed once they are set.
	user, name string        // under which it has logged in, and of its key
	key        ssh.PublicKey // nil: has not logged in
	sentAway   string        // why, if we ended it before it had

	mu       sync.Mutex
	forwards map[string]io.Closer // what is listened on for it; nil: ended
	agents   int                  // sessions that brought the agent along
	detach   func()               // of the agent
}

// errLeft is why a client is not let in that might have been.
var errLeft = errors.New("the client left before it was let in")

type clientKey struct{}

func clientOf(ctx gliderlabs.Context) *client { return ctx.Value(clientKey{}).(*client) }

// accepted has the handlers find the client.
func (s *Server) accepted(ctx gliderlabs.Context, conn net.Conn) net.Conn {
	ctx.SetValue(clientKey{}, conn)
	return conn
}

// serverConfig is how a client must log in: with a public key, and nothing else.
func (s *Server) serverConfig(ctx gliderlabs.Context) *ssh.ServerConfig {
	c := clientOf(ctx)
	return &ssh.ServerConfig{
		MaxAuthTries: maxAuthTries,
		PublicKeyAuthAlgorithms: []string{ // no certificates, no SHA-1
			ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
			ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
			ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
		},
		// A key may be shown that its owner does not hold, and the user name
		// may change with each try; here both are final.
		VerifiedPublicKeyCallback: func(conn ssh.ConnMetadata, key ssh.PublicKey, p *ssh.Permissions, _ string) (*ssh.Permissions, error) {
			err := c.welcome(conn.User(), key, func() *ssh.ServerConn {
				done, _ := ctx.Value(gliderlabs.ContextKeyConn).(*ssh.ServerConn)
				return done
			})
			c.refusal.shown(conn.User(), key, err)
			return p, err
		},
		AuthLogCallback: c.refusal.tried,
	}
}

// welcome notes that the client has logged in, if it may. From then on it is
// watched, by what conn returns.
func (c *client) welcome(user string, key ssh.PublicKey, conn func() *ssh.ServerConn) error {
	s := c.server
	s.judging.RLock()
	defer s.judging.RUnlock()
	name, err := s.Authorized(user, key)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.waits() {
		return errLeft
	}
	c.waiting.Stop()
	c.user, c.name, c.key = user, name, key
	s.serving.Go(func() { c.watch(conn) })
	s.known(c)
	s.Log.Info("SSH login", "user", user, "key", ssh.FingerprintSHA256(key), "name", name, "remote", c.RemoteAddr().String())
	return nil
}

// failed is called for a client that did not log in. end tells of those who have
// tried to; others are port scans, and clients that only look for the host key.
func (s *Server) failed(conn net.Conn, err error) {
	s.Log.Debug("SSH client left before it logged in", "remote", conn.RemoteAddr().String(), "err", err)
}

// Close ends the connection and what was listened on for it. It may be called twice,
// and at any time: x/crypto/ssh calls it from a goroutine of its own as soon as the
// client has gone, which may be while its key is judged.
func (c *client) Close() error {
	err := c.Conn.Close()
	c.closing.Do(func() {
		close(c.gone)
		c.waiting.Stop()
		c.mu.Lock()
		forwards, detach := c.forwards, c.detach
		c.forwards, c.detach = nil, nil
		c.mu.Unlock()
		for _, f := range forwards {
			f.Close()
		}
		if detach != nil {
			detach()
		}
	})
	return err
}

// serve serves the client until it has gone and nobody is asked about it any more.
func (c *client) serve() {
	c.server.server.HandleConn(c)
	c.end()
}

// end says how it was with the client, and forgets it. It is for the goroutine that
// has served it: no other knows what there is to say, and only then is nothing of the
// client left that would have to be counted.
func (c *client) end() {
	s := c.server
	defer s.serving.Done()
	c.tell()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
	s.known(c)
}

// tell says in the log how it was with a client that has gone.
func (c *client) tell() {
	s, remote, r := c.server, c.RemoteAddr().String(), c.refusal
	if c.key != nil {
		s.Log.Info("SSH connection ended", "user", c.user, "key", ssh.FingerprintSHA256(c.key), "name", c.name, "remote", remote)
		return
	}
	s.mu.Lock()
	if r.Remote = remote; c.sentAway != "" {
		r.Why = c.sentAway
	}
	s.mu.Unlock()
	if r.Why != "" {
		s.refused(r)
	}
}
