package sshagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// A scripted agent answers each request as its test says, and remembers them.
type scripted struct {
	answer func(request []byte) []byte // nil: hang up

	mu       sync.Mutex
	dials    int
	requests [][]byte
}

func (s *scripted) dial(context.Context) (net.Conn, error) {
	s.mu.Lock()
	s.dials++
	s.mu.Unlock()
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		in := newFrameReader(theirs)
		for {
			request, err := in.next()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.requests = append(s.requests, bytes.Clone(request))
			s.mu.Unlock()
			answer := s.answer(request)
			if answer == nil {
				return
			}
			if _, err := theirs.Write(answer); err != nil {
				return
			}
		}
	}()
	return ours, nil
}

func (s *scripted) seen() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// asked is seen, but for where each link comes from: see extVia.
func (s *scripted) asked() [][]byte {
	via := appendString([]byte{agentExtension}, extVia)
	return slices.DeleteFunc(s.seen(), func(request []byte) bool { return bytes.HasPrefix(request, via) })
}

// frame makes a whole frame.
func frame(body []byte) []byte {
	f := framed(body)
	f[0], f[1], f[2], f[3] = byte(len(body)>>24), byte(len(body)>>16), byte(len(body)>>8), byte(len(body))
	return f
}

func identities(ids ...string) []byte {
	b := []byte{agentIdentitiesAnswer, 0, 0, 0, byte(len(ids))}
	for _, id := range ids {
		b = appendString(appendString(b, id), "comment of "+id)
	}
	return frame(b)
}

