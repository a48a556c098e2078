package sshagent

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

// A client that stops sending behind its request, as "nc -N" does, still gets its
// answer; one that closes is gone, also if it has sent more than the request.
func TestHalfClosed(t *testing.T) {
	source, fetching, goOn, ended := newSource(t, testKeys()["ed25519"]), make(chan bool), make(chan bool), make(chan error, 1)
	source.fetching = func(ctx context.Context) (err error) {
		fetching <- true
		select {
		case <-goOn:
			return nil
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(time.Minute): // of a test that fails
			err = errors.New("nobody hung up")
		}
		ended <- err
		return err
	}
	s := &Server{Source: source}
	path := serve(t, s)
	key := public(t, testKeys()["ed25519"])
	request := frame(signFrame(key, message("text"), 0))
	ask := func(request []byte, end func(*net.UnixConn) error) net.Conn {
		conn := connect(t, path)
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		if err := end(conn.(*net.UnixConn)); err != nil {
			t.Fatal(err)
		}
		<-fetching
		return conn
	}
	conn := ask(request, (*net.UnixConn).CloseWrite)
	goOn <- true
	in := newFrameReader(conn)
	answer, err := in.next()
	if err != nil || answer[0] != agentSignResponse {
		t.Fatalf("the answer to a client that has stopped sending is %v, %v; want a signature", answer, err)
	}
	s.Forget()
	for what, more := range map[string]string{"": "", " and a byte": "\x00", " twice": string(request)} {
		ask(append(bytes.Clone(request), more...), (*net.UnixConn).Close)
		if err := <-ended; err != context.Canceled {
			t.Errorf("for a client that has sent its request%s, and closed, the key's fetch ended with %v; want it cancelled", what, err)
		}
	}
}
