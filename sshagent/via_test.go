package sshagent

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"
)

// relay serves a socket that leads to another one, byte by byte, as "ssh -A" does:
// with a bind of its own in front of each link. It counts the links.
func relay(t *testing.T, to string) (path string, links *atomic.Int64) {
	t.Helper()
	path, links = privateDir(t)+"/relay.sock", new(atomic.Int64)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	bind := bindRequest(t, hostKey(t, newKey(t)), "a session that the agent does not know", "a session that the agent does not know", 1)
	var relaying sync.WaitGroup
	t.Cleanup(func() { l.Close(); relaying.Wait() })
	relaying.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			links.Add(1)
			relaying.Go(func() {
				defer conn.Close()
				there, err := net.Dial("unix", to)
				if err != nil {
					return
				}
				defer there.Close()
				in := newFrameReader(there)
				if writeFrame(there, framed(bind)) != nil {
					return
				}
				if _, err := in.next(); err != nil {
					return
				}
				copyBoth(conn, there)
			})
		}
	})
	return path, links
}

// copyBoth copies both ways until one ends.
func copyBoth(a, b net.Conn) {
	ended := make(chan struct{}, 2)
	for _, c := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() {
			buf := make([]byte, 4096)
			for {
				n, err := c[0].Read(buf)
				if err == nil {
					_, err = c[1].Write(buf[:n])
				}
				if err != nil {
					a.Close()
					b.Close()
					ended <- struct{}{}
					return
				}
			}
		}()
	}
	<-ended
	<-ended
}

// An agent that is brought back to itself is asked once, and not for ever; the
// keys of others are there all the same.
func TestLoopThroughRelay(t *testing.T) {
	s := &Server{Source: newSource(t, testKeys()["ed25519"])}
	socket := serve(t, s)
	back, links := relay(t, socket)
	defer s.Attach(Upstream{Name: "itself", Dial: dialSocket(back)}, nil)()
	laptop, _ := serveKeyring(t, "laptop")
	defer s.Attach(laptop, nil)()
	keys, err := client(t, socket).List()
	if err != nil || len(keys) != 2 || keys[1].Comment != "laptop" {
		t.Errorf("List = %v, %v; want the key of the source, and the laptop's", keys, err)
	}
	if n := links.Load(); n != 1 {
		t.Errorf("the agent asked itself %d times for one list; want once", n)
	}
}

// So is the user's own agent, if that leads back here.
func TestLoopThroughOwnAgent(t *testing.T) {
	s := &Server{Source: newSource(t, testKeys()["ed25519"])}
	socket := filepath.Join(privateDir(t), "agent.sock")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	back, links := relay(t, socket)
	s.Upstreams = []Upstream{{Name: "itself", Dial: dialSocket(back), Changes: true}}
	serveOn(t, s, l)
	a := client(t, socket)
	keys, err := a.List()
	if err != nil || len(keys) != 1 {
		t.Errorf("List = %v, %v; want the key of the source", keys, err)
	}
	if err := a.Add(agent.AddedKey{PrivateKey: newKey(t)}); err == nil {
		t.Error("a key was added to an agent that passes it on to itself")
	}
	if n := links.Load(); n != 1 {
		t.Errorf("the agent asked itself %d times; want once", n)
	}
}

// Two agents that each offer the other's keys, and a third that is in it by way
// of them.
func TestLoopOfSeveral(t *testing.T) {
	const agents = 3
	var sockets []string
	var servers []*Server
	for i := range agents {
		s := &Server{}
		servers, sockets = append(servers, s), append(sockets, serve(t, s))
		u, _ := serveKeyring(t, fmt.Sprint("own", i))
		t.Cleanup(s.Attach(u, nil))
	}
	for i, s := range servers {
		for j := range agents {
			if i != j {
				path, _ := relay(t, sockets[j])
				t.Cleanup(s.Attach(Upstream{Name: fmt.Sprint("agent", j), Dial: dialSocket(path)}, nil))
			}
		}
	}
	for i, socket := range sockets {
		keys, err := client(t, socket).List()
		if err != nil || len(keys) != agents || keys[0].Comment != fmt.Sprint("own", i) {
			t.Errorf("agent %d lists %v, %v; want its own key, then those of the two others", i, keys, err)
			continue
		}
		for _, k := range keys {
			if _, err := client(t, socket).Sign(k, []byte("data")); err != nil {
				t.Errorf("agent %d does not sign with %s: %v", i, k.Comment, err)
			}
		}
	}
}

