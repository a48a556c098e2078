package sshagent

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// An attached agent that does not answer any more costs who comes later a moment,
// and is back with its first answer.
func TestAttachedIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mute atomic.Bool
		mute.Store(true)
		up := &scripted{answer: func([]byte) []byte { return identities("key") }}
		dial := func(ctx context.Context) (net.Conn, error) {
			if !mute.Load() {
				return up.dial(ctx)
			}
			ours, theirs := net.Pipe()
			go io.Copy(io.Discard, theirs)
			return ours, nil
		}
		l := newMemListener()
		s := &Server{}
		defer s.Attach(Upstream{Name: "up", Dial: dial}, nil)()
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		for i, want := range []struct {
			mute bool
			keys int
			took time.Duration
		}{{true, 0, listTimeout}, {true, 0, silentTimeout}, {false, 1, 0}, {true, 0, listTimeout}} {
			mute.Store(want.mute)
			conn := l.dial()
			begin := time.Now()
			ids, _ := parseIdentities(exchange(t, conn, []byte{agentRequestIdentities}))
			if took := time.Since(begin); len(ids) != want.keys || took != want.took {
				t.Errorf("list %d had %d keys, and took %v; want %d, and %v", i, len(ids), took, want.keys, want.took)
			}
			conn.Close()
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-served
	})
}
