package sshagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// serveKeyring is an agent of somebody's own, with one key, as an Upstream.
func serveKeyring(t *testing.T, name string) (Upstream, ssh.PublicKey) {
	t.Helper()
	keys := agent.NewKeyring()
	private := newKey(t)
	if err := keys.Add(agent.AddedKey{PrivateKey: private, Comment: name}); err != nil {
		t.Fatal(err)
	}
	return Upstream{Name: name, Dial: func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go agent.ServeAgent(keys, theirs)
		return ours, nil
	}}, public(t, private)
}

func TestAttach(t *testing.T) {
	s := &Server{}
	socket := serve(t, s)
	early := client(t, socket)
	if keys, err := early.List(); err != nil || len(keys) != 0 {
		t.Fatalf("List before Attach = %v, %v; want nothing", keys, err)
	}
	laptop, key := serveKeyring(t, "laptop")
	detach := s.Attach(laptop, nil)
	if keys, err := early.List(); err != nil || len(keys) != 0 {
		t.Errorf("a link that was there before Attach lists %v, %v; want nothing still", keys, err)
	}
	late := client(t, socket)
	mustListOne(t, late, key)
	if _, err := late.Sign(key, []byte("data")); err != nil {
		t.Errorf("Sign with the key of an attached agent: %v", err)
	}
	detach()
	detach()
	if keys, err := late.List(); err != nil || len(keys) != 0 {
		t.Errorf("List after detach = %v, %v; want nothing", keys, err)
	}
	if _, err := late.Sign(key, []byte("data")); err == nil {
		t.Error("an agent that was detached signs")
	}
	if keys, err := client(t, socket).List(); err != nil || len(keys) != 0 {
		t.Errorf("List of a new link after detach = %v, %v; want nothing", keys, err)
	}
}

// A dial that was under way when its agent was detached gives no link.
func TestDetachWhileDialling(t *testing.T) {
	s := &Server{}
	dialling, goOn := make(chan struct{}), make(chan struct{})
	ours, theirs := net.Pipe()
	detach := s.Attach(Upstream{Name: "slow", Dial: func(context.Context) (net.Conn, error) {
		close(dialling)
		<-goOn
		return ours, nil
	}}, nil)
	dial := s.upstreamLinks()[0].Dial
	got := make(chan error)
	go func() {
		_, err := dial(context.Background())
		got <- err
	}()
	<-dialling
	detach()
	close(goOn)
	if err := <-got; !errors.Is(err, errDetached) {
		t.Errorf("the dial ends with %v; want %v", err, errDetached)
	}
	if _, err := theirs.Write([]byte{0}); err == nil {
		t.Error("the connection was not closed")
	}
}

// An agent is not asked by a client that came through the connection at whose
// other end it is.
func TestAttachedLoop(t *testing.T) {
	s := &Server{}
	socket := serve(t, s)
	host, err := ssh.NewSignerFromKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	laptop, key := serveKeyring(t, "laptop")
	const session = "the session of the laptop"
	defer s.Attach(laptop, []byte(session))()
	for _, c := range []struct {
		session string
		want    int
	}{{"another session", 1}, {session, 0}} {
		a := client(t, socket)
		mustListOne(t, a, key)
		signature, err := host.Sign(nil, []byte(c.session))
		if err != nil {
			t.Fatal(err)
		}
		bind := appendString(appendString(appendString(nil, host.PublicKey().Marshal()), c.session), ssh.Marshal(signature))
		// The keyring knows no binds, so only the effect counts.
		a.Extension(extSessionBind, append(bind, 1))
		if keys, err := a.List(); err != nil || len(keys) != c.want {
			t.Errorf("a client that came through %q lists %d keys, %v; want %d", c.session, len(keys), err, c.want)
		}
	}
}

// The keys of eight agents come in the order in which they were attached, each
// agent's in its own order, behind the source's; one that left and came back is
// the last.
func TestAttachOrder(t *testing.T) {
	s := &Server{Source: newSource(t, testKeys()["ed25519"])}
	socket := serve(t, s)
	want := []string{"key 0"}
	var detach []func()
	var upstreams []Upstream
	for i := range 8 {
		keys := agent.NewKeyring()
		for j := range 4 {
			name := fmt.Sprintf("agent %d, key %d", i, j)
			if err := keys.Add(agent.AddedKey{PrivateKey: newKey(t), Comment: name}); err != nil {
				t.Fatal(err)
			}
			want = append(want, name)
		}
		u := Upstream{Name: fmt.Sprint("agent", i), Dial: func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go agent.ServeAgent(keys, theirs)
			return ours, nil
		}}
		upstreams, detach = append(upstreams, u), append(detach, s.Attach(u, nil))
	}
	check := func(when string) {
		t.Helper()
		for range 10 { // they answer in any order
			list, err := client(t, socket).List()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, k := range list {
				got = append(got, k.Comment)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%s: the list is %q; want %q", when, got, want)
			}
		}
	}
	check("all attached")
	detach[2]()
	s.Attach(upstreams[2], nil)
	want = append(slices.Concat(want[:9], want[13:]), want[9:13]...)
	check("the third left and came back")
}