func TestLeadsBack(t *testing.T) {
	s, other := &Server{}, &Server{}
	own := serve(t, s)
	through, _ := relay(t, own)
	ask := func(path string) (bool, error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return s.LeadsBack(ctx, connect(t, path))
	}
	for _, tt := range []struct {
		name, path string
		want       bool
	}{{"itself", own, true}, {"itself, relayed", through, true}, {"another of ours", serve(t, other), false}, {"OpenSSH's", opensshAgent(t), false}} {
		if got, err := ask(tt.path); got != tt.want || err != nil {
			t.Errorf("LeadsBack of %s = %t, %v; want %t", tt.name, got, err, tt.want)
		}
	}
	path := privateDir(t) + "/web.sock"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			conn.Close()
		}
	}()
	if _, err := ask(path); err == nil {
		t.Error("LeadsBack takes a web server for an agent")
	}
}

// What is not a way that a link can have come is refused, and gets no other
// agent's keys; so does a link through more agents than anybody has.
func TestViaIsChecked(t *testing.T) {
	id := newViaID()
	hop := appendString(nil, id[:])
	for name, tt := range map[string]struct {
		body   []byte
		answer byte
		keys   int
	}{
		"through another":      {hop, agentExtensionResponse, 1},
		"through sixteen":      {bytes.Repeat(hop, 16), agentExtensionResponse, 1},
		"through seventeen":    {bytes.Repeat(hop, 17), agentExtensionFailure, 0},
		"through nobody":       {nil, agentExtensionFailure, 0},
		"a short identity":     {appendString(nil, "short"), agentExtensionFailure, 0},
		"junk":                 {[]byte("junk"), agentExtensionFailure, 0},
		"through, behind junk": {append(bytes.Clone(hop), 1), agentExtensionFailure, 0},
	} {
		s := &Server{}
		laptop, _ := serveKeyring(t, "laptop")
		s.Attach(laptop, nil)
		conn := connect(t, serve(t, s))
		request := append(appendString([]byte{agentExtension}, extVia), tt.body...)
		if got := exchange(t, conn, request); got[0] != tt.answer {
			t.Errorf("%s: answered with message %d; want %d", name, got[0], tt.answer)
		}
		if ids, ok := parseIdentities(exchange(t, conn, []byte{agentRequestIdentities})); !ok || len(ids) != tt.keys {
			t.Errorf("%s: %d keys are listed; want %d", name, len(ids), tt.keys)
		}
		if got := exchange(t, conn, append(appendString([]byte{agentExtension}, extVia), hop...)); got[0] != agentExtensionFailure {
			t.Errorf("%s: a way that is told after the list is answered with message %d; want %d", name, got[0], agentExtensionFailure)
		}
	}
}

// Of more binds than a client could have use for, no upstream agent would hear
// all, so it is not asked.
func TestTooManyBindsBeforeTheList(t *testing.T) {
	s := &Server{}
	laptop, _ := serveKeyring(t, "laptop")
	defer s.Attach(laptop, nil)()
	socket := serve(t, s)
	for _, tt := range []struct{ binds, size, keys int }{{2 * maxBinds, 1 << 10, 1}, {maxBindsKept >> 10, 1 << 10, 0}, {1, maxBindRequest, 1}, {1, maxBindsKept, 0}} {
		conn := connect(t, socket)
		for range tt.binds {
			exchange(t, conn, append(appendString([]byte{agentExtension}, extSessionBind), make([]byte, tt.size)...))
		}
		if ids, ok := parseIdentities(exchange(t, conn, []byte{agentRequestIdentities})); !ok || len(ids) != tt.keys {
			t.Errorf("after %d binds of %d bytes %d keys are listed; want %d", tt.binds, tt.size, len(ids), tt.keys)
		}
	}
}
