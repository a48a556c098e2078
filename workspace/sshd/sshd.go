// Package sshd serves SSH to the owner of a workspace: shells, commands, SFTP,
// forwarding of ports and sockets, and of their ssh-agent.
//
// It runs programs as the user that it runs as, and never as another. Who is
// let in is its user's to say: see [Server].
package sshd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"time"

	gliderlabs "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/lograte"
)

var (
	// ErrServerClosed is what Serve returns after Shutdown.
	ErrServerClosed = errors.New("sshd: server closed")

	// ErrRefused is what Authorized returns of who may not log in.
	ErrRefused = errors.New("may not log in")
)

// What a client may do before it has shown who it is, as with OpenSSH's
// LoginGraceTime (half of it) and MaxAuthTries.
const (
	loginTime    = time.Minute
	maxAuthTries = 6
)

// Agents takes the ssh-agents that people bring along with "ssh -A".
type Agents interface {
	// Attach offers an agent until detach is called. id is the session
	// identifier of the connection that it came with.
	Attach(name string, id []byte, dial func(context.Context) (net.Conn, error)) (detach func())
}

// A Server is an SSH server. Its fields are set before any method is called.
type Server struct {
	HostKey ssh.Signer

	// Authorized returns what a key is called in the log if its holder may log in
	// under a user name, and an [ErrRefused] if they may not. Any other error says
	// that this is not known: they are not let in, and who is in already stays. It is
	// called concurrently, and again by Recheck.
	Authorized func(user string, key ssh.PublicKey) (name string, err error)

	Account Account                      // whose programs run
	Environ func(base []string) []string // if not nil, makes the environment of a program of what it has already
	Start   func(*exec.Cmd) error        // if not nil, starts a program in the place of its Start
	SFTP    []string                     // the program that serves SFTP on its standard input and output; nil: none
	Agents  Agents                       // nil: no agent is taken
	Refused func(Refusal)                // if not nil, is told of logins with keys that were refused, once each has ended and the log has it
	Log     *slog.Logger                 // nil: no log

	server gliderlabs.Server

	// Held for reading from when a client is judged until it counts as logged in.
	// It is locked before mu, which is not held while somebody is judged: that may take long.
	judging sync.RWMutex

	told       lograte.Limit // refusals of who has shown no key
	toldOfKeys lograte.Limit

	mu        sync.Mutex
	closed    bool
	listener  net.Listener // nil: Serve was not called
	clients   map[*client]bool
	strangers []*client // who has not logged in, the first that came first
	sessions  map[*session]bool
	serving   sync.WaitGroup // clients
	running   sync.WaitGroup // sessions
}

// Serve serves the clients that l accepts until Shutdown, or until l fails. It
// closes l, and may be called once.
func (s *Server) Serve(l net.Listener) error {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		l.Close()
		return ErrServerClosed
	}
	s.listener = l
	s.clients, s.sessions = make(map[*client]bool), make(map[*session]bool)
	s.configure()
	s.mu.Unlock()
	err := s.accept(l)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrServerClosed
	}
	return fmt.Errorf("accepting SSH clients: %w", err)
}

// configure makes the server of package gliderlabs/ssh, which shakes hands and
// sees who wants what. Its own handlers of sessions and forwarding are
// not used: they write "\n" as "\r\n" to a terminal that is in raw mode, know no
// terminal modes and no exit signals, and cut a connection off when one side has
// only stopped sending.
func (s *Server) configure() {
	s.server.Version = "Latchkey"
	s.server.HostSigners = []gliderlabs.Signer{s.HostKey}
	s.server.ConnCallback = s.accepted
	s.server.ServerConfigCallback = s.serverConfig
	// Without this handler gliderlabs/ssh lets everybody in.
	s.server.PublicKeyHandler = func(ctx gliderlabs.Context, key gliderlabs.PublicKey) bool {
		_, err := s.Authorized(ctx.User(), key)
		clientOf(ctx).refusal.shown(ctx.User(), key, err)
		return err == nil
	}
	s.server.ConnectionFailedCallback = s.failed
	s.server.ChannelHandlers = map[string]gliderlabs.ChannelHandler{
		"session":                        s.serveSession,
		"direct-tcpip":                   s.forwardTCP,
		"direct-streamlocal@openssh.com": s.forwardSocket,
	}
	s.server.RequestHandlers = map[string]gliderlabs.RequestHandler{
		"tcpip-forward":                          s.listenTCP,
		"cancel-tcpip-forward":                   s.cancelTCP,
		"streamlocal-forward@openssh.com":        s.listenSocket,
		"cancel-streamlocal-forward@openssh.com": s.cancelSocket,
	}
}

// Shutdown stops accepting and ends all connections. Programs that were started
// in a session and still run are sent SIGHUP, as when a terminal is gone, and
// SIGKILL if ctx ends before they do; what they have left in the background goes
// on. A client of whom it is still asked whether they may log in is waited for
// until ctx ends, and no longer. It may be called twice.
func (s *Server) Shutdown(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	if s.listener != nil {
		s.listener.Close()
	}
	for c := range s.clients {
		c.Conn.Close()
	}
	for session := range s.sessions {
		session.kill(syscall.SIGHUP)
	}
	s.mu.Unlock()

	ended := make(chan struct{})
	go func() {
		s.serving.Wait()
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	s.mu.Lock()
	for session := range s.sessions {
		session.kill(syscall.SIGKILL)
	}
	s.mu.Unlock()
	s.running.Wait()
}

// Recheck ends the connections of who would not be let in any more. It stops with
// an error at the first of whom that is not known.
func (s *Server) Recheck() error {
	for _, c := range s.loggedIn() {
		_, err := s.Authorized(c.user, c.key)
		switch {
		case errors.Is(err, ErrRefused):
			s.Log.Warn("SSH connection ended: its key may not log in any more", "key", ssh.FingerprintSHA256(c.key), "remote", c.RemoteAddr().String())
			c.Conn.Close()
		case err != nil:
			return err
		}
	}
	return nil
}

// loggedIn are the clients that are in, and those that are just being let in, lest
// Recheck miss one whose key is taken away now.
func (s *Server) loggedIn() (clients []*client) {
	s.judging.Lock()
	defer s.judging.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.clients {
		if c.key != nil {
			clients = append(clients, c)
		}
	}
	return clients
}
