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
		var delay atomic.Int64
		up := &scripted{answer: func([]byte) []byte {
			time.Sleep(time.Duration(delay.Load()))
			return identities("key")
		}}
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

		// One whose answer takes longer than that, as it is far away, is asked again.
		slow := l.dial()
		delay.Store(int64(2 * silentTimeout))
		mute.Store(false)
		if ids, _ := parseIdentities(exchange(t, slow, []byte{agentRequestIdentities})); len(ids) != 0 {
			t.Errorf("%d keys were listed of an agent that is silent and slow", len(ids))
		}
		time.Sleep(probeEvery + 4*silentTimeout)
		if ids, _ := parseIdentities(exchange(t, slow, []byte{agentRequestIdentities})); len(ids) != 1 {
			t.Errorf("%d keys were listed, on a link that had failed, of an agent that has answered since; want 1", len(ids))
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-served
	})
}
