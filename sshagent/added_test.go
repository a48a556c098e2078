package sshagent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestAddRefusals(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	swapped := addition{key: newKey(t)}.request(t)
	other := addition{key: newKey(t)}.request(t)
	copy(swapped[len(swapped)-4-64:], other[len(other)-4-64:len(other)-4]) // another's private part
	rsaKey := testKeys()["rsa"].(*rsa.PrivateKey)
	broken := *rsaKey
	broken.Primes = slices.Clone(rsaKey.Primes)
	broken.Primes[0] = rsaKey.Primes[1]
	managed := testKeys()["ed25519"]
	misplaced := addition{key: newKey(t), constraints: lifetime(60)}.request(t)
	misplaced[0] = agentAddIdentity
	for _, tt := range []struct {
		name    string
		server  *Server
		request []byte
		why     string
	}{
		{"with NoAdd", &Server{NoAdd: true}, addition{key: newKey(t)}.request(t), "takes no keys"},
		{"a key of the source", &Server{Source: newSource(t, managed)}, addition{key: managed}.request(t), "one of this agent's managed keys"},
		{"a DSA key", &Server{}, appendString([]byte{agentAddIdentity}, ssh.InsecureKeyAlgoDSA), "DSA keys are not safe"},
		{"a security key", &Server{}, appendString([]byte{agentAddIdentity}, ssh.KeyAlgoSKED25519), "upstream agent"},
		{"a security key, with a way to add it", &Server{AddHint: "do that"}, appendString([]byte{agentAddIdentity}, ssh.KeyAlgoSKED25519), "through this one (do that)"},
		{"an unknown kind", &Server{}, appendString([]byte{agentAddIdentity}, "\x1b[31mred"), "unknown kind"},
		{"a smartcard", &Server{}, []byte{agentAddSmartcardKey}, "asks no smartcards"},
		{"a smartcard with constraints, with a way to add it", &Server{AddHint: "do that"}, []byte{agentAddSmartcardKeyCon}, "through this one (do that)"},
		{"a small RSA key", &Server{}, addition{key: small}.request(t), "1024 bits"},
		{"a private key of another", &Server{}, swapped, "of another public key"},
		{"an RSA key with wrong primes", &Server{}, addition{key: &broken}.request(t), "malformed, or of another"},
		{"a key to confirm, and nobody to ask", &Server{}, addition{key: newKey(t), constraints: []byte{constrainConfirm}}.request(t), "where it is started, SSH_ASKPASS names"},
		{"an unknown constraint", &Server{}, addition{key: newKey(t), constraints: appendString([]byte{constrainExtension}, "new@example.com")}.request(t), "new@example.com"},
		{"constraints where none belong", &Server{}, misplaced, "malformed"},
		{"a long comment", &Server{}, addition{key: newKey(t), comment: strings.Repeat("c", maxComment+1)}.request(t), "comment"},
		{"a keeper that fails", &Server{Keep: func(ssh.PublicKey, []byte) (Signer, error) { return nil, errors.New("no locked memory") }},
			addition{key: newKey(t)}.request(t), "no locked memory"},
		{"a keeper that gives nothing", &Server{Keep: func(ssh.PublicKey, []byte) (Signer, error) { return nil, nil }},
			addition{key: newKey(t)}.request(t), "no signer"},
		{"a keeper of another key", &Server{Keep: func(ssh.PublicKey, []byte) (Signer, error) {
			return keepPlain(public(t, managed), privateFields(managed))
		}}, addition{key: newKey(t)}.request(t), "of another public key"},
		{"a keeper that keeps it wrong", &Server{Keep: func(public ssh.PublicKey, _ []byte) (Signer, error) {
			return &plainSigner{public: public, signer: hostKey(t, managed).(ssh.AlgorithmSigner)}, nil
		}}, addition{key: newKey(t)}.request(t), "malformed, or of another"},
		{"a keeper that panics", &Server{Keep: func(ssh.PublicKey, []byte) (Signer, error) { panic(secretOfPanic) }},
			addition{key: newKey(t)}.request(t), "panic"},
	} {
		var log logBuffer
		tt.server.Log = log.logger()
		conn := connect(t, serve(t, tt.server))
		do(t, conn, tt.name, tt.request, false)
		log.want(t, "message=SSH_AGENTC_ADD_", tt.why)
		if n := tt.server.added().held(); n != 0 || strings.Contains(log.String(), "\x1b") || strings.Contains(log.String(), secretOfPanic) {
			t.Errorf("%s: %d added keys are held; want none. The log:\n%s", tt.name, n, &log)
		}
	}
}

