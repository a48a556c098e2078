package sshd

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	gliderlabs "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// maxForwards is on how many addresses we listen for one client.
const maxForwards = 256

// A bind is an address that a client has us listen on (RFC 4254, section 7.1).
type bind struct {
	Host string
	Port uint32
}

func (b bind) key() string { return "tcp " + b.Host + " " + strconv.Itoa(int(b.Port)) }

// listenTCP answers "tcpip-forward": ssh -R. We listen on loopback addresses
// only, whatever the client asks for, as OpenSSH does without GatewayPorts: what
// the workspace's network would reach must be opened otherwise.
func (s *Server) listenTCP(ctx gliderlabs.Context, _ *gliderlabs.Server, r *ssh.Request) (bool, []byte) {
	var b bind
	if ssh.Unmarshal(r.Payload, &b) != nil || b.Port > 65535 {
		return false, nil
	}
	listeners, port, err := listenLoopback(b.Host, int(b.Port))
	if err != nil {
		s.Log.Debug("not listening for a client", "port", b.Port, "err", err)
		return false, nil
	}
	var answer []byte
	if b.Port == 0 {
		b.Port = uint32(port)
		answer = ssh.Marshal(struct{ Port uint32 }{b.Port})
	}
	if !clientOf(ctx).listen(b.key(), listeners) {
		listeners.Close()
		return false, nil
	}
	for _, l := range listeners {
		go s.relay(ctx, l, "forwarded-tcpip", func(conn net.Conn) []byte {
			from, _ := conn.RemoteAddr().(*net.TCPAddr)
			return ssh.Marshal(struct {
				Host       string
				Port       uint32
				OriginHost string
				OriginPort uint32
			}{b.Host, b.Port, from.IP.String(), uint32(from.Port)})
		})
	}
	return true, answer
}

// listenLoopback listens on the loopback addresses that host means, on one port.
func listenLoopback(host string, port int) (all listeners, at int, err error) {
	addresses := []string{"127.0.0.1", "::1"}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		addresses = []string{host}
	}
	var errs []error
	for _, a := range addresses {
		l, err := net.Listen("tcp", net.JoinHostPort(a, strconv.Itoa(port)))
		if err != nil { // there may be no IPv6
			errs = append(errs, err)
			continue
		}
		all = append(all, l)
		port = l.Addr().(*net.TCPAddr).Port
	}
	for _, err := range errs {
		// Half of what was asked for would be another program's.
		if len(all) == 0 || errors.Is(err, syscall.EADDRINUSE) {
			all.Close()
			return nil, 0, errors.Join(errs...)
		}
	}
	return all, port, nil
}

// cancelTCP answers "cancel-tcpip-forward".
func (s *Server) cancelTCP(ctx gliderlabs.Context, _ *gliderlabs.Server, r *ssh.Request) (bool, []byte) {
	var b bind
	return ssh.Unmarshal(r.Payload, &b) == nil && clientOf(ctx).cancel(b.key()), nil
}

// listenSocket answers "streamlocal-forward@openssh.com" (OpenSSH's PROTOCOL,
// section 2.4). The socket is for this user only.
func (s *Server) listenSocket(ctx gliderlabs.Context, _ *gliderlabs.Server, r *ssh.Request) (bool, []byte) {
	var at struct{ Path string }
	if ssh.Unmarshal(r.Payload, &at) != nil || !strings.HasPrefix(at.Path, "/") {
		return false, nil
	}
	l, err := listenUnix(ctx, at.Path)
	if err != nil {
		s.Log.Debug("not listening for a client", "socket", at.Path, "err", err)
		return false, nil
	}
	if !clientOf(ctx).listen("unix "+at.Path, l) {
		l.Close()
		return false, nil
	}
	go s.relay(ctx, l, "forwarded-streamlocal@openssh.com", func(net.Conn) []byte {
		return ssh.Marshal(struct{ Path, Reserved string }{at.Path, ""})
	})
	return true, nil
}

// listenUnix makes a socket (0600). It replaces one that nobody listens on, and
// nothing else.
func listenUnix(ctx gliderlabs.Context, path string) (net.Listener, error) {
	config := net.ListenConfig{Control: private}
	l, err := config.Listen(ctx, "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if conn, derr := net.Dial("unix", path); derr == nil {
			conn.Close()
		} else if errors.Is(derr, syscall.ECONNREFUSED) && isSocket(path) && os.Remove(path) == nil {
			l, err = config.Listen(ctx, "unix", path)
		}
	}
	if err != nil {
		return nil, err
	}
	s := &socket{UnixListener: l.(*net.UnixListener), path: path}
	s.SetUnlinkOnClose(false) // it would remove whatever is there by then
	if s.info, err = os.Lstat(path); err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// A socket is listened on for a client.
type socket struct {
	*net.UnixListener
	path string
	info fs.FileInfo // of the file that was made
}

// Close stops listening and removes the file, if it is still the one that was
// made: another client, or program, may have put its own there since.
func (s *socket) Close() error {
	err := s.UnixListener.Close()
	if info, serr := os.Lstat(s.path); serr == nil && s.info != nil && os.SameFile(info, s.info) {
		err = errors.Join(err, os.Remove(s.path))
	}
	return err
}

func isSocket(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().Type() == os.ModeSocket
}

// cancelSocket answers "cancel-streamlocal-forward@openssh.com".
func (s *Server) cancelSocket(ctx gliderlabs.Context, _ *gliderlabs.Server, r *ssh.Request) (bool, []byte) {
	var at struct{ Path string }
	return ssh.Unmarshal(r.Payload, &at) == nil && clientOf(ctx).cancel("unix "+at.Path), nil
}

// relay opens a channel for each connection that l accepts.
func (s *Server) relay(ctx gliderlabs.Context, l net.Listener, kind string, payload func(net.Conn) []byte) {
	conn := ctx.Value(gliderlabs.ContextKeyConn).(*ssh.ServerConn)
	for {
		accepted, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			channel, requests, err := conn.OpenChannel(kind, payload(accepted))
			if err != nil {
				s.Log.Debug("connection not forwarded", "err", err)
				accepted.Close()
				return
			}
			join(ctx, channel, requests, accepted)
		}()
	}
}

// listen notes what is listened on for the client, and reports whether it may.
func (c *client) listen(key string, l io.Closer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forwards == nil || c.forwards[key] != nil || len(c.forwards) == maxForwards {
		return false
	}
	c.forwards[key] = l
	return true
}

// cancel stops listening.
func (c *client) cancel(key string) bool {
	c.mu.Lock()
	l, ok := c.forwards[key]
	delete(c.forwards, key)
	c.mu.Unlock()
	if ok {
		l.Close()
	}
	return ok
}

// listeners are closed together.
type listeners []net.Listener

func (ls listeners) Close() (err error) {
	for _, l := range ls {
		err = errors.Join(err, l.Close())
	}
	return err
}
