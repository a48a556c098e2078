package sshagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// A bubble is a server in memory, for tests in which time is played.
type bubble struct {
	*Server
	t      *testing.T
	l      *memListener
	source *testSource
}

// inBubble runs test in a synctest bubble with a server whose source has one key.
func inBubble(t *testing.T, idle time.Duration, test func(t *testing.T, b *bubble)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t, l: newMemListener(), source: newSource(t, testKeys()["ed25519"])}
		b.Server = &Server{Source: b.source, Idle: idle}
		served := make(chan error, 1)
		go func() { served <- b.Serve(b.l) }()
		test(t, b)
		if err := b.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; err != ErrServerClosed {
			t.Errorf("Serve = %v; want ErrServerClosed", err)
		}
		if fetched, closed := b.source.counts(); b.Held() != 0 || closed > fetched {
			t.Errorf("after Shutdown %d private keys are held, and of %d that were fetched %d were closed", b.Held(), fetched, closed)
		}
		b.source.check(t)
	})
}

// sign signs once, on a connection of its own that it leaves open until the
// test's end.
func (b *bubble) sign() error { return b.signOn(b.dial()) }

func (b *bubble) dial() net.Conn {
	conn := b.l.dial()
	b.t.Cleanup(func() { conn.Close() })
	return conn
}

func (b *bubble) signOn(conn net.Conn) error {
	key := public(b.t, testKeys()["ed25519"])
	answer, err := tryExchange(conn, signFrame(key, message("data"), 0))
	if err != nil {
		return err
	}
	return verify(answer, key, message("data"))
}

// verify says what is wrong with the answer to a sign request.
func verify(answer []byte, key ssh.PublicKey, data string) error {
	blob, _, ok := cutString(answer[1:])
	if answer[0] != agentSignResponse || !ok {
		return fmt.Errorf("answered with message %d", answer[0])
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(blob, &sig); err != nil {
		return err
	}
	return key.Verify([]byte(data), &sig)
}

// want fails the test unless so many keys were fetched, closed, and are held.
func (b *bubble) want(when string, fetched, closed int) {
	b.t.Helper()
	synctest.Wait()
	if f, c := b.source.counts(); f != fetched || c != closed || b.Held() != fetched-closed {
		b.t.Errorf("%s: %d fetches, %d keys closed, %d held; want %d, %d, %d", when, f, c, b.Held(), fetched, closed, fetched-closed)
	}
}

func TestOneFetch(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		gate := make(chan struct{})
		b.source.fetching = func(context.Context) error { <-gate; return nil }
		var signs sync.WaitGroup
		for range 50 {
			signs.Go(func() {
				if err := b.sign(); err != nil {
					t.Errorf("one of 50 simultaneous signatures: %v", err)
				}
			})
		}
		synctest.Wait()
		if fetched, _ := b.source.counts(); fetched != 1 {
			t.Errorf("50 simultaneous signatures made %d fetches; want 1", fetched)
		}
		close(gate)
		signs.Wait()
		b.want("after 50 simultaneous signatures", 1, 0)
	})
}

func TestListFetchesNothing(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		if keys, err := agent.NewClient(b.dial()).List(); err != nil || len(keys) != 1 {
			t.Errorf("List = %d keys, %v; want 1", len(keys), err)
		}
		b.want("after a list", 0, 0)
	})
}

func TestIdle(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		for range 3 {
			if err := b.sign(); err != nil {
				t.Fatal(err)
			}
			b.want("after a signature", 1, 0)
			time.Sleep(time.Minute - 1)
			b.want("just before the idle time ends", 1, 0)
		}
		time.Sleep(1)
		b.want("when the idle time ends", 1, 1)
		if err := b.sign(); err != nil {
			t.Fatal(err)
		}
		b.want("after the next signature", 2, 1)
		time.Sleep(time.Minute)
		b.want("when its idle time ends", 2, 2)
	})
}

// A key that is never idle is fetched anew all the same, so that it is not used
// for ever by whoever may not have it any more.
func TestMaxAge(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		sign := func() {
			if err := b.sign(); err != nil {
				t.Error(err)
			}
		}
		for range maxAge / (30 * time.Second) {
			sign()
			b.want("while the key is young", 1, 0)
			time.Sleep(30 * time.Second)
		}
		sign()
		b.want("when the key is old", 2, 1)

		gate := make(chan struct{})
		b.source.signing = func() { <-gate }
		go sign()
		time.Sleep(maxAge)
		go sign()
		b.want("while the old key still signs", 3, 1)
		close(gate)
		b.want("when it has signed", 3, 2)
	})
}

