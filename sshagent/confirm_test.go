package sshagent

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/ssh"
)

func TestConfirmPrompt(t *testing.T) {
	var mu sync.Mutex
	var prompts []string
	s := &Server{Confirm: func(_ context.Context, key Key, prompt string) bool {
		mu.Lock()
		defer mu.Unlock()
		if key.Public == nil || key.Comment == "" {
			t.Errorf("Confirm got the key %+v", key)
		}
		prompts = append(prompts, prompt)
		return true
	}}
	conn, key, host := connect(t, serve(t, s)), newKey(t), hostKey(t, newKey(t))
	pub := public(t, key)
	do(t, conn, "adding", addition{key: key, comment: "my\nkey \x1b[31m", constraints: []byte{constrainConfirm}}.request(t), true)
	for _, data := range []string{"text", message("text"), login(pub.Marshal(), ssh.KeyAlgoED25519, "1", "root", nil)} {
		if answer := exchange(t, conn, signFrame(pub, data, 0)); answer[0] != agentSignResponse {
			t.Fatalf("a signature was answered with message %d", answer[0])
		}
		exchange(t, conn, bindRequest(t, host, "1", "1", 1))
	}
	for i, words := range [][]string{{"not a login"}, {`namespace "test"`, "another machine"}, {`log in as "root"`, "another machine"}} {
		for _, w := range append(words, ssh.FingerprintSHA256(pub), "Allow use of key my") {
			if !strings.Contains(prompts[i], w) {
				t.Errorf("prompt %d does not say %q:\n%s", i, w, prompts[i])
			}
		}
		if strings.Contains(prompts[i], "\x1b") || strings.Contains(prompts[i], "my\n") {
			t.Errorf("prompt %d has a client's control characters: %q", i, prompts[i])
		}
	}
}

// Nobody is asked on behalf of a client that is gone, and an answer that comes
// when the agent is locked does not count.
func TestConfirmEnds(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, b *bubble) {
		asked, agree := make(chan context.Context), make(chan bool)
		b.Confirm = func(ctx context.Context, _ Key, _ string) bool {
			asked <- ctx
			select {
			case a := <-agree:
				return a
			case <-ctx.Done():
				return false
			}
		}
		key := newKey(t)
		do(t, b.dial(), "adding", addition{key: key, constraints: []byte{constrainConfirm}}.request(t), true)
		request := signFrame(public(t, key), "text", 0)
		conn := b.dial()
		if err := writeFrame(conn, framed(request)); err != nil {
			t.Fatal(err)
		}
		ctx := <-asked
		conn.Close()
		synctest.Wait()
		if ctx.Err() == nil {
			t.Error("the client hung up, and the question goes on")
		}
		conn = b.dial()
		answer := make(chan []byte, 1)
		go func() {
			a, _ := tryExchange(conn, request)
			answer <- a
		}()
		<-asked
		do(t, b.dial(), "locking", lockRequest(agentLock, "password"), true)
		agree <- true
		if a := <-answer; len(a) == 0 || a[0] != agentFailure {
			t.Errorf("leave that was given when the agent was locked: answer %v; want a failure", a)
		}
	})
}

// The user is asked one thing at a time, however many requests come at once, and
// not for those whose client has gone meanwhile.
func TestConfirmOneByOne(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, b *bubble) {
		asked, agree := make(chan bool), make(chan bool)
		b.Confirm = func(context.Context, Key, string) bool {
			asked <- true
			return <-agree
		}
		key := newKey(t)
		do(t, b.dial(), "adding", addition{key: key, constraints: []byte{constrainConfirm}}.request(t), true)
		const clients = 50
		request := signFrame(public(t, key), "text", 0)
		answers := make(chan byte, clients)
		gone := b.dial()
		for range clients {
			conn := b.dial()
			go func() { answers <- exchange(t, conn, request)[0] }()
		}
		synctest.Wait()
		if err := writeFrame(gone, framed(request)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		gone.Close()
		for n := range clients {
			<-asked
			synctest.Wait()
			select {
			case <-asked:
				t.Fatal("another question came while one was open")
			default:
			}
			agree <- n%2 == 0
			if answer, want := <-answers, map[bool]byte{true: agentSignResponse, false: agentFailure}[n%2 == 0]; answer != want {
				t.Errorf("request %d was answered with message %d; want %d", n, answer, want)
			}
		}
		synctest.Wait()
		select {
		case <-asked:
			t.Error("the user was asked for a client that has gone")
		default:
		}
	})
}
