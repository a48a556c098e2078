package sshd

import (
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"time"
)

// How many clients may be connected at once that have not logged in. Who comes when
// they are too many is let in, and who has waited longest is sent away: who holds
// connections keeps nobody out, for a login takes moments. OpenSSH's MaxStartups refuses
// who comes, at random, and with it a few who hold many and ask for more keep most
// others out.
const (
	maxStrangers       = 100
	maxStrangersOfHost = 10 // of them, from one address that is not loopback
)

// acceptPause is how long nobody is accepted when that has failed, but may not again.
const acceptPause = 100 * time.Millisecond

// accept serves the clients that l accepts until it fails, and closes it.
func (s *Server) accept(l net.Listener) error {
	defer l.Close()
	for {
		conn, err := l.Accept()
		if failed, ok := err.(net.Error); ok && failed.Temporary() { // there was no file descriptor left, say
			time.Sleep(acceptPause)
			continue
		}
		if err != nil {
			return err
		}
		c, err := s.admit(conn)
		if err != nil {
			conn.Close()
			s.refused(Refusal{Remote: conn.RemoteAddr().String(), Why: err.Error()})
			continue
		}
		go c.serve()
	}
}

// admit makes a client of a connection. It counts until its end.
func (s *Server) admit(conn net.Conn) (*client, error) {
	host := conn.RemoteAddr().String()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	c := &client{Conn: conn, server: s, host: host, gone: make(chan struct{}), forwards: make(map[string]io.Closer)}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrServerClosed
	case len(s.strangers) >= 2*maxStrangers: // who has left, or was sent away, has not ended yet
		return nil, errors.New("too many have not logged in yet")
	}
	s.makeRoom(host)
	s.clients[c] = true
	s.strangers = append(s.strangers, c)
	s.serving.Add(1)
	// Not a deadline: gliderlabs/ssh sets its own.
	c.waiting = time.AfterFunc(loginTime, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		c.sendAway("it took too long to log in")
	})
	return c, nil
}

// makeRoom sends a stranger away if there are too many for one more from an
// address: of that address, else of those that have most. mu is held.
func (s *Server) makeRoom(host string) {
	var all []*client
	waiting := make(map[string]int)
	for _, c := range s.strangers {
		if c.waits() {
			all = append(all, c)
			waiting[c.host]++
		}
	}
	var crowded func(*client) bool
	switch {
	case waiting[host] >= maxStrangersOfHost && !isLoopback(host):
		crowded = func(c *client) bool { return c.host == host }
	case len(all) >= maxStrangers:
		most := slices.Max(slices.Collect(maps.Values(waiting)))
		crowded = func(c *client) bool { return waiting[c.host] == most }
	default:
		return
	}
	all[slices.IndexFunc(all, crowded)].sendAway("too many came after it that have not logged in either")
}

// waits reports whether the client may still log in. The server's mu is held.
func (c *client) waits() bool {
	select {
	case <-c.gone:
		return false
	default:
		return c.key == nil && c.sentAway == ""
	}
}

// sendAway ends the connection of a client that has not logged in. The server's mu
// is held.
func (c *client) sendAway(why string) {
	if c.waits() {
		c.sentAway = why
		c.Conn.Close()
	}
}

// known counts a client no longer among the strangers. mu is held.
func (s *Server) known(c *client) {
	s.strangers = slices.DeleteFunc(s.strangers, func(other *client) bool { return other == c })
}

// isLoopback reports whether an address is one that many clients share: whoever
// comes through a port forwarder has the forwarder's.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