// Keys of kinds that nobody here knows, as FIDO's and those to come: lists,
// signatures and errors pass as they are.
func TestUpstreamPassesRaw(t *testing.T) {
	up := &scripted{answer: func(request []byte) []byte {
		switch request[0] {
		case agentRequestIdentities:
			return identities("a kind to come")
		case agentSignRequest:
			if bytes.Contains(request, []byte("refuse me")) {
				return frame([]byte{agentFailure})
			}
			return frame([]byte("\x0ea signature to come"))
		}
		return frame([]byte{agentFailure})
	}}
	var mu sync.Mutex
	var seen []Activity
	conn := connect(t, serve(t, &Server{
		Upstreams: []Upstream{{Name: "up", Dial: up.dial}},
		Observe:   func(a Activity) { mu.Lock(); defer mu.Unlock(); seen = append(seen, a) },
	}))
	if got, want := frame(exchange(t, conn, []byte{agentRequestIdentities})), identities("a kind to come"); !bytes.Equal(got, want) {
		t.Errorf("the list is %q; want %q", got, want)
	}
	sign := append(appendString(appendString([]byte{agentSignRequest}, "a kind to come"), message("data")), 1, 2, 3, 4)
	if got := exchange(t, conn, sign); string(got) != "\x0ea signature to come" {
		t.Errorf("the signature is %q; want the upstream agent's as it is", got)
	}
	if got := up.asked(); len(got) != 2 || !bytes.Equal(got[1], sign) {
		t.Errorf("the upstream agent got %q; want the sign request as it is", got)
	}
	refused := append(appendString(appendString([]byte{agentSignRequest}, "a kind to come"), "refuse me"), 0, 0, 0, 0)
	if got := exchange(t, conn, refused); !bytes.Equal(got, []byte{agentFailure}) {
		t.Errorf("a refusal is %q; want the upstream agent's failure", got)
	}
	if up.dials != 1 {
		t.Errorf("one client made %d links to the upstream agent; want 1", up.dials)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 3 || seen[1].Kind != Signed || seen[1].Upstream != "up" || seen[1].Err != nil || seen[2].Err == nil {
		t.Errorf("Observe saw %+v; want a list, a signature and a refusal of up", seen)
	}
}

// Our keys come first, then the upstream agents' in their order; a key that
// stands in the list is not listed again.
func TestOrder(t *testing.T) {
	keys := testKeys()
	a, b := opensshAgent(t), opensshAgent(t)
	add(t, a, keys["rsa"], "a's rsa")
	add(t, a, keys["ed25519"], "a's ed25519")
	add(t, b, keys["ecdsa"], "b's ecdsa")
	add(t, b, keys["rsa"], "b's rsa")
	source := newSource(t, keys["ecdsa-521"], keys["ed25519"])
	c := client(t, serve(t, &Server{Source: source, Upstreams: []Upstream{{Name: "a", Dial: dialSocket(a)}, {Name: "b", Dial: dialSocket(b)}}}))
	list, err := c.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range list {
		got = append(got, k.Comment)
	}
	if want := []string{"key 0", "key 1", "a's rsa", "b's ecdsa"}; !slices.Equal(got, want) {
		t.Errorf("the list is %q; want %q", got, want)
	}
	if _, err := c.Sign(public(t, keys["ed25519"]), []byte(message("data"))); err != nil {
		t.Error(err)
	}
	if fetched, _ := source.counts(); fetched != 1 {
		t.Errorf("a key that both have was fetched %d times; want the source's to sign", fetched)
	}
}

// A client need not ask for the list on the link on which it asks for a signature.
func TestSignWithoutList(t *testing.T) {
	path := opensshAgent(t)
	add(t, path, testKeys()["ecdsa"], "upstream's")
	ours := serve(t, &Server{Source: newSource(t, testKeys()["ed25519"]), Upstreams: []Upstream{{Name: "up", Dial: dialSocket(path)}}})
	for _, kind := range []string{"ed25519", "ecdsa"} {
		if _, err := client(t, ours).Sign(public(t, testKeys()[kind]), []byte(message("data"))); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// Keys of every kind that ssh-keygen makes, and a certificate, through ours with
// OpenSSH's own programs.
func TestOpenSSHUpstream(t *testing.T) {
	upstream := opensshAgent(t)
	path := serve(t, &Server{Upstreams: []Upstream{{Name: "openssh", Dial: dialSocket(upstream)}}})
	dir := t.TempDir()
	message := write(t, dir, "message")
	files := []string{}
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		file := filepath.Join(dir, kind)
		run(t, "", "ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "a "+kind+" key", "-f", file)
		files = append(files, file)
	}
	run(t, "", "ssh-keygen", "-q", "-s", files[0], "-I", "id", "-n", "somebody", files[1]+".pub")
	for _, file := range files {
		run(t, upstream, "ssh-add", "-q", file)
	}
	if got, want := run(t, path, "ssh-add", "-L"), run(t, upstream, "ssh-add", "-L"); got != want {
		t.Errorf("ssh-add -L through ours prints\n%swant, as without,\n%s", got, want)
	}
	for _, file := range append(files, files[1]+"-cert") {
		if err := os.Remove(message + ".sig"); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		run(t, path, "ssh-keygen", "-Y", "sign", "-f", file+".pub", "-n", "test", message)
		runWith(t, "precious", path, "ssh-keygen", "-Y", "check-novalidate", "-n", "test", "-f", file+".pub", "-s", message+".sig")
		run(t, path, "ssh-add", "-T", file+".pub")
	}
	// What would change an agent does not reach the one behind.
	if err := client(t, path).RemoveAll(); err != nil {
		t.Errorf("RemoveAll = %v; want success, for there is no added key", err)
	}
	if keys, err := client(t, upstream).List(); err != nil || len(keys) != 4 {
		t.Errorf("the upstream agent has %d keys, %v; want still 4", len(keys), err)
	}
}

// A bind reaches the upstream agents as it is, before the list, even one that
// we refuse: OpenSSH's agent refuses keys on a link whose bind failed.
func TestBindsPassOn(t *testing.T) {
	up := &scripted{answer: func(request []byte) []byte {
		if request[0] == agentRequestIdentities {
			return identities("key")
		}
		return frame([]byte{agentFailure}) // it knows no binds
	}}
	path := serve(t, &Server{Upstreams: []Upstream{{Name: "up", Dial: up.dial}}})
	good := bindRequest(t, hostKey(t, newKey(t)), "id", "id", 0)
	forged := bindRequest(t, hostKey(t, newKey(t)), "id", "another", 0)
	conn := connect(t, path)
	for _, tt := range []struct {
		bind   []byte
		answer byte
	}{{good, agentSuccess}, {forged, agentExtensionFailure}} {
		if got := exchange(t, conn, tt.bind); !bytes.Equal(got, []byte{tt.answer}) {
			t.Errorf("a bind was answered with %v; want %d", got, tt.answer)
		}
	}
	exchange(t, conn, []byte{agentRequestIdentities})
	got := up.asked()
	if len(got) != 3 || !bytes.Equal(got[0], good) || !bytes.Equal(got[1], forged) || got[2][0] != agentRequestIdentities {
		t.Errorf("the upstream agent got %q; want both binds as they are, then the request for a list", got)
	}
	if up.dials != 1 {
		t.Errorf("%d links were made; want all on one", up.dials)
	}
}

// OpenSSH's agent sees the bind: a key for one host is not offered on a link
// that is bound to another.
func TestRestrictedKeyUpstream(t *testing.T) {
	upstream, dir := opensshAgent(t), t.TempDir()
	host, other := hostKey(t, newKey(t)), hostKey(t, newKey(t))
	file := filepath.Join(dir, "key")
	run(t, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file)
	known := filepath.Join(dir, "known_hosts")
	line := "host " + string(ssh.MarshalAuthorizedKey(host.PublicKey()))
	if err := os.WriteFile(known, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, upstream, "ssh-add", "-q", "-H", known, "-h", "host", file)
	path := serve(t, &Server{Upstreams: []Upstream{{Name: "openssh", Dial: dialSocket(upstream)}}})
	for _, tt := range []struct {
		name   string
		host   ssh.Signer
		signed string
		keys   int
	}{
		{"the key's host", host, "id", 1},
		{"another host", other, "id", 0},
		{"a forged bind", host, "another", 0}, // OpenSSH 9.6 and later; see below
	} {
		conn := connect(t, path)
		exchange(t, conn, bindRequest(t, tt.host, "id", tt.signed, 0))
		keys, err := agent.NewClient(conn).List()
		if err != nil {
			t.Fatal(err)
		}
		if tt.signed != "id" && len(keys) == 1 {
			direct := connect(t, upstream)
			exchange(t, direct, bindRequest(t, tt.host, "id", tt.signed, 0))
			if keys, err := agent.NewClient(direct).List(); err == nil && len(keys) == 1 {
				continue // this OpenSSH forgives a failed bind
			}
		}
		if len(keys) != tt.keys {
			t.Errorf("on a link bound to %s %d keys are on offer; want %d", tt.name, len(keys), tt.keys)
		}
	}
}

func TestUpstreamFails(t *testing.T) {
	hangUp := func([]byte) []byte { return nil }
	say := func(answer []byte) func([]byte) []byte { return func([]byte) []byte { return answer } }
	tooMany := []byte{agentIdentitiesAnswer, 0, 0, 0, 9}
	for name, tt := range map[string]struct {
		dial   func(context.Context) (net.Conn, error)
		answer func([]byte) []byte
		want   string // in the log
	}{
		"can't be dialled":       {dial: func(context.Context) (net.Conn, error) { return nil, errors.New("no way") }, want: "no way"},
		"gives no connection":    {dial: func(context.Context) (net.Conn, error) { return nil, nil }, want: "no connection"},
		"hangs up":               {answer: hangUp, want: "EOF"},
		"refuses":                {answer: say(frame([]byte{agentFailure})), want: "SSH_AGENT_FAILURE"},
		"answers an empty frame": {answer: say([]byte{0, 0, 0, 0}), want: "malformed"},
		"announces too much":     {answer: say([]byte{255, 0, 0, 0}), want: "malformed"},
		"lists fewer than said":  {answer: say(frame(tooMany)), want: "not a list"},
		"lists more than said":   {answer: say(frame([]byte{agentIdentitiesAnswer, 0, 0, 0, 0, 1})), want: "not a list"},
	} {
		t.Run(name, func(t *testing.T) {
			var log logBuffer
			var mu sync.Mutex
			var failed []Activity
			dial, dials := tt.dial, 0
			if dial == nil {
				dial = (&scripted{answer: tt.answer}).dial
			}
			counted := func(ctx context.Context) (net.Conn, error) { dials++; return dial(ctx) }
			source, good := newSource(t, newKey(t)), &scripted{answer: say(identities("good"))}
			path := serve(t, &Server{
				Source: source, Log: log.logger(),
				Upstreams: []Upstream{{Name: "bad", Dial: counted}, {Name: "good", Dial: good.dial}},
				Observe: func(a Activity) {
					mu.Lock()
					defer mu.Unlock()
					if a.Err != nil {
						failed = append(failed, a)
					}
				},
			})
			conn := connect(t, path)
			for range 2 {
				ids, ok := parseIdentities(exchange(t, conn, []byte{agentRequestIdentities}))
				if !ok || len(ids) != 2 {
					t.Fatalf("%d keys are listed; want ours and that of the other upstream agent", len(ids))
				}
			}
			if sig := exchange(t, conn, signFrame(source.signers[0].PublicKey(), message("data"), 0)); sig[0] != agentSignResponse {
				t.Errorf("our key's signature is message %d", sig[0])
			}
			log.want(t, "keys not listed", "bad", tt.want)
			mu.Lock()
			defer mu.Unlock()
			if dials != 1 {
				t.Errorf("the agent was dialled %d times for one client; want once", dials)
			}
			if len(failed) != 2 || failed[0].Upstream != "bad" || failed[0].Kind != Listed {
				t.Errorf("Observe saw the failures %+v; want one for each list", failed)
			}
		})
	}
}

// An upstream agent that dies is not dialled again on the link: the new link
// would lack the binds of the old.
func TestUpstreamDiesMidway(t *testing.T) {
	alive := true
	up := &scripted{answer: func(request []byte) []byte {
		if !alive || request[0] == agentSignRequest {
			alive = false
			return nil
		}
		return identities("key")
	}}
	path := serve(t, &Server{Source: newSource(t, testKeys()["ed25519"]), Upstreams: []Upstream{{Name: "up", Dial: up.dial}}})
	conn := connect(t, path)
	exchange(t, conn, []byte{agentRequestIdentities})
	sign := append(appendString(appendString([]byte{agentSignRequest}, "key"), message("data")), 0, 0, 0, 0)
	for range 2 {
		if got := exchange(t, conn, sign); !bytes.Equal(got, []byte{agentFailure}) {
			t.Errorf("a signature of an agent that died: %v; want a failure", got)
		}
	}
	if ids, _ := parseIdentities(exchange(t, conn, []byte{agentRequestIdentities})); len(ids) != 1 {
		t.Errorf("%d keys are listed; want only ours", len(ids))
	}
	if up.dials != 1 {
		t.Errorf("the agent that died was dialled %d times; want once", up.dials)
	}
}

// Once the agent that was to sign is gone, another that has the key may.
func TestUpstreamTakesOver(t *testing.T) {
	first := &scripted{answer: func(request []byte) []byte {
		if request[0] == agentSignRequest {
			return nil
		}
		return identities("key")
	}}
	second := &scripted{answer: func(request []byte) []byte {
		if request[0] == agentSignRequest {
			return frame([]byte("\x0esignature"))
		}
		return identities("key")
	}}
	conn := connect(t, serve(t, &Server{Upstreams: []Upstream{{Name: "first", Dial: first.dial}, {Name: "second", Dial: second.dial}}}))
	sign := append(appendString(appendString([]byte{agentSignRequest}, "key"), message("data")), 0, 0, 0, 0)
	for i, want := range []byte{agentFailure, agentSignResponse} {
		if got := exchange(t, conn, sign); got[0] != want {
			t.Errorf("request %d was answered with message %d; want %d", i, got[0], want)
		}
	}
}

// An upstream agent that does not answer keeps the client from its other keys
// for a while only; who signs may take as long as a person takes.
func TestUpstreamHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan []byte)
		up := &scripted{answer: func(request []byte) []byte {
			if request[0] == agentSignRequest {
				return <-gate
			}
			return identities("key")
		}}
		left := make(chan error, 1)
		silent := func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				_, err := io.Copy(io.Discard, theirs)
				left <- err
			}()
			return ours, nil
		}
		l := newMemListener()
		s := &Server{Upstreams: []Upstream{{Name: "silent", Dial: silent}, {Name: "up", Dial: up.dial}}}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()

		conn := l.dial()
		begin := time.Now()
		if ids, _ := parseIdentities(exchange(t, conn, []byte{agentRequestIdentities})); len(ids) != 1 || time.Since(begin) != listTimeout {
			t.Errorf("beside a silent agent %d keys were listed after %v; want 1 after %v", len(ids), time.Since(begin), listTimeout)
		}
		if err := <-left; err != nil {
			t.Errorf("the link to the silent agent: %v; want it closed", err)
		}
		begin = time.Now()
		if exchange(t, conn, []byte{agentRequestIdentities}); time.Since(begin) != 0 {
			t.Errorf("the next list took %v; want no wait for an agent that was silent", time.Since(begin))
		}
		go func() {
			time.Sleep(time.Hour)
			gate <- frame([]byte{agentSignResponse})
		}()
		sign := append(appendString(appendString([]byte{agentSignRequest}, "key"), message("data")), 0, 0, 0, 0)
		if got := exchange(t, conn, sign); got[0] != agentSignResponse {
			t.Errorf("a signature that took an hour: message %d; want it", got[0])
		}

		// A client that hangs up takes its question back.
		if err := writeFrame(conn, framed(sign)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		conn.Close()
		synctest.Wait()
		if n := len(s.links()); n != 0 {
			t.Errorf("%d links are there after the client hung up during a signature; want none", n)
		}
		gate <- nil
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-served
	})
}