// The source's keys come first and can't be changed; added ones stand before
// those of upstream agents, and in the place of the same there.
func TestOrderWithAdded(t *testing.T) {
	managed, both, own := newKey(t), newKey(t), newKey(t)
	up := newSource(t, both, newKey(t))
	s := &Server{Source: newSource(t, managed), Upstreams: []Upstream{{Name: "up", Dial: dialSocket(serve(t, &Server{Source: up}))}}}
	path := serve(t, s)
	conn := connect(t, path)
	wantKeys(t, conn, "at first", "key 0", "key 0", "key 1")
	do(t, conn, "adding", addition{key: own, comment: "own"}.request(t), true)
	do(t, conn, "adding", addition{key: both, comment: "both"}.request(t), true)
	wantKeys(t, conn, "after adding", "key 0", "own", "both", "key 1")
	// The link knew the key as the upstream agent's.
	if err := verify(exchange(t, conn, signFrame(public(t, both), "text", 0)), public(t, both), "text"); err != nil {
		t.Errorf("a key that was added and is an upstream agent's, too: %v", err)
	}
	do(t, conn, "removing the source's", removal(public(t, managed)), false)
	do(t, conn, "removing", removal(public(t, both)), true)
	wantKeys(t, conn, "after removing", "key 0", "own", "key 0", "key 1")
	if answer := exchange(t, conn, signFrame(public(t, both), message("data"), 0)); answer[0] != agentSignResponse {
		t.Errorf("the upstream agent's key, which was added for a while: message %d", answer[0])
	}
	do(t, conn, "removing all", []byte{agentRemoveAll}, true)
	wantKeys(t, conn, "after removing all", "key 0", "key 0", "key 1")
	do(t, conn, "adding", addition{key: own, comment: "own"}.request(t), true)
	if err := verify(exchange(t, conn, signFrame(public(t, managed), message("data"), 0)), public(t, managed), message("data")); err != nil {
		t.Error(err)
	}
	if n := s.Held(); n != 1 {
		t.Errorf("%d private keys are held; want the added one", n)
	}
	s.Forget()
	wantKeys(t, conn, "after Forget", "key 0", "key 0", "key 1")
}

// Who adds a key of the source while the source can't say that it is one does
// not put theirs in its place.
func TestSourceGoesFirst(t *testing.T) {
	key := testKeys()["ed25519"]
	source := &awaySource{testSource: newSource(t, key)}
	source.away.Store(true)
	path := serve(t, &Server{Source: source})
	conn := connect(t, path)
	do(t, conn, "adding", addition{key: key, comment: "shadow"}.request(t), true)
	source.away.Store(false)
	wantKeys(t, conn, "when the source is back", "key 0")
	for _, c := range []net.Conn{conn, connect(t, path)} {
		if err := verify(exchange(t, c, signFrame(public(t, key), message("data"), 0)), public(t, key), message("data")); err != nil {
			t.Error(err)
		}
	}
	if fetched, _ := source.counts(); fetched != 2 {
		t.Errorf("two signatures had the source asked for its key %d times; want 2", fetched)
	}
}

// An awaySource can't list its keys now and then.
type awaySource struct {
	*testSource
	away atomic.Bool
}

func (s *awaySource) Keys(ctx context.Context) ([]Key, error) {
	if s.away.Load() {
		return nil, errors.New("the server is away")
	}
	return s.testSource.Keys(ctx)
}

