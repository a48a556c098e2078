package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/memstore"
)

const underWayBody = `{"name":"slow"}`

// underWay begins to make a user: when it returns, the server's handler has
// asked for the body and waits for it.
func underWay(t testing.TB, address, token string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST /api/v2/users HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		address, token, len(underWayBody))
	answer := bufio.NewReader(conn)
	line, err := answer.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("the server says %q, %v; want it to ask for the body", line, err)
	}
	answer.ReadString('\n') // the empty line behind it
	return conn, answer
}

// The first signal closes the door and finishes what is under way.
func TestGracefulStop(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		s := newSite(t)
		r := s.serve(t)
		token := r.firstToken()
		address := strings.TrimPrefix(r.url, "http://")
		conn, answer := underWay(t, address, token)
		r.signal(sig)
		r.await("stopping")
		for { // until the door is closed
			other, err := net.Dial("tcp", address)
			if err != nil {
				break
			}
			other.Close()
		}
		io.WriteString(conn, underWayBody)
		resp, err := http.ReadResponse(answer, nil)
		if err != nil || resp.StatusCode != 201 {
			t.Fatalf("%v: the request under way ended with %v, %v; want 201", sig, resp, err)
		}
		if code := r.wait(); code != 0 {
			t.Errorf("%v: exit status %d; want 0", sig, code)
		}
		again := s.serve(t)
		if _, err := again.client(token).User(t.Context(), "slow"); err != nil {
			t.Errorf("%v: what was acknowledged while stopping: %v", sig, err)
		}
		again.stop()
	}
}

func TestSecondSignal(t *testing.T) {
	s := newSite(t)
	r := s.serve(t)
	underWay(t, strings.TrimPrefix(r.url, "http://"), r.firstToken())
	r.signal(syscall.SIGTERM)
	r.await("stopping")
	r.signal(syscall.SIGTERM)
	if code := r.wait(); code != exitError {
		t.Errorf("after a second signal the exit status is %d; want %d", code, exitError)
	}
	if !strings.Contains(r.said(), "stopped with 1 requests under way: a second signal came") {
		t.Errorf("after a second signal the server says\n%s", r.said())
	}
	s.serve(t).stop()
}

// What is under way has its time, and not more.
func TestStopIsBounded(t *testing.T) {
	key, err := keyserver.NewMasterKey()
	if err != nil {
		t.Fatal(err)
	}
	server, err := keyserver.New(t.Context(), keyserver.Config{Store: memstore.New(), MasterKey: key})
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := server.FirstAdmin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newLife(server, nil, slog.New(slog.DiscardHandler))
	served := make(chan error)
	go func() { served <- l.http.Serve(listener) }()
	underWay(t, listener.Addr().String(), token)
	l.patience = time.Nanosecond
	err = l.stop(context.WithoutCancel(t.Context()), nil)
	if err == nil || !strings.Contains(err.Error(), "stopped with 1 requests under way") {
		t.Errorf("stop with a request that does not end: %v; want an error that counts it", err)
	}
	<-served
}

// systemd is told when the server is ready, and when it stops.
func TestNotify(t *testing.T) {
	dir, err := os.MkdirTemp("", "lk") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	s := newSite(t)
	s.env = []string{"NOTIFY_SOCKET=" + path}
	r := s.serve(t, "--dev")
	buf := make([]byte, 100)
	for _, want := range []string{"READY=1", "STOPPING=1"} {
		n, err := conn.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Fatalf("systemd was told %q, %v; want %s", buf[:n], err, want)
		}
		if want == "READY=1" {
			if _, err := r.client(r.firstToken()).User(t.Context(), api.Me); err != nil {
				t.Errorf("after READY=1: %v", err)
			}
			r.signal(syscall.SIGTERM)
		}
	}
	if code := r.wait(); code != 0 {
		t.Errorf("exit status %d; want 0", code)
	}
}

// A terminal that is closed ends the server in order.
func TestHangUpStops(t *testing.T) {
	r := newSite(t).serve(t, "--dev")
	r.signal(syscall.SIGHUP)
	if code := r.wait(); code != 0 {
		t.Errorf("after SIGHUP without TLS the exit status is %d; want 0", code)
	}
}
