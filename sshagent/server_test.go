package sshagent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func TestAcceptGoesOn(t *testing.T) {
	for _, passing := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ECONNABORTED} {
		inBubble(t, 0, func(t *testing.T, b *bubble) {
			var log logBuffer
			b.Log = log.logger()
			for range 20 {
				b.l.errs <- &net.OpError{Op: "accept", Net: "unix", Err: passing}
			}
			begin := time.Now()
			if err := b.sign(); err != nil {
				t.Errorf("after %v: %v", passing, err)
			}
			if waited := time.Since(begin); waited > time.Second {
				t.Errorf("after %v the next client waited for %v; want at most a second", passing, waited)
			}
			log.want(t, "trying again", passing.Error())
			if n := strings.Count(log.String(), "trying again"); n != 1 {
				t.Errorf("the log says %d times that accepting is tried again; want once:\n%s", n, &log)
			}
		})
	}
}

func TestShutdownDuringBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, s, served := newMemListener(), &Server{}, make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		l.errs <- syscall.EMFILE
		synctest.Wait()
		begin := time.Now()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		if err := <-served; err != ErrServerClosed || time.Since(begin) > 0 {
			t.Errorf("Serve = %v, %v after Shutdown; want ErrServerClosed at once", err, time.Since(begin))
		}
	})
}

func TestAcceptEnds(t *testing.T) {
	l := newMemListener()
	served := make(chan error, 1)
	go func() { served <- (&Server{}).Serve(l) }()
	broken := errors.New("broken")
	l.errs <- broken
	if err := <-served; !errors.Is(err, broken) {
		t.Errorf("Serve = %v; want the listener's error", err)
	}
	if l.dial() != nil {
		t.Error("Serve left its listener open")
	}
}

func TestServeAfterShutdown(t *testing.T) {
	s := &Server{Source: newSource(t, newKey(t)), Idle: time.Minute}
	for range 2 {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
	}
	l := newMemListener()
	if err := s.Serve(l); err != ErrServerClosed {
		t.Errorf("Serve = %v after Shutdown; want ErrServerClosed", err)
	}
	if l.dial() != nil {
		t.Error("Serve left its listener open")
	}
}

func TestTooManyLinks(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, b *bubble) {
		var log logBuffer
		b.Log = log.logger()
		var conns []net.Conn
		for range maxLinks {
			conns = append(conns, b.dial())
		}
		for range 3 {
			if err := b.sign(); err == nil {
				t.Errorf("client %d was served", maxLinks+1)
			}
		}
		if n := strings.Count(log.String(), "clients refused"); n != 1 {
			t.Errorf("the log says %d times that there are too many clients; want once:\n%s", n, &log)
		}
		if err := b.signOn(conns[0]); err != nil {
			t.Errorf("a client that was there before: %v", err)
		}
		conns[1].Close()
		synctest.Wait()
		if err := b.sign(); err != nil {
			t.Errorf("a client for whom another has made room: %v", err)
		}
	})
}

// Who holds a link without a word makes room when there is none: the longest
// silent first, and not one that is busy.
func TestIdleMakesRoom(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, b *bubble) {
		gate := make(chan struct{})
		b.source.signing = func() { <-gate }
		busy := b.dial()
		signed := make(chan error, 1)
		go func() { signed <- b.signOn(busy) }()
		synctest.Wait()
		var conns []net.Conn
		for range maxLinks - 1 {
			conns = append(conns, b.dial())
			time.Sleep(time.Second)
		}
		list := func(conn net.Conn) error {
			_, err := tryExchange(conn, []byte{agentRequestIdentities})
			return err
		}
		if err := list(conns[0]); err != nil { // so the second is silent for longest
			t.Fatal(err)
		}
		if err := list(b.dial()); err != nil {
			t.Errorf("a client for whom another has to go: %v", err)
		}
		synctest.Wait()
		if err := list(conns[1]); err == nil {
			t.Error("the client that was silent for longest is still there")
		}
		for _, i := range []int{0, 2, maxLinks - 2} {
			if err := list(conns[i]); err != nil {
				t.Errorf("client %d, which need not go: %v", i, err)
			}
		}
		close(gate)
		if err := <-signed; err != nil {
			t.Errorf("a client that was busy: %v", err)
		}
	})
}