// OpenSSH's client takes 2048 keys and 256 KiB, and fails on more.
func TestListIsBounded(t *testing.T) {
	many := func(n, size int) []byte {
		b := []byte{agentIdentitiesAnswer, 0, 0, byte(n >> 8), byte(n)}
		for i := range n {
			b = appendString(appendString(b, fmt.Sprintf("%0*d", size, i)), "")
		}
		return frame(b)
	}
	for _, tt := range []struct{ n, size int }{{1500, 20}, {200, 1000}} {
		var log logBuffer
		var ups []Upstream
		for i := range 2 {
			up := &scripted{answer: func([]byte) []byte { return many(tt.n, tt.size+i) }}
			ups = append(ups, Upstream{Name: fmt.Sprint("up", i), Dial: up.dial})
		}
		source := newSource(t, testKeys()["ed25519"])
		conn := connect(t, serve(t, &Server{Source: source, Upstreams: ups, Log: log.logger()}))
		answer := exchange(t, conn, []byte{agentRequestIdentities})
		ids, ok := parseIdentities(answer)
		if !ok || len(ids) > maxIdentities || len(answer) > maxFrame || len(ids) <= tt.n {
			t.Errorf("two agents of %d keys of %d bytes make a list of %d keys, %d bytes; want it full, not over", tt.n, tt.size, len(ids), len(answer))
		}
		if !bytes.Equal(ids[0].blob, source.signers[0].PublicKey().Marshal()) {
			t.Error("our key is not the first")
		}
		log.want(t, "left out")
	}
}

// Through two of ours, as the helper's agent asks the daemon's.
func TestChain(t *testing.T) {
	source := newSource(t, testKeys()["ed25519"], testKeys()["ecdsa"], testKeys()["ecdsa-521"], testKeys()["rsa"])
	daemon := serve(t, &Server{Source: source, Idle: time.Minute})
	testAgent(t, serve(t, &Server{Upstreams: []Upstream{{Name: "daemon", Dial: dialSocket(daemon)}}}))
	if fetched, _ := source.counts(); fetched != 4 {
		t.Errorf("%d fetches; want one for each of 4 keys", fetched)
	}
	if got := strings.Count(run(t, daemon, "ssh-add", "-L"), "\n"); got != 4 {
		t.Errorf("ssh-add -L prints %d lines; want 4", got)
	}
}
