package sshagent

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func lockRequest(message byte, password string) []byte {
	return appendString([]byte{message}, password)
}

// A wrong password takes longer each time, and nobody waits but who tries one.
func TestUnlockBackoff(t *testing.T) {
	inBubble(t, time.Minute, func(t *testing.T, b *bubble) {
		var log logBuffer
		b.Log = log.logger()
		conn, other := b.dial(), b.dial()
		if err := b.signOn(other); err != nil {
			t.Fatal(err)
		}
		do(t, conn, "locking", lockRequest(agentLock, "correct horse"), true)
		if b.Held() != 0 {
			t.Error("a locked agent holds a private key of its source")
		}
		for _, i := range []int{1, 2, 3, 99, 100, 101} {
			b.padlock().wrong = i - 1
			want := min(time.Duration(i)*unlockDelay, maxUnlockDelay)
			done := make(chan time.Duration, 1)
			begin := time.Now()
			go func() {
				do(t, conn, "a wrong password", lockRequest(agentUnlock, "wrong horse"), false)
				done <- time.Since(begin)
			}()
			time.Sleep(unlockDelay / 2)
			wantKeys(t, other, "while another waits")
			if waited := time.Since(begin); waited != unlockDelay/2 {
				t.Errorf("a list took until %v of another's wait", waited)
			}
			if got := <-done; got != want {
				t.Errorf("wrong password %d was answered after %v; want %v", i, got, want)
			}
		}
		log.want(t, "not unlocked: wrong password", "delay=10s")
		do(t, conn, "the right password", lockRequest(agentUnlock, "correct horse"), true)
		if err := b.signOn(other); err != nil {
			t.Errorf("after unlocking: %v", err)
		}
		do(t, conn, "locking", lockRequest(agentLock, "2"), true)
		begin := time.Now()
		do(t, conn, "a wrong password", lockRequest(agentUnlock, "1"), false)
		if waited := time.Since(begin); waited != unlockDelay {
			t.Errorf("the first wrong password after the right one was answered after %v; want %v", waited, unlockDelay)
		}
		if strings.Contains(log.String(), "horse") {
			t.Errorf("the log has a password:\n%s", &log)
		}
	})
}

// Many who try at once are not faster than one, and who hangs up takes nobody's
// wait away.
func TestUnlockInParallel(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, b *bubble) {
		do(t, b.dial(), "locking", lockRequest(agentLock, "password"), true)
		begin := time.Now()
		for range 5 { // 0.1 + … + 0.5 s
			conn := b.dial()
			if err := writeFrame(conn, framed(lockRequest(agentUnlock, "wrong"))); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			conn.Close()
			time.Sleep(time.Second)
		}
		var tries sync.WaitGroup
		for range 5 {
			conn := b.dial()
			tries.Go(func() { do(t, conn, "a wrong password", lockRequest(agentUnlock, "wrong"), false) })
		}
		tries.Wait() // 0.6 + … + 1.0 s
		if took := time.Since(begin); took != 5*time.Second+4*time.Second {
			t.Errorf("ten wrong passwords, five at once, took %v; want 9s", took)
		}
		// Who hangs up while waiting is not counted.
		conn := b.dial()
		if err := writeFrame(b.dial(), framed(lockRequest(agentUnlock, "wrong"))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := writeFrame(conn, framed(lockRequest(agentUnlock, "wrong"))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		conn.Close()
		synctest.Wait()
		do(t, b.dial(), "the right password", lockRequest(agentUnlock, "password"), true)
		if took := time.Since(begin); took != 9*time.Second+1100*time.Millisecond {
			t.Errorf("the right password was taken after %v; want 10.1s", took)
		}
		if err := b.sign(); err != nil {
			t.Error(err)
		}
	})
}

// A bind that comes while the agent is locked counts when it is unlocked: or a
// connection that is forwarded would pass for a local one.
func TestBindWhileLocked(t *testing.T) {
	a, other := hostKey(t, newKey(t)), hostKey(t, newKey(t))
	path := serve(t, &Server{})
	conn := connect(t, path)
	restriction := restrictTo(destination{to: hop{"", "a", []hopKey{{a.PublicKey().Marshal(), false}}}})
	key := newKey(t)
	do(t, conn, "adding", addition{key: key, comment: "key", constraints: restriction}.request(t), true)
	do(t, conn, "locking", lockRequest(agentLock, "password"), true)
	do(t, conn, "a bind", bindRequest(t, other, "1", "1", 1), true)
	do(t, conn, "unlocking from another host", lockRequest(agentUnlock, "password"), false)
	do(t, connect(t, path), "unlocking", lockRequest(agentUnlock, "password"), true)
	wantKeys(t, conn, "forwarded to another host")
}

// A locked agent hides what upstream agents have, too.
func TestLockHidesUpstream(t *testing.T) {
	up := newSource(t, newKey(t))
	path := serve(t, &Server{Upstreams: []Upstream{{Name: "up", Dial: dialSocket(serve(t, &Server{Source: up}))}}})
	conn := connect(t, path)
	wantKeys(t, conn, "before", "key 0")
	do(t, conn, "locking", lockRequest(agentLock, "password"), true)
	wantKeys(t, conn, "while locked")
	if answer := exchange(t, conn, signFrame(up.signers[0].PublicKey(), message("data"), 0)); answer[0] != agentFailure {
		t.Errorf("a locked agent has an upstream one sign: message %d", answer[0])
	}
}

// Locking and unlocking while others list and sign.
func TestLockRace(t *testing.T) {
	key := newKey(t)
	path := serve(t, &Server{Source: newSource(t, key)})
	var clients sync.WaitGroup
	for i := range 8 {
		conn, own := connect(t, path), newKey(t)
		clients.Go(func() {
			for n := range 10 {
				for _, request := range [][]byte{
					lockRequest(agentLock, "password"),
					{agentRequestIdentities},
					addition{key: own, comment: fmt.Sprint(i), constraints: lifetime(uint32(n % 2))}.request(t),
					signFrame(public(t, own), "text", 0),
					signFrame(public(t, key), message("data"), 0),
					lockRequest(agentUnlock, "password"),
					removal(public(t, own)),
				} {
					if _, err := tryExchange(conn, request); err != nil {
						t.Errorf("client %d: %v", i, err)
						return
					}
				}
			}
		})
	}
	clients.Wait()
	conn := connect(t, path)
	exchange(t, conn, lockRequest(agentUnlock, "password"))
	if err := verify(exchange(t, conn, signFrame(public(t, key), message("data"), 0)), public(t, key), message("data")); err != nil {
		t.Errorf("after all that: %v", err)
	}
}
