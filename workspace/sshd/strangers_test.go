package sshd

import (
	"io"
	"net"
	"testing"

	"golang.org/x/crypto/ssh"
)

// For one too many, the one that has waited longest goes: of the same address, else of
// the address from which most have come.
func TestStrangers(t *testing.T) {
	s := start(t, nil)
	owner := s.dial()
	admit := func(ip string) *client {
		t.Helper()
		ours, theirs := net.Pipe()
		t.Cleanup(func() { ours.Close() })
		c, err := s.admit(from{theirs, ip})
		if err != nil {
			t.Fatalf("a stranger from %s: %v", ip, err)
		}
		t.Cleanup(func() {
			c.Close()
			c.end()
		})
		return c
	}
	away := func() (all []*client) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range s.strangers {
			if c.sentAway != "" {
				all = append(all, c)
			}
		}
		return all
	}
	want := func(when string, clients ...*client) {
		t.Helper()
		got := away()
		for i, c := range got {
			if i >= len(clients) || c != clients[i] {
				t.Fatalf("%s, number %d of those sent away is one from %s; want another, of %d", when, i, c.host, len(clients))
			}
		}
		if len(got) != len(clients) {
			t.Fatalf("%s, %d were sent away; want %d", when, len(got), len(clients))
		}
	}
	alone := admit("192.0.2.8")
	first := admit("192.0.2.7")
	for range maxStrangersOfHost - 1 {
		admit("192.0.2.7")
	}
	want("when there is room")
	admit("192.0.2.7")
	want("with one too many from an address", first)
	oldest := admit("::1")
	second := admit("::1")
	for range maxStrangers - maxStrangersOfHost - 3 {
		admit("::1")
	}
	want("when there is room again", first)
	admit("192.0.2.9")
	admit("192.0.2.10")
	want("with two too many in all", first, oldest, second)
	conn := func() *ssh.ServerConn { return nil }
	if err := alone.welcome("alice", s.key.PublicKey(), conn); err != nil {
		t.Errorf("the only one from an address: %v", err)
	}
	if err := second.welcome("alice", s.key.PublicKey(), conn); err == nil {
		t.Error("one that was sent away is let in")
	}
	if err := newSession(t, owner).Run("true"); err != nil {
		t.Errorf("who has logged in: %v", err)
	}

	// Those that were sent away count until they have ended.
	for {
		s.mu.Lock()
		n := len(s.strangers)
		s.mu.Unlock()
		if n == 2*maxStrangers {
			break
		}
		admit("::1")
	}
	if _, err := s.admit(from{ip: "192.0.2.11"}); err == nil {
		t.Errorf("there are more than %d that have not ended", 2*maxStrangers)
	}
}

// from is a connection from an address.
type from struct {
	net.Conn
	ip string
}

func (f from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(f.ip), Port: 1} }

// Behind what forwards a port all have one address, that of this machine. However many
// wait there, the owner comes in, and does so again.
func TestStrangersOnLoopback(t *testing.T) {
	s := start(t, nil)
	version := make([]byte, len("SSH-2.0-Latchkey\r\n"))
	var first net.Conn
	for n := range maxStrangers + 20 {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.ReadFull(conn, version); err != nil {
			t.Fatalf("stranger %d: %v", n, err)
		}
		if first == nil {
			first = conn
		}
	}
	for range 2 {
		if err := newSession(t, s.dial()).Run("true"); err != nil {
			t.Errorf("the owner, beside %d strangers of the same address: %v", maxStrangers, err)
		}
	}
	io.Copy(io.Discard, first) // until it is ended
	s.stop()
	wantLog(t, s.log, "remote="+first.LocalAddr().String()+` why="too many came after it`)
}