// There is no room either when there are no descriptors, which may be long before that.
func TestIdleGivesDescriptors(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, b *bubble) {
		conns := []net.Conn{b.dial(), b.dial(), b.dial()}
		time.Sleep(idleLink)
		for i := range conns[:2] {
			if _, err := tryExchange(conns[i], []byte{agentRequestIdentities}); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 {
			b.l.errs <- &net.OpError{Op: "accept", Net: "unix", Err: syscall.EMFILE}
		}
		if err := b.sign(); err != nil {
			t.Errorf("a client for whom another has to go: %v", err)
		}
		for i, conn := range conns {
			if _, err := tryExchange(conn, []byte{agentRequestIdentities}); (err == nil) != (i < 2) {
				t.Errorf("client %d: %v; want only the last one ended, which was silent for a minute", i, err)
			}
		}
	})
}

// Half a frame must not hold memory for ever; a client that sends nothing may stay.
func TestHalfFrame(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, b *bubble) {
		idle, half := b.dial(), b.dial()
		if _, err := half.Write([]byte{0, 0, 1, 0, agentSignRequest}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(frameTimeout + 1)
		synctest.Wait()
		if n := len(b.links()); n != 1 {
			t.Errorf("%d links are there; want only the one that sent nothing", n)
		}
		time.Sleep(100 * 24 * time.Hour)
		if err := b.signOn(idle); err != nil {
			t.Errorf("a client that was idle for 100 days: %v", err)
		}
	})
}

// Who does not take the answer must not hold memory for ever.
func TestUnreadAnswer(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, b *bubble) {
		if err := writeFrame(b.dial(), framed([]byte{agentRequestIdentities})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(frameTimeout + 1)
		synctest.Wait()
		if n := len(b.links()); n != 0 {
			t.Errorf("%d links are there; want none", n)
		}
	})
}

// A brokenSource panics.
type brokenSource struct {
	*testSource
	inKeys, inSigner, inSign, inClose bool
}

const secretOfPanic = "what a key is made of"

func (s *brokenSource) Keys(ctx context.Context) ([]Key, error) {
	if s.inKeys {
		panic(secretOfPanic)
	}
	return s.testSource.Keys(ctx)
}

func (s *brokenSource) Signer(ctx context.Context, key ssh.PublicKey) (Signer, error) {
	if s.inSigner {
		panic(secretOfPanic)
	}
	signer, err := s.testSource.Signer(ctx, key)
	return &brokenSigner{signer, s}, err
}

type brokenSigner struct {
	Signer
	source *brokenSource
}

func (s *brokenSigner) Close() error {
	err := s.Signer.Close()
	if s.source.inClose {
		panic(secretOfPanic)
	}
	return err
}

func TestPanics(t *testing.T) {
	for name, tt := range map[string]struct {
		source brokenSource
		where  string // a function on the way, which the log names
		signs  bool
	}{
		"in Keys":             {brokenSource{inKeys: true}, "brokenSource).Keys", false},
		"in Signer":           {brokenSource{inSigner: true}, "brokenSource).Signer", false},
		"when it signs":       {brokenSource{inSign: true}, "TestPanics", false},
		"in a signer's Close": {brokenSource{inClose: true}, "brokenSigner).Close", true},
	} {
		t.Run(name, func(t *testing.T) {
			var log logBuffer
			source := tt.source
			source.testSource = newSource(t, testKeys()["ed25519"])
			if source.inSign {
				source.signing = func() { panic(secretOfPanic) }
			}
			own := newSource(t, newKey(t))
			upstream := serve(t, &Server{Source: own})
			path := serve(t, &Server{Source: &source, Log: log.logger(),
				Upstreams: []Upstream{{Name: "up", Dial: dialSocket(upstream)}}})
			c := client(t, path)
			_, err := c.Sign(public(t, testKeys()["ed25519"]), []byte(message("data")))
			if (err == nil) != tt.signs {
				t.Errorf("Sign = %v; want success: %v", err, tt.signs)
			}
			log.want(t, "panic", tt.where)
			if strings.Contains(log.String(), secretOfPanic) {
				t.Errorf("the log gives the value of a panic, which may be secret:\n%s", &log)
			}
			if _, err := c.Sign(own.signers[0].PublicKey(), []byte(message("data"))); err != nil {
				t.Errorf("the upstream agent's key, after the panic: %v", err)
			}
		})
	}
}