// While a client asks for nothing it has no link to an attached agent, for whose end
// ssh would wait; the next one knows the binds of the one before.
func TestAttachedLinksRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int64
		up := &scripted{answer: func(request []byte) []byte {
			switch request[0] {
			case agentRequestIdentities:
				return identities("key")
			case agentSignRequest:
				return frame([]byte{agentSignResponse})
			}
			return frame([]byte{agentFailure})
		}}
		s := &Server{}
		defer s.Attach(Upstream{Name: "up", Dial: func(ctx context.Context) (net.Conn, error) {
			conn, err := up.dial(ctx)
			open.Add(1)
			return &countedConn{Conn: conn, open: &open}, err
		}}, nil)()
		l := newMemListener()
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		conn := l.dial()
		host := hostKey(t, newKey(t))
		first, second := bindRequest(t, host, "first", "first", 1), bindRequest(t, host, "second", "second", 0)
		list, sign := []byte{agentRequestIdentities}, append(appendString(appendString([]byte{agentSignRequest}, "key"), message("data")), 0, 0, 0, 0)
		exchange(t, conn, first)
		exchange(t, conn, list)
		time.Sleep(restAfter - time.Second)
		exchange(t, conn, second)
		time.Sleep(restAfter - time.Second)
		if open.Load() != 1 || up.dials != 1 {
			t.Errorf("a client that asks now and then has %d links, of %d; want the first one still", open.Load(), up.dials)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if open.Load() != 0 {
			t.Errorf("a client that asks for nothing has %d links; want none", open.Load())
		}
		if got := exchange(t, conn, sign); got[0] != agentSignResponse {
			t.Errorf("after the rest a signature is message %d", got[0])
		}
		via := viaRequest(nil, s.ready().id)
		if got, want := up.seen(), [][]byte{via, first, list, second, via, first, second, sign}; !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("the agent got %q; want %q", got, want)
		}
		conn.Close()
		synctest.Wait()
		if open.Load() != 0 {
			t.Errorf("a client that has gone left %d links", open.Load())
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-served
	})
}

// A countedConn counts the connections that are not closed.
type countedConn struct {
	net.Conn
	open   *atomic.Int64
	closed atomic.Bool
}

func (c *countedConn) Close() error {
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}

// Eight agents come and go while clients list and sign: no request reaches a
// wrong agent, and nobody hears of a key that is not there.
func TestAttachConcurrently(t *testing.T) {
	s := &Server{}
	socket := serve(t, s)
	var coming, asking sync.WaitGroup
	var known []ssh.PublicKey
	stop := make(chan struct{})
	for i := range 8 {
		u, key := serveKeyring(t, fmt.Sprint("agent", i))
		known = append(known, key)
		coming.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s.Attach(u, nil)()
				}
			}
		})
	}
	for range 20 {
		asking.Go(func() {
			for range 10 {
				conn, err := net.Dial("unix", socket)
				if err != nil {
					t.Error(err)
					return
				}
				a := agent.NewClient(conn)
				keys, err := a.List()
				if err != nil {
					t.Errorf("List: %v", err)
				}
				for _, k := range keys {
					i := slices.IndexFunc(known, func(p ssh.PublicKey) bool { return string(p.Marshal()) == string(k.Marshal()) })
					if i < 0 || k.Comment != fmt.Sprint("agent", i) {
						t.Errorf("a list holds %s, %s", k.Comment, ssh.FingerprintSHA256(k))
						continue
					}
					if signature, err := a.Sign(k, []byte("data")); err == nil {
						if err := k.Verify([]byte("data"), signature); err != nil {
							t.Errorf("agent%d signed wrongly: %v", i, err)
						}
					}
				}
				conn.Close()
			}
		})
	}
	asking.Wait()
	close(stop)
	coming.Wait()
	if left := s.upstreamLinks(); len(left) != 0 {
		t.Errorf("%d agents are left attached; want none", len(left))
	}
}

func mustListOne(t *testing.T, a agent.Agent, key ssh.PublicKey) {
	t.Helper()
	keys, err := a.List()
	if err != nil || len(keys) != 1 || string(keys[0].Marshal()) != string(key.Marshal()) {
		t.Fatalf("List = %v, %v; want the one key %s", keys, err, ssh.FingerprintSHA256(key))
	}
}