// A key that a connection may not see is not to be had from an upstream agent
// over it either.
func TestHiddenIsHiddenUpstream(t *testing.T) {
	key := newKey(t)
	a, b := hostKey(t, newKey(t)), hostKey(t, newKey(t))
	up := Upstream{Name: "up", Dial: dialSocket(serve(t, &Server{Source: newSource(t, key)}))}
	conn := connect(t, serve(t, &Server{Upstreams: []Upstream{up}}))
	restriction := restrictTo(destination{to: hop{"", "a", []hopKey{{a.PublicKey().Marshal(), false}}}})
	do(t, conn, "adding", addition{key: key, comment: "mine", constraints: restriction}.request(t), true)
	exchange(t, conn, bindRequest(t, b, "1", "1", 0))
	wantKeys(t, conn, "bound to another host")
	if answer := exchange(t, conn, signFrame(public(t, key), message("data"), 0)); answer[0] != agentFailure {
		t.Errorf("the hidden key signs: message %d", answer[0])
	}
}

// A keeper keeps keys as a test wants them kept.
type keeper struct {
	*testSource
	got []byte // the private fields, where they lie
}

func (k *keeper) keep(public ssh.PublicKey, private []byte) (Signer, error) {
	k.mu.Lock()
	k.got = private
	k.fetched++
	k.mu.Unlock()
	key, err := ParsePrivateKey(public, private)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, err
	}
	return &testSigner{AlgorithmSigner: signer.(ssh.AlgorithmSigner), source: k.testSource}, nil
}

// What a client sent of a private key does not stay in the link's buffers.
func TestAddIsWiped(t *testing.T) {
	for kind, key := range testKeys() {
		for _, comment := range []int{0, 1000} {
			k := &keeper{testSource: newSource(t)}
			s := &Server{Keep: k.keep}
			k.signing = func() { // once, to try it
				if !bytes.Equal(k.got, make([]byte, len(k.got))) {
					t.Errorf("after Keep, the frame has the %s key still", kind)
				}
			}
			request := addition{key: key, comment: strings.Repeat("c", comment)}.request(t)
			next := frame([]byte{agentRequestIdentities})
			sess := newSession(s, &stream{in: bytes.NewReader(slices.Concat(frame(request), next))})
			got, err := sess.in.next()
			if err != nil {
				t.Fatal(err)
			}
			if answer := sess.answer(t.Context(), got); answer[4] != agentSuccess {
				t.Fatalf("adding %s was answered with message %d", kind, answer[4])
			}
			private := privateFields(key)
			for name, b := range map[string][]byte{"what Keep got": k.got, "the frame": got, "the link's buffer": sess.in.r.b} {
				if bytes.Contains(b, private[4:36]) || name != "the link's buffer" && !bytes.Equal(b, make([]byte, len(b))) {
					t.Errorf("adding %s left the key in %s", kind, name)
				}
			}
			if got, err := sess.in.next(); err != nil || got[0] != agentRequestIdentities {
				t.Errorf("after a wipe the next request is %v, %v; want the one that came with it", got, err)
			}
			s.Forget()
			k.check(t)
		}
	}
}

func TestGrowWipes(t *testing.T) {
	old := []byte("secret")
	if grown := grow(old, 10); string(grown) != "secret" || cap(grown) < 16 || !bytes.Equal(old, make([]byte, 6)) {
		t.Errorf("grow gave %q of %d bytes, and left %q", grown, cap(grown), old)
	}
}