// The idle time begins when the last use ends, however long it takes.
func TestIdleAfterLongUse(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		b.source.signing = func() { time.Sleep(time.Hour) }
		if err := b.sign(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute - 1)
		b.want("just before the idle time ends", 1, 0)
		time.Sleep(1)
		b.want("when the idle time ends", 1, 1)
	})
}

func TestIdleZero(t *testing.T) {
	for _, idle := range []time.Duration{0, -1} {
		inBubble(t, idle, func(t *testing.T, b *bubble) {
			for i := range 3 {
				if err := b.sign(); err != nil {
					t.Fatal(err)
				}
				b.want("after a signature", i+1, i+1)
			}
			gate := make(chan struct{})
			b.source.signing = func() { <-gate }
			var signs sync.WaitGroup
			for range 2 {
				signs.Go(func() {
					if err := b.sign(); err != nil {
						t.Error(err)
					}
				})
			}
			b.want("while two sign", 4, 3)
			gate <- struct{}{}
			b.want("while one of two still signs", 4, 3)
			gate <- struct{}{}
			signs.Wait()
			b.want("after both", 4, 4)
		})
	}
}

func TestFetchFails(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		var log logBuffer
		b.Log = log.logger()
		var seen []Activity
		b.Observe = func(a Activity) { seen = append(seen, a) }
		away := errors.New("the server is away")
		b.source.fetching = func(context.Context) error { return away }
		conn := b.dial()
		if err := b.signOn(conn); err == nil {
			t.Error("a signature succeeded without its private key")
		}
		synctest.Wait()
		if n := b.Held(); n != 0 {
			t.Errorf("after a failed fetch %d keys are held; want none", n)
		}
		if len(seen) != 1 || seen[0].Kind != Signed || !errors.Is(seen[0].Err, away) {
			t.Errorf("Observe saw %+v; want one signature that failed with the source's error", seen)
		}
		log.want(t, "not signed", away.Error(), fingerprint(public(t, testKeys()["ed25519"]).Marshal()))
		b.source.fetching = nil
		if err := b.signOn(conn); err != nil {
			t.Errorf("once the source is back: %v", err)
		}
	})
}

// Who hangs up neither waits on nor takes the fetch from the others.
func TestHangUpDuringFetch(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		gate, ended := make(chan struct{}), make(chan error, 1)
		b.source.fetching = func(ctx context.Context) error {
			select {
			case <-gate:
				return nil
			case <-ctx.Done():
				ended <- ctx.Err()
				return ctx.Err()
			}
		}
		start := func() (net.Conn, chan error) {
			conn, done := b.dial(), make(chan error, 1)
			go func() { done <- b.signOn(conn) }()
			synctest.Wait()
			return conn, done
		}
		first, firstDone := start()
		_, secondDone := start()
		first.Close()
		if err := <-firstDone; err == nil {
			t.Error("a client got its signature after it hung up")
		}
		synctest.Wait()
		if n := len(b.links()); n != 1 {
			t.Errorf("%d links are there after one of two hung up; want 1", n)
		}
		gate <- struct{}{}
		if err := <-secondDone; err != nil {
			t.Errorf("the other client's signature: %v", err)
		}
		b.want("after one of two hung up", 1, 0)

		b.Forget()
		last, lastDone := start()
		last.Close()
		<-lastDone
		if err := <-ended; err == nil {
			t.Error("the fetch goes on though nobody waits")
		}
		synctest.Wait()
		if n := b.Held(); n != 0 {
			t.Errorf("%d keys are held after the only client hung up; want none", n)
		}
		go func() { gate <- struct{}{} }()
		if err := b.sign(); err != nil {
			t.Errorf("the next signature: %v", err)
		}
	})
}

// A key that comes although nobody waits for it is closed.
func TestFetchForNobody(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		gate := make(chan struct{})
		b.source.fetching = func(context.Context) error { <-gate; return nil }
		conn := b.dial()
		go b.signOn(conn)
		synctest.Wait()
		conn.Close()
		synctest.Wait()
		close(gate)
		b.want("after the client is gone", 1, 1)
	})
}

func TestForget(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		if err := b.sign(); err != nil {
			t.Fatal(err)
		}
		b.Forget()
		if _, closed := b.source.counts(); closed != 1 {
			t.Error("an unused key was not closed when Forget returned")
		}

		gate := make(chan struct{})
		b.source.signing = func() { <-gate }
		done := make(chan error, 2)
		go func() { done <- b.sign() }()
		synctest.Wait()
		b.Forget()
		b.want("while one signs, after Forget", 2, 1)
		go func() { done <- b.sign() }()
		b.want("while a second signs", 3, 1)
		close(gate)
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("a signature that Forget came upon: %v", err)
			}
		}
		b.want("after both", 3, 2)
	})
}

