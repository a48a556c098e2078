package sshd

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// serveLast answers each connection, when it has sent all it had to, with that.
func serveLast(t *testing.T, l net.Listener) {
	t.Helper()
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				all, _ := io.ReadAll(c)
				c.Write(append([]byte("you said "), all...))
			}()
		}
	}()
}

// wantLast checks that a connection gives back what it was sent after the end of
// that: forwarding must not take the end of one direction for that of both.
func wantLast(t *testing.T, what string, c net.Conn, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	defer c.Close()
	io.WriteString(c, "hello")
	c.(interface{ CloseWrite() error }).CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "you said hello" || err != nil {
		t.Errorf("%s: %q, %v; want what was said", what, got, err)
	}
}

func TestLocalForward(t *testing.T) {
	c := start(t, nil).dial()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveLast(t, tcp)
	socket := filepath.Join(shortDir(t), "s")
	unix, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	serveLast(t, unix)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			conn, err := c.Dial("tcp", tcp.Addr().String())
			wantLast(t, "a port", conn, err)
			conn, err = c.Dial("unix", socket)
			wantLast(t, "a socket", conn, err)
		})
	}
	all.Wait()
	// Port 1 is nobody's; one that was closed may be another program's by now.
	for _, to := range [][2]string{{"tcp", "127.0.0.1:1"}, {"unix", socket + "-not"}, {"unix", "@abstract"}, {"unix", "relative"}} {
		if conn, err := c.Dial(to[0], to[1]); err == nil {
			conn.Close()
			t.Errorf("a connection to %s succeeds, where nobody is", to[1])
		}
	}
}

// shortDir is a directory with a short path: a socket's may have 107 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Whatever address a client asks for, what it listens on is on this machine only.
func TestRemoteForward(t *testing.T) {
	c := start(t, nil).dial()
	for _, ask := range []string{"0.0.0.0:0", "127.0.0.1:0", "192.0.2.7:0"} {
		l, err := c.Listen("tcp", ask)
		if err != nil {
			t.Errorf("listening on %s: %v", ask, err)
			continue
		}
		serveLast(t, l)
		_, port, _ := net.SplitHostPort(l.Addr().String())
		at := net.JoinHostPort("127.0.0.1", port)
		conn, err := net.Dial("tcp", at)
		wantLast(t, ask, conn, err)
		for _, address := range ownAddresses(t) {
			if conn, err := net.Dial("tcp", net.JoinHostPort(address, port)); err == nil {
				conn.Close()
				t.Errorf("what was asked for as %s is reached from outside, on %s", ask, address)
			}
		}
		l.Close()
		if conn, err := net.Dial("tcp", at); err == nil {
			conn.Close()
			t.Errorf("%s is listened on after it was cancelled", ask)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if l, err := c.Listen("tcp", taken.Addr().String()); err == nil {
		l.Close()
		t.Error("a port that is in use was given")
	}
}

// ownAddresses are the addresses of this machine that others reach.
func ownAddresses(t *testing.T) (all []string) {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			all = append(all, ip.IP.String())
		}
	}
	return all
}

func TestRemoteForwardOfSocket(t *testing.T) {
	s := start(t, nil)
	c := s.dial()
	path := filepath.Join(shortDir(t), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if l, err := c.ListenUnix(path); err == nil {
		l.Close()
		t.Error("a socket that somebody listens on was replaced")
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	l, err := c.ListenUnix(path)
	if err != nil {
		t.Fatalf("in the place of a socket that nobody listens on: %v", err)
	}
	serveLast(t, l)
	if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("%s: %v, %v; want a socket with mode 0600", path, info.Mode(), err)
	}
	conn, err := net.Dial("unix", path)
	wantLast(t, "the socket", conn, err)
	c.Close()
	s.stop()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("when the client has gone, the socket is there: %v", err)
	}
	file := filepath.Join(shortDir(t), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := listenUnix(nil, file); err == nil {
		l.Close()
		t.Error("a file was replaced by a socket")
	}
}

// What is at the path by the time that we stop listening there may be another's.
func TestRemoteForwardOfSocketReplaced(t *testing.T) {
	for what, end := range map[string]func(*site, net.Listener){
		"the forwarding is cancelled": func(_ *site, l net.Listener) { l.Close() },
		"the client goes":             func(s *site, _ net.Listener) { s.stop() },
	} {
		s := start(t, nil)
		path := filepath.Join(shortDir(t), "s")
		ours, err := s.dial().ListenUnix(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		theirs, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer theirs.Close()
		end(s, ours)
		if conn, err := net.Dial("unix", path); err != nil {
			t.Errorf("when %s, the socket that has taken its place: %v; want it left alone", what, err)
		} else {
			conn.Close()
		}
	}
}

// A board is where agents are attached.
type board struct {
	mu     sync.Mutex
	dial   func(context.Context) (net.Conn, error)
	id     []byte
	count  int
	change chan int
}

func (b *board) Attach(_ string, id []byte, dial func(context.Context) (net.Conn, error)) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dial, b.id = dial, id
	b.count++
	b.change <- b.count
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.count--
		b.change <- b.count
	}
}

func TestAgentForwarding(t *testing.T) {
	agents := &board{change: make(chan int, 10)}
	s := start(t, func(s *Server) { s.Agents = agents })
	c := s.dial()
	own := agent.NewKeyring()
	if err := agent.ForwardToAgent(c, own); err != nil {
		t.Fatal(err)
	}
	first, second := newSession(t, c), newSession(t, c)
	for _, session := range []*ssh.Session{first, second} {
		if err := agent.RequestAgentForwarding(session); err != nil {
			t.Fatal(err)
		}
	}
	if n := <-agents.change; n != 1 || string(agents.id) != string(c.SessionID()) {
		t.Errorf("%d agents are attached, of session %x; want one, of %x", n, agents.id, c.SessionID())
	}
	var links []net.Conn
	for range maxAgentLinks {
		conn, err := agents.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if keys, err := agent.NewClient(conn).List(); err != nil || len(keys) != 0 {
			t.Fatalf("List = %v, %v; want none", keys, err)
		}
		links = append(links, conn)
	}
	if _, err := agents.dial(t.Context()); err == nil || !strings.Contains(err.Error(), "64 links") {
		t.Errorf("one link too many: %v", err)
	}
	links[0].Close()
	if conn, err := agents.dial(t.Context()); err != nil {
		t.Errorf("in the place of a link that was closed: %v", err)
	} else {
		conn.Close()
	}
	first.Close()
	output(t, newSession(t, c), "true")
	select {
	case n := <-agents.change:
		t.Errorf("when one of two sessions has ended, %d agents are attached; want one still", n)
	default:
	}
	second.Close()
	if n := <-agents.change; n != 0 {
		t.Errorf("when both have ended, %d agents are attached; want none", n)
	}
	// One that ends with its connection.
	if err := agent.RequestAgentForwarding(newSession(t, c)); err != nil {
		t.Fatal(err)
	}
	<-agents.change
	c.Close()
	if n := <-agents.change; n != 0 {
		t.Errorf("when the connection has ended, %d agents are attached; want none", n)
	}
}
