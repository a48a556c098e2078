package sshagent

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

// A client that stops sending behind its request, as "nc -N" does, still gets its
// answer; one that closes is gone.
func TestHalfClosed(t *testing.T) {
	source, fetching, goOn := newSource(t, testKeys()["ed25519"]), make(chan context.Context), make(chan bool)
	source.fetching = func(ctx context.Context) error {
		fetching <- ctx
		select {
		case <-goOn:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Minute): // of a test that fails
			return errors.New("nobody hung up")
		}
	}
	s := &Server{Source: source}
	path := serve(t, s)
	key := public(t, testKeys()["ed25519"])
	ask := func(end func(*net.UnixConn) error) (net.Conn, context.Context) {
		conn := connect(t, path)
		if err := writeFrame(conn, framed(signFrame(key, message("text"), 0))); err != nil {
			t.Fatal(err)
		}
		if err := end(conn.(*net.UnixConn)); err != nil {
			t.Fatal(err)
		}
		return conn, <-fetching
	}
	conn, _ := ask((*net.UnixConn).CloseWrite)
	goOn <- true
	in := newFrameReader(conn)
	answer, err := in.next()
	if err != nil || answer[0] != agentSignResponse {
		t.Fatalf("the answer to a client that has stopped sending is %v, %v; want a signature", answer, err)
	}
	s.Forget()
	_, ctx := ask((*net.UnixConn).Close)
	<-ctx.Done() // or the test hangs
}
