package sshagent

import (
	"context"
	"time"
)

// silentTimeout is what an attached agent gets that did not answer when it was asked
// last. The network of an "ssh -A" may be gone for as long as its sshd does not
// notice, which is for ever as sshd comes: every ssh should not wait for it.
const silentTimeout = time.Second

// probeEvery is how often an agent that fell silent is asked, with all the time that
// others get, whether it is there again: a second may be too short for one that is
// far away, or that asks others itself.
const probeEvery = 30 * time.Second

// fallSilent notes that an agent has not answered, and has it probed.
func (a *attached) fallSilent() {
	if a.silent.CompareAndSwap(false, true) {
		a.probe()
	}
}

// probe asks an agent that is silent in a goroutine of its own, until it answers, is
// detached, or the Server ends, which waits for that.
func (s *Server) probe(a *attached, u Upstream) {
	st := &s.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.isClosed {
		return
	}
	if st.unprobed == nil {
		st.unprobed = make(chan struct{})
	}
	closed := st.unprobed
	st.probing.Go(func() {
		for a.silent.Load() {
			select {
			case <-a.ended:
				return
			case <-closed:
				return
			case <-time.After(probeEvery):
			}
			if s.answers(a, u, closed) {
				a.silent.Store(false)
			}
		}
	})
}

// answers reports whether an agent lists its keys, whatever they are.
func (s *Server) answers(a *attached, u Upstream, closed <-chan struct{}) bool {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-a.ended:
		case <-closed:
		case <-done:
		}
		cancel()
	}()
	link := &upstreamLink{Upstream: u, via: viaRequest(nil, s.ready().id)}
	defer link.close()
	_, err := link.identities(ctx)
	return err == nil
}

// endProbes ends what probes, and waits for it. It may be called twice.
func (st *state) endProbes() {
	st.mu.Lock()
	if st.unprobed != nil {
		close(st.unprobed)
		st.unprobed = nil
	}
	st.mu.Unlock()
	st.probing.Wait()
}
