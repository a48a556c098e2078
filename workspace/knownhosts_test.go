package workspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A hostsServer answers with the known hosts in JSON, or with a status.
type hostsServer struct {
	requests, same atomic.Int32
	tag, list      string
	status         int
}

func (s *hostsServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	if s.status != 0 {
		http.Error(w, `{"message": "not now"}`, s.status)
		return
	}
	w.Header().Set("ETag", s.tag)
	if r.Header.Get("If-None-Match") == s.tag {
		s.same.Add(1)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	fmt.Fprint(w, s.list)
}

func newHosts(t *testing.T, s *hostsServer) *KnownHosts {
	t.Helper()
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	client, err := api.NewClient(front.URL, nil, func() string { return "token" })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return NewKnownHosts(client)
}

// forget makes the last answer one of long ago, and keep one that is good for long.
func (k *KnownHosts) forget() { k.asked = time.Now().Add(-time.Hour) }
func (k *KnownHosts) keep()   { k.asked = time.Now().Add(time.Hour) }

const (
	forgeHost = `{"hosts":"forge","key_type":"ssh-ed25519","key":"AAAA"}`
	otherHost = `{"hosts":"*.test","marker":"@revoked","key_type":"ssh-rsa","key":"BBBB","comment":"a comment"}`
)

func wantLines(t *testing.T, k *KnownHosts, host, want string) {
	t.Helper()
	got, err := k.Lines(t.Context(), host)
	if err != nil || string(got) != want {
		t.Errorf("Lines(%q) = %q, %v; want %q", host, got, err, want)
	}
}

func TestKnownHosts(t *testing.T) {
	s := &hostsServer{tag: `"1"`, list: "[" + forgeHost + "," + otherHost + "]"}
	k := newHosts(t, s)
	const forge, other = "forge ssh-ed25519 AAAA\n", "@revoked *.test ssh-rsa BBBB a comment\n"
	wantLines(t, k, "", forge+other)
	k.keep()
	wantLines(t, k, "Forge", forge+other)
	wantLines(t, k, "git.test", other)
	if n := s.requests.Load(); n != 1 {
		t.Errorf("for one connection the server was asked %d times; want once", n)
	}
	k.forget()
	wantLines(t, k, "", forge+other)
	if n := s.same.Load(); n != 1 {
		t.Errorf("the server has said %d times that all is as it was; want once", n)
	}
	k.forget()
	s.tag, s.list = `"2"`, "["+forgeHost+"]"
	wantLines(t, k, "git.test", "")
}

// Whoever was told of a change has the server asked at once.
func TestKnownHostsRefresh(t *testing.T) {
	s := &hostsServer{tag: `"1"`, list: "[" + otherHost + "]"}
	k := newHosts(t, s)
	k.asked = time.Now().Add(time.Hour) // however long it takes until then
	k.known = true
	if err := k.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.status = 503 // from now on the last list serves
	if err := k.refresh(t.Context()); err == nil {
		t.Error("refresh says nothing of a server that is away")
	}
	wantLines(t, k, "git.test", "@revoked *.test ssh-rsa BBBB a comment\n")
}

// The last list serves while the server is away, which is not asked each time.
func TestKnownHostsAway(t *testing.T) {
	s := &hostsServer{tag: `"1"`, list: "[" + forgeHost + "]"}
	k := newHosts(t, s)
	wantLines(t, k, "forge", "forge ssh-ed25519 AAAA\n")
	s.status = http.StatusServiceUnavailable
	k.forget()
	for range 3 {
		wantLines(t, k, "forge", "forge ssh-ed25519 AAAA\n")
		k.asked = time.Now().Add(-2 * hostsFresh) // of a server that is there, it would be too old
	}
	if n := s.requests.Load(); n != 2 {
		t.Errorf("a server that is away was asked %d times; want once more", n-1)
	}
	s.status, s.tag, s.list = 0, `"2"`, "[]"
	k.forget()
	wantLines(t, k, "forge", "")

	// Where there never was a list, there is an error, and not an empty list.
	s.status = http.StatusServiceUnavailable
	fresh := newHosts(t, s)
	if lines, err := fresh.Lines(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "not now") {
		t.Errorf("without a list Lines = %q, %v; want the server's error", lines, err)
	}
	s.status = http.StatusNotFound // an older server
	wantLines(t, newHosts(t, s), "", "")
}

// A daemon that is sure that there are none saves ssh from asking.
func TestAnyKnownHosts(t *testing.T) {
	dir, err := os.MkdirTemp("", "lk")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if !AnyKnownHosts(t.Context(), dir) {
		t.Error("without a daemon there are none")
	}
	l, err := net.Listen("unix", ControlSocket(dir))
	if err != nil {
		t.Fatal(err)
	}
	s := &hostsServer{tag: `"1"`, list: "[]"}
	k := newHosts(t, s)
	server := &http.Server{Handler: k}
	go server.Serve(l)
	defer server.Close()
	if AnyKnownHosts(t.Context(), dir) {
		t.Error("of an empty list there are some")
	}
	s.tag, s.list = `"2"`, "["+forgeHost+"]"
	k.forget()
	if !AnyKnownHosts(t.Context(), dir) {
		t.Error("of a list with one there are none")
	}
	s.status = http.StatusServiceUnavailable
	k.forget()
	k.known = false // as before the first answer
	if !AnyKnownHosts(t.Context(), dir) {
		t.Error("of a list that is not to be had there are none")
	}
}

func TestReadKnownHosts(t *testing.T) {
	s := &hostsServer{tag: `"1"`, list: "[" + forgeHost + "," + otherHost + "]"}
	dir, err := os.MkdirTemp("", "lk")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	if _, err := ReadKnownHosts(t.Context(), socket, ""); !NotRunning(err) {
		t.Errorf("without a socket: %v; want that nobody runs", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: newHosts(t, s)}
	go server.Serve(l)
	defer server.Close()
	if got, err := ReadKnownHosts(t.Context(), socket, "a b&host=forge"); err != nil || string(got) != "@revoked *.test ssh-rsa BBBB a comment\n" {
		t.Errorf("ReadKnownHosts = %q, %v", got, err)
	}
	s.status = http.StatusUnauthorized
	server.Handler = newHosts(t, s)
	if _, err := ReadKnownHosts(t.Context(), socket, ""); err == nil || NotRunning(err) || !strings.Contains(err.Error(), "not now") {
		t.Errorf("of a server that refuses: %v; want why", err)
	}
	client, err := api.NewClient("http://127.0.0.1:1", nil, func() string { return testToken }) // nobody's port
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server.Handler = NewKnownHosts(client)
	if _, err := ReadKnownHosts(t.Context(), socket, ""); !errors.Is(err, api.ErrUnavailable) || strings.Count(err.Error(), "unavailable") != 1 {
		t.Errorf("of a server that is away: %v; want that it is unavailable, once", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ReadKnownHosts(ctx, socket, ""); err == nil {
		t.Error("with a context that is over there is no error")
	}
}
