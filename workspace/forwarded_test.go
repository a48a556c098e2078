package workspace

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// A forwarded is the socket of an agent that a session has brought along, as sshd
// makes it: its links lead to the agent, and all end with the session. It looks
// into what passes, and sees whether the agent is asked for a key that it has not.
type forwarded struct {
	path string
	dial func() (net.Conn, error) // the agent

	mu      sync.Mutex
	l       net.Listener
	links   map[net.Conn]bool // from clients
	has     map[string]bool   // wire forms of the agent's keys
	signed  int               // answers to requests to sign that are signatures
	wrong   int               // requests for other keys
	met     int               // links so far
	changed chan struct{}     // closed at the next link, signature or end of a link
	running sync.WaitGroup
}

// forward makes a socket in a directory of its own; begin serves it.
func forward(t *testing.T, dial func() (net.Conn, error), keys ...testKey) *forwarded {
	t.Helper()
	f := &forwarded{path: filepath.Join(socketDir(t), "agent.1"), dial: dial, links: make(map[net.Conn]bool), has: make(map[string]bool), changed: make(chan struct{})}
	for _, k := range keys {
		f.has[string(k.public.Marshal())] = true
	}
	t.Cleanup(f.end)
	return f
}

// forwardKeyring is a session that has brought an agent with these keys.
func forwardKeyring(t *testing.T, keys ...testKey) *forwarded {
	t.Helper()
	keyring := agent.NewKeyring()
	for _, k := range keys {
		if err := keyring.Add(agent.AddedKey{PrivateKey: k.private}); err != nil {
			t.Fatal(err)
		}
	}
	f := forward(t, func() (net.Conn, error) {
		ours, theirs := net.Pipe()
		go agent.ServeAgent(keyring, theirs)
		return ours, nil
	}, keys...)
	f.begin(t)
	return f
}

// begin listens.
func (f *forwarded) begin(t *testing.T) {
	l, err := net.Listen("unix", f.path)
	if err != nil {
		t.Error(err)
		return
	}
	f.mu.Lock()
	f.l = l
	f.mu.Unlock()
	f.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if !f.note(func() { f.links[conn] = true; f.met++ }) {
				conn.Close()
				continue
			}
			f.running.Go(func() {
				defer f.note(func() { delete(f.links, conn) })
				defer conn.Close()
				f.serve(conn)
			})
		}
	})
}

// note changes something, and wakes who waits for that. It reports whether the
// session lasts.
func (f *forwarded) note(change func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
	return f.l != nil
}

func (f *forwarded) serve(client net.Conn) {
	f.mu.Lock()
	dial := f.dial
	f.mu.Unlock()
	there, err := dial()
	if err != nil {
		return
	}
	defer there.Close()
	for {
		request, err := readFrame(client)
		if err != nil {
			return
		}
		if _, err := there.Write(request); err != nil {
			return
		}
		answer, err := readFrame(there)
		if err != nil {
			return
		}
		if request[4] == 13 { // SSH_AGENTC_SIGN_REQUEST
			f.note(func() {
				n := binary.BigEndian.Uint32(request[5:])
				switch {
				case !f.has[string(request[9:9+n])]:
					f.wrong++
				case answer[4] == 14:
					f.signed++
				}
			})
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
}

func readFrame(r io.Reader) ([]byte, error) {
	frame := make([]byte, 4)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	frame = append(frame, make([]byte, binary.BigEndian.Uint32(frame))...)
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}

// drop ends all links, but not the session.
func (f *forwarded) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn := range f.links {
		conn.Close()
	}
}

// end ends the session, and waits for its links. It may be called twice.
func (f *forwarded) end() {
	f.mu.Lock()
	l := f.l
	f.l = nil
	f.mu.Unlock()
	if l != nil {
		l.Close() // and removes the socket
	}
	f.drop()
	f.running.Wait()
}

// await returns when what it sees of a session is as wanted.
func (f *forwarded) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		f.mu.Lock()
		ok, changed := done(), f.changed
		f.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Errorf("%s: not within a minute", what)
			return
		}
	}
}

// ended returns when the daemon has let go of the agent of a socket.
func ended(t *testing.T, d *Daemon, socket string, cause func()) {
	t.Helper()
	e := findSocket(d.upstreams.known(), socket)
	if e == nil {
		t.Fatalf("no agent is attached by %s", socket)
	}
	cause()
	<-e.ended
}

// fingerprints is what an agent lists that offers these keys.
func fingerprints(keys ...testKey) (list []string) {
	for _, k := range keys {
		list = append(list, ssh.FingerprintSHA256(k.public))
	}
	return list
}

func symlink(t *testing.T, to string) (path string) {
	t.Helper()
	path = filepath.Join(socketDir(t), "link")
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
	return path
}