func TestForgetDuringFetch(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		gate := make(chan struct{})
		b.source.fetching = func(context.Context) error { <-gate; return nil }
		done := make(chan error, 1)
		go func() { done <- b.sign() }()
		synctest.Wait()
		b.Forget()
		close(gate)
		if err := <-done; err != nil {
			t.Errorf("a signature whose fetch Forget came upon: %v", err)
		}
		b.want("after it", 1, 1)
	})
}

func TestShutdownWaits(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		gate := make(chan struct{})
		b.source.signing = func() { <-gate }
		idle, signed := b.dial(), make(chan error, 1)
		go func() { signed <- b.sign() }()
		synctest.Wait()
		down := make(chan error, 1)
		go func() { down <- b.Shutdown(t.Context()) }()
		if _, err := idle.Read(make([]byte, 1)); err == nil {
			t.Error("an idle link goes on after Shutdown")
		}
		if conn := b.l.dial(); conn != nil {
			t.Error("a client was accepted after Shutdown")
		}
		synctest.Wait()
		select {
		case err := <-down:
			t.Errorf("Shutdown = %v while a key signs; want it to wait", err)
		default:
		}
		close(gate)
		if err := <-signed; err != nil {
			t.Errorf("the signature that was under way: %v", err)
		}
		if err := <-down; err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		b.want("after Shutdown", 1, 1)
	})
}

func TestShutdownCutsOff(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		gate := make(chan struct{})
		b.source.signing = func() { <-gate }
		signed := make(chan error, 1)
		go func() { signed <- b.sign() }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v; want the end of its time", err)
		}
		if err := <-signed; err == nil {
			t.Error("a client got its signature after Shutdown had cut it off")
		}
		b.want("while the key still signs", 1, 0)
		close(gate)
		b.want("when it has signed", 1, 1)
	})
}

// A fetch that goes on although its client is gone ends before Shutdown does.
func TestShutdownWaitsForFetch(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		b.source.fetching = func(context.Context) error { time.Sleep(time.Second); return nil }
		conn := b.dial()
		go b.signOn(conn)
		synctest.Wait()
		conn.Close()
		synctest.Wait()
		begin := time.Now()
		if err := b.Shutdown(t.Context()); err != nil || time.Since(begin) != time.Second {
			t.Errorf("Shutdown = %v after %v; want it to wait a second for the fetch", err, time.Since(begin))
		}
		if fetched, closed := b.source.counts(); fetched != 1 || closed != 1 {
			t.Errorf("when Shutdown is done there were %d fetches, %d keys closed; want 1, 1", fetched, closed)
		}
	})
}

func TestNoFetchAfterShutdown(t *testing.T) {
	k := newKeyring(time.Minute, slog.New(slog.DiscardHandler))
	if err := k.shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := k.take("key", func(context.Context) (Signer, error) { return nil, errors.New("fetched") })
	if err != ErrServerClosed {
		t.Errorf("take = %v after shutdown; want ErrServerClosed", err)
	}
}

func TestShutdownEndsFetch(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		b.source.fetching = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		go b.sign()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Shutdown(ctx); err == nil {
			t.Error("Shutdown succeeded while a fetch was under way that does not end")
		}
	})
}

// Keys are fetched, used, forgotten and closed in every order there is; the
// source finds what is closed early, twice, or not at all.
func TestStorm(t *testing.T) {
	for _, idle := range []time.Duration{0, time.Microsecond, time.Millisecond} {
		inBubble(t, idle, func(t *testing.T, b *bubble) {
			b.source.fetching = func(context.Context) error {
				time.Sleep(rand.N(3 * time.Microsecond))
				return nil
			}
			b.source.signing = func() { time.Sleep(rand.N(3 * time.Microsecond)) }
			var clients sync.WaitGroup
			for range 8 {
				conn := b.dial()
				clients.Go(func() {
					for i := range 100 {
						if err := b.signOn(conn); err != nil {
							t.Errorf("signature: %v", err)
						}
						if i%10 == 0 {
							b.Forget()
						}
						time.Sleep(rand.N(3 * time.Microsecond))
					}
				})
			}
			clients.Wait()
			b.Forget()
			fetched, _ := b.source.counts()
			b.want("after the storm", fetched, fetched)
		})
	}
}

// links are the links that there are now.
func (s *Server) links() []*link {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	var links []*link
	for l := range s.state.links {
		links = append(links, l)
	}
	return links
}