func TestSourceFailsToList(t *testing.T) {
	var log logBuffer
	var mu sync.Mutex
	var seen []Activity
	away := errors.New("the server is away")
	source, own := newSource(t), newSource(t, newKey(t))
	source.keysErr = away
	path := serve(t, &Server{
		Source:    source,
		Upstreams: []Upstream{{Name: "up", Dial: dialSocket(serve(t, &Server{Source: own}))}},
		Log:       log.logger(),
		Observe:   func(a Activity) { mu.Lock(); defer mu.Unlock(); seen = append(seen, a) },
	})
	if keys, err := client(t, path).List(); err != nil || len(keys) != 1 {
		t.Errorf("List = %d keys, %v; want the one of the upstream agent", len(keys), err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 2 || seen[0].Err != away || seen[0].Upstream != "" || seen[1].Upstream != "up" || seen[1].Keys != 1 || seen[1].Err != nil {
		t.Errorf("Observe saw %+v; want a failed list of the source, then one key of up", seen)
	}
	log.want(t, "keys not listed", away.Error())
}

func TestRefusals(t *testing.T) {
	var log logBuffer
	source := newSource(t, testKeys()["rsa"])
	path := serve(t, &Server{Source: source, Log: log.logger(), NoAdd: true})
	c := client(t, path)
	rsa := public(t, testKeys()["rsa"])
	cert := &ssh.Certificate{Key: rsa, CertType: ssh.UserCert, Nonce: []byte("n")}
	if err := cert.SignCert(strings.NewReader(strings.Repeat("r", 1000)), hostKey(t, testKeys()["ecdsa"])); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		do   func() error
		why  string // in the log
	}{
		{"adding", func() error { return c.Add(agent.AddedKey{PrivateKey: newKey(t)}) }, "takes no keys"},
		{"adding for a while", func() error { return c.Add(agent.AddedKey{PrivateKey: newKey(t), LifetimeSecs: 60}) }, "takes no keys"},
		{"removing", func() error { return c.Remove(rsa) }, "one of this agent's managed keys"},
		{"unlocking", func() error { return c.Unlock([]byte("pass phrase")) }, "not locked"},
		{"signing what is no message", func() error { _, err := c.SignWithFlags(rsa, []byte("data"), 2); return err }, "neither an SSH login nor"},
		{"signing with SHA-1", func() error { _, err := c.Sign(rsa, []byte(message("data"))); return err }, "SHA-1"},
		{"signing for a certificate", func() error { _, err := c.Sign(cert, []byte(message("data"))); return err }, "no such key"},
	} {
		if err := tt.do(); err == nil {
			t.Errorf("%s succeeded; want it refused", tt.name)
		}
		log.want(t, tt.why)
	}
	if strings.Contains(log.String(), "pass phrase") {
		t.Errorf("the log has the password:\n%s", &log)
	}
	if fetched, _ := source.counts(); fetched != 0 {
		t.Errorf("refusals fetched %d private keys; want none", fetched)
	}
	if keys, err := c.List(); err != nil || len(keys) != 1 {
		t.Errorf("after all that, List = %d keys, %v; want 1", len(keys), err)
	}
}

func TestCertificateOfSource(t *testing.T) {
	cert := &ssh.Certificate{Key: public(t, testKeys()["rsa"])}
	if _, err := algorithmOf(cert, flagRSASHA256); err != errCertificate {
		t.Errorf("algorithmOf(a certificate) = %v; want %v", err, errCertificate)
	}
}

// A source that answers with another key must not sign.
func TestWrongKey(t *testing.T) {
	source, other := newSource(t, testKeys()["ed25519"]), newSource(t, newKey(t))
	swap := &swapSource{source, other}
	path := serve(t, &Server{Source: swap})
	if _, err := client(t, path).Sign(public(t, testKeys()["ed25519"]), []byte(message("data"))); err == nil {
		t.Error("the agent signed with another key than it was asked to")
	}
	if fetched, closed := other.counts(); fetched != 1 || closed != 1 {
		t.Errorf("of the wrong key there were %d fetches, %d closed; want 1, 1", fetched, closed)
	}
}

type swapSource struct {
	*testSource
	other *testSource
}

func (s *swapSource) Signer(ctx context.Context, _ ssh.PublicKey) (Signer, error) {
	return s.other.Signer(ctx, s.other.signers[0].PublicKey())
}

func TestQuery(t *testing.T) {
	got := exchange(t, connect(t, serve(t, &Server{})), appendString([]byte{agentExtension}, "query"))
	want := appendString(appendString(appendString([]byte{agentExtensionResponse}, "query"), extSessionBind), extVia)
	if string(got) != string(want) {
		t.Errorf("query was answered with %q; want %q", got, want)
	}
}

func TestLogOfSignature(t *testing.T) {
	var log logBuffer
	path := serve(t, &Server{Source: newSource(t, testKeys()["ed25519"]), Log: log.logger()})
	key := public(t, testKeys()["ed25519"])
	if _, err := client(t, path).Sign(key, []byte(message("what is signed"))); err != nil {
		t.Fatal(err)
	}
	log.want(t, "msg=signed", ssh.FingerprintSHA256(key), fmt.Sprint("pid=", syscall.Getpid()))
	if strings.Contains(log.String(), "SSHSIG") {
		t.Errorf("the log has what was signed:\n%s", &log)
	}
}
