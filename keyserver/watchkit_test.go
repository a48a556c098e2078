package keyserver_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/memstore"
)

// A pipes is a network in memory, so that time can be synctest's.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.conns <- pipeConn{server}
	return client, nil
}

// A pipeConn comes from loopback.
type pipeConn struct{ net.Conn }

func (pipeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2} }

// A bubble is a key server within synctest, behind an http.Server with the times
// that latchkeyd gives its own.
type bubble struct {
	*testing.T
	Server *keyserver.Server
	Store  *brokenStore
	admin  string
	web    *http.Client
}

func newBubble(t *testing.T, config keyserver.Config, protocol func(*http.Protocols)) *bubble {
	t.Helper()
	b := &bubble{T: t, Store: &brokenStore{Store: memstore.New()}}
	config.Store = b.Store
	var err error
	if b.Server, err = keyserver.New(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	network := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	h := &http.Server{Handler: b.Server.Handler(), ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute}
	h.Protocols = new(http.Protocols)
	protocol(h.Protocols)
	h.RegisterOnShutdown(b.Server.EndWatches)
	served := make(chan error, 1)
	go func() { served <- h.Serve(network) }()
	transport := &http.Transport{DialContext: network.dial, Protocols: h.Protocols}
	b.web = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		begin := time.Now()
		if err := h.Shutdown(context.Background()); err != nil || time.Since(begin) > 5*time.Second {
			t.Errorf("Shutdown: %v after %v; want it to end the watches", err, time.Since(begin))
		}
		<-served
	})
	if b.admin, _, err = b.Server.FirstAdmin(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// do makes a request, decodes its answer, and fails if it is refused.
func (b *bubble) do(method, path, token, body string, into any) {
	b.Helper()
	r := httptest.NewRequest(method, "/api/v2"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:3"
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	b.Server.Handler().ServeHTTP(w, r)
	if w.Code > 299 {
		b.Fatalf("%s %s = %d %s", method, path, w.Code, w.Body)
	}
	if into != nil {
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			b.Fatal(err)
		}
	}
}

// newUser makes a user with a workspace "box", and returns the tokens of both.
func (b *bubble) newUser(name string) (user, box string) {
	b.Helper()
	var u api.CreatedUser
	b.do("POST", "/users", b.admin, fmt.Sprintf(`{"name": %q}`, name), &u)
	return u.Token.Token, b.newBox(u.Token.Token, "box")
}

func (b *bubble) newBox(user, name string) (token string) {
	b.Helper()
	var w api.CreatedWorkspace
	b.do("POST", "/users/me/workspaces", user, fmt.Sprintf(`{"name": %q}`, name), &w)
	return w.Token.Token
}

// A watching is one watch, from its client's side.
type watching struct {
	status int
	header http.Header
	lines  chan string // without those that are empty; closed at the end
	stop   context.CancelFunc
}

// watch begins to watch. last is Last-Event-ID, or "".
func (b *bubble) watch(token, last string) *watching {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", "http://127.0.0.1:1/api/v2/workspaceagents/me/watch", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp, err := b.web.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	w := &watching{status: resp.StatusCode, header: resp.Header, lines: make(chan string, 1000), stop: cancel}
	go func() {
		defer close(w.lines)
		defer resp.Body.Close()
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if lines.Text() != "" {
				w.lines <- lines.Text()
			}
		}
	}()
	return w
}

// said is what has come since the last time; "end" behind it if that was all.
func (w *watching) said() string {
	synctest.Wait()
	var all []string
	for {
		select {
		case line, ok := <-w.lines:
			if !ok {
				return strings.Join(append(all, "end"), "|")
			}
			all = append(all, line)
			continue
		default:
		}
		return strings.Join(all, "|")
	}
}

func (w *watching) want(t *testing.T, doing, want string) {
	t.Helper()
	if got := w.said(); got != want {
		t.Errorf("%s: the watch says %q; want %q", doing, got, want)
	}
}

// event is a changed event as it goes over the wire.
func event(kind string, revision int64) string {
	return fmt.Sprintf(`id: %d|event: %s|data: {"revision":%d}`, revision, kind, revision)
}

func (b *bubble) revision(user string) int64 {
	b.Helper()
	u, err := b.Store.UserNamed(b.Context(), user)
	if err != nil {
		b.Fatal(err)
	}
	n, err := b.Store.Store.Revision(b.Context(), u.ID)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

func http1(p *http.Protocols) { p.SetHTTP1(true) }

// http2 is what clients speak that come by TLS.
func http2(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }

// watchTest runs a test with a user alice and her workspace box.
func watchTest(t *testing.T, test func(t *testing.T, b *bubble, alice, box string)) {
	for name, protocol := range map[string]func(*http.Protocols){"HTTP 1": http1, "HTTP 2": http2} {
		t.Run(name, func(t *testing.T) {
			config := keyserver.Config{MasterKey: newMasterKey(t)}
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, config, protocol)
				alice, box := b.newUser("alice")
				test(t, b, alice, box)
			})
		})
	}
}
