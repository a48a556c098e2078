package sshd

import (
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

	refusal Refusal // if it does not log in; for the goroutine that shakes hands

	// Guarded by the server's mu, and not changed once they are set.
	user, name string        // under which it has logged in, and of its key
	key        ssh.PublicKey // nil: has not logged in
	sentAway   string        // why, if we ended it before it had

	mu       sync.Mutex
	forwards map[string]io.Closer // what is listened on for it; nil: ended
	agents   int                  // sessions that brought the agent along
	detach   func()               // of the agent
}

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
	if !s.clients[c] || c.sentAway != "" { // it has been closed meanwhile
		return net.ErrClosed
	}
	c.waiting.Stop()
	c.user, c.name, c.key = user, name, key
	s.running.Go(func() { c.watch(conn) })
	s.known(c)
	s.Log.Info("SSH login", "user", user, "key", ssh.FingerprintSHA256(key), "name", name, "remote", c.RemoteAddr().String())
	return nil
}

// failed is called for a client that did not log in. Close tells of those who have
// tried to; others are port scans, and clients that only look for the host key.
func (s *Server) failed(conn net.Conn, err error) {
	s.Log.Debug("SSH client left before it logged in", "remote", conn.RemoteAddr().String(), "err", err)
}

// Close ends the connection and what was listened on for it. gliderlabs/ssh
// calls it at the end; it may be called twice.
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
		s := c.server
		s.mu.Lock()
		delete(s.clients, c)
		if c.key == nil {
			s.known(c)
		}
		s.mu.Unlock()
		c.tell()
		s.running.Done()
	})
	return err
}

// tell says in the log how it was with a client that has gone.
func (c *client) tell() {
	remote, r := c.RemoteAddr().String(), c.refusal
	if c.key != nil {
		c.server.Log.Info("SSH connection ended", "user", c.user, "key", ssh.FingerprintSHA256(c.key), "name", c.name, "remote", remote)
		return
	}
	if r.Remote = remote; c.sentAway != "" {
		r.Why = c.sentAway
	}
	if r.Why != "" {
		c.server.refused(r)
	}
}
