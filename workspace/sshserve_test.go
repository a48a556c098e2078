package workspace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/workspace/sshd"
)

// A daemon that does not answer has refused nobody; one that does not say yes has.
func TestSSHFrontWithoutAnswer(t *testing.T) {
	ours, end, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.FileConn(end)
	if err = errors.Join(err, end.Close()); err != nil {
		t.Fatal(err)
	}
	daemon := &sshLink{conn: conn.(*net.UnixConn), largest: maxSSHQuestion, ended: make(chan struct{})}
	daemon.answer = func(_ string, body []byte, _ *os.File) (any, error) {
		login, err := parsed[sshLogin](body)
		switch string(login.User) {
		case "silent":
			<-daemon.ended // it says nothing for as long as it lives
		case "alice":
			return sshAuthorized{Why: "no such login key"}, err
		}
		return nil, errors.New("no question")
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { daemon.run() })
	front := newSSHFront(ours, nil, harden.Report{}, slog.New(slog.DiscardHandler))
	running.Go(func() { front.link.run() })
	defer ours.Close()
	defer conn.Close()
	for _, c := range []struct {
		user    string
		refused bool
		want    string
	}{
		{"alice", true, "no such login key"},
		{"odd", true, "no question"},
		{strings.Repeat("a", maxSSHUser+1), true, "long"},
		{"silent", false, "does not answer"},
	} {
		if front.patience = sshTimeout; !c.refused {
			front.patience = 1 // whenever it is over: there is no answer
		}
		name, err := front.authorized(c.user, newEd25519(t).public)
		if name != "" || errors.Is(err, sshd.ErrRefused) != c.refused || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%.10s: %q, %v; want it refused: %t, for %q", c.user, name, err, c.refused, c.want)
		}
	}
	conn.Close()
	<-front.link.ended
	if _, err := front.authorized("alice", newEd25519(t).public); err == nil || errors.Is(err, sshd.ErrRefused) {
		t.Errorf("when the daemon has ended: %v; want no refusal", err)
	}
}

// What fails is done again without being told, until it does not fail.
func TestWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		told, done := make(chan struct{}, 1), 0
		go whenTold(ctx, told, func() bool { done++; return done > 3 })
		time.Sleep(time.Hour)
		synctest.Wait()
		if done != 0 {
			t.Fatalf("it was done %d times without being told", done)
		}
		told <- struct{}{}
		time.Sleep(time.Hour)
		synctest.Wait()
		if done != 4 {
			t.Errorf("it was done %d times, with three failures; want 4", done)
		}
	})
}