// A removed key that still signs is closed when it has.
func TestRemovedWhileItSigns(t *testing.T) {
	for name, remove := range map[string]func(*bubble, crypto.Signer){
		"removed":   func(b *bubble, key crypto.Signer) { do(b.t, b.dial(), "removing", removal(public(b.t, key)), true) },
		"replaced":  func(b *bubble, key crypto.Signer) { do(b.t, b.dial(), "adding", addition{key: key}.request(b.t), true) },
		"forgotten": func(b *bubble, _ crypto.Signer) { b.Forget() },
		"expired":   func(*bubble, crypto.Signer) { time.Sleep(time.Hour) },
	} {
		inBubble(t, 0, func(t *testing.T, b *bubble) {
			k := &keeper{testSource: b.source}
			b.Keep = k.keep
			key := newKey(t)
			do(t, b.dial(), "adding", addition{key: key, constraints: lifetime(3600)}.request(t), true)
			gate := make(chan struct{})
			b.source.signing = func() { <-gate }
			done := make(chan []byte, 1)
			conn := b.dial()
			go func() {
				answer, _ := tryExchange(conn, signFrame(public(t, key), "text", 0))
				done <- answer
			}()
			synctest.Wait()
			if name == "replaced" {
				b.source.signing = nil // the new one is tried
			}
			remove(b, key)
			if _, closed := b.source.counts(); closed != 0 {
				t.Errorf("a key that was %s was closed while it signed", name)
			}
			close(gate)
			if err := verify(<-done, public(t, key), "text"); err != nil {
				t.Errorf("a signature under way when the key was %s: %v", name, err)
			}
			synctest.Wait()
			if _, closed := b.source.counts(); closed != 1 {
				t.Errorf("after its last signature a key that was %s was closed %d times; want once", name, closed)
			}
		})
	}
}

// A key is gone when its lifetime is over, whether somebody looks or not.
func TestLifetime(t *testing.T) {
	inBubble(t, 0, func(t *testing.T, b *bubble) {
		b.Source, b.Lifetime = nil, time.Hour
		conn, keys := b.dial(), []crypto.Signer{newKey(t), newKey(t), newKey(t)}
		do(t, conn, "adding", addition{key: keys[0], comment: "ten", constraints: lifetime(10)}.request(t), true)
		do(t, conn, "adding", addition{key: keys[1], comment: "long", constraints: lifetime(1<<32 - 1)}.request(t), true)
		do(t, conn, "adding", addition{key: keys[2], comment: "default"}.request(t), true)
		time.Sleep(9 * time.Second)
		do(t, conn, "adding", addition{key: keys[0], comment: "ten more", constraints: lifetime(10)}.request(t), true)
		time.Sleep(10*time.Second - 1)
		wantKeys(t, conn, "before the second lifetime ends", "ten more", "long", "default")
		time.Sleep(1)
		synctest.Wait()
		if n := b.Held(); n != 2 {
			t.Errorf("when a lifetime ends, %d private keys are held; want 2", n)
		}
		wantKeys(t, conn, "after it", "long", "default")
		time.Sleep(time.Hour)
		wantKeys(t, conn, "after the default lifetime", "long")
		do(t, conn, "adding for no time", addition{key: keys[0], constraints: lifetime(0)}.request(t), true)
		synctest.Wait()
		wantKeys(t, conn, "after a lifetime of no time", "long")
		time.Sleep(1 << 32 * time.Second)
		wantKeys(t, conn, "after 136 years")
	})
}

func TestTooManyAdded(t *testing.T) {
	var log logBuffer
	conn := connect(t, serve(t, &Server{Log: log.logger()}))
	key := newKey(t)
	for i := range maxAdded {
		if i > 0 {
			key = newKey(t)
		}
		do(t, conn, fmt.Sprint("adding key ", i), addition{key: key}.request(t), true)
	}
	do(t, conn, "adding one more", addition{key: newKey(t)}.request(t), false)
	log.want(t, fmt.Sprintf("%d added keys", maxAdded))
	do(t, conn, "adding the last again", addition{key: key}.request(t), true)
}

func TestAddAfterShutdown(t *testing.T) {
	s := &Server{}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	err := s.added().add(&addedKey{blob: "key"}, func(*addedKey) bool { return true })
	if err != ErrServerClosed {
		t.Errorf("add = %v after Shutdown; want ErrServerClosed", err)
	}
}
