package sshagent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/sshagent/signdata"
)

// A stream is a connection on which a client has sent all it will, and which
// keeps what it is answered.
type stream struct {
	in      *bytes.Reader
	answers bytes.Buffer
}

func (s *stream) Read(b []byte) (int, error)       { return s.in.Read(b) }
func (s *stream) Write(b []byte) (int, error)      { return s.answers.Write(b) }
func (s *stream) Close() error                     { return nil }
func (s *stream) LocalAddr() net.Addr              { return nil }
func (s *stream) RemoteAddr() net.Addr             { return nil }
func (s *stream) SetDeadline(time.Time) error      { return nil }
func (s *stream) SetReadDeadline(time.Time) error  { return nil }
func (s *stream) SetWriteDeadline(time.Time) error { return nil }

// fuzzKey is the same in every process: a corpus names the key of the Source.
func fuzzKey() crypto.Signer {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
}

// FuzzLink sends a server whatever there is. It must answer each whole request
// with one message that fits it and what came before, end at what is no frame, and
// hold no key when it has forgotten all.
func FuzzLink(f *testing.F) {
	key, own := fuzzKey(), testKeys()["ecdsa"]
	source := newSource(f, key)
	adding := frame(addition{key: own, comment: "comment", constraints: lifetime(1)}.request(f))
	signing := frame(signFrame(public(f, own), message("data"), 0))
	lock := frame(lockRequest(agentLock, "p"))
	f.Add(slices.Concat(adding, lock, frame(lockRequest(agentUnlock, "q")), signing, frame(lockRequest(agentUnlock, "p")), signing))
	for _, request := range [][]byte{
		{agentRequestIdentities},
		signFrame(public(f, key), message("data"), 0),
		signFrame(public(f, key), login(public(f, key).Marshal(), ssh.KeyAlgoED25519, "id", "git", nil), 0),
		signFrame(public(f, key), "neither", 0),
		signFrame(public(f, testKeys()["rsa"]), message("data"), 2),
		bindRequest(f, hostKey(f, key), "id", "id", 1),
		bindRequest(f, hostKey(f, testKeys()["rsa"]), "id", "id", 0),
		appendString([]byte{agentExtension}, "query"),
		viaRequest(nil, viaID{1}),
		{agentRemoveAll},
		adding[4:],
		addition{key: testKeys()["rsa"], certificate: certify(f, testKeys()["rsa"], ssh.UserCert)}.request(f),
		removal(public(f, own)),
		lockRequest(agentLock, "p"),
		lockRequest(agentUnlock, "p"),
		smartcard(agentAddSmartcardKeyCon, lifetime(1)...),
		skAddition("/usr/lib/sk.so"),
		{200, 1, 2, 3},
	} {
		f.Add(slices.Concat(adding, lock, frame(request), signing))
		f.Add(slices.Concat(frame(bindRequest(f, hostKey(f, key), "id", "id", 1)), frame(request)))
		f.Add(slices.Concat(frame(bindRequest(f, hostKey(f, key), "id", "another", 0)), frame(request)))
		f.Add(frame(request))
		f.Add(append(frame(request), frame(request)...))
		f.Add(frame(request)[:len(request)])
		f.Add(slices.Concat(adding, frame(request), signing, frame([]byte{agentRequestIdentities})))
	}
	f.Add([]byte{255, 255, 255, 255, 0})
	away := func(context.Context) (net.Conn, error) { return nil, errors.New("away") }
	f.Fuzz(func(t *testing.T, sent []byte) {
		for _, changes := range []bool{false, true} {
			up := Upstream{Name: "away", Dial: away, Changes: changes}
			fuzzLink(t, &Server{Source: source, Idle: time.Hour, Upstreams: []Upstream{up}}, public(t, key), sent)
		}
	})
}

func fuzzLink(t *testing.T, s *Server, managed ssh.PublicKey, sent []byte) {
	var log logBuffer
	s.Log = log.logger()
	requests, rest := framesOf(sent)
	conn := &stream{in: bytes.NewReader(sent)}
	s.serve(t.Context(), &link{conn: conn})
	answers, more := framesOf(conn.answers.Bytes())
	if len(answers) != len(requests) || len(more) > 0 {
		t.Fatalf("%d answers to %d requests, and %d bytes more", len(answers), len(requests), len(more))
	}
	var before past
	for i, request := range requests {
		if err := errors.Join(fits(request, answers[i], managed), before.allows(request, answers[i])); err != nil {
			t.Errorf("the answer to request %d, %x: %v", i, request, err)
		}
	}
	if n, _, ok := cutUint32(rest); ok && (n == 0 || n > maxFrame) && !strings.Contains(log.String(), errFrame.Error()) {
		t.Errorf("a frame of %d bytes ended the link as if it had been one:\n%s", n, &log)
	}
	if bytes.Contains([]byte(log.String()), []byte("panic")) {
		t.Errorf("it panicked:\n%s", &log)
	}
	if err := s.Shutdown(t.Context()); err != nil || s.Held() != 0 {
		t.Errorf("Shutdown = %v; %d private keys are held after it", err, s.Held())
	}
}

// framesOf cuts what was sent into its frames, as far as they are whole.
func framesOf(b []byte) (frames [][]byte, rest []byte) {
	for {
		one, rest, ok := cutString(b)
		if !ok || len(one) == 0 || len(one) > maxFrame {
			return frames, b
		}
		frames, b = append(frames, one), rest
	}
}

// A past is what the requests of a link so far mean for the next one.
type past struct {
	bound, elsewhere bool   // by a bind; to another machine, or nobody knows whereto
	lock             []byte // what it was locked with; nil: it is not
}

// allows says why a request must not have been answered so after those before it.
func (p *past) allows(request, answer []byte) error {
	done := answer[0] == agentSuccess
	keys := answer[0] == agentSignResponse || answer[0] == agentIdentitiesAnswer && !bytes.Equal(answer[1:], make([]byte, 4))
	message, body := request[0], request[1:]
	name, bind, _ := cutString(body)
	switch {
	case p.lock != nil && (keys || done && message != agentUnlock && message != agentExtension):
		return errors.New("the agent is locked")
	case p.elsewhere && done && slices.Contains(onlyDone, message):
		return errors.New("the client may be on another machine")
	case message == agentExtension && string(name) == extSessionBind:
		p.elsewhere = p.elsewhere || !done || !p.bound && bind[len(bind)-1] != 0
		p.bound = true
	case message == agentLock && done:
		p.lock = body
	case message == agentUnlock && done && !bytes.Equal(body, p.lock):
		return errors.New("it was locked with another password")
	case message == agentUnlock && done:
		p.lock = nil
	}
	return nil
}

// fits says why an answer is none to a request. A signature must be one of what
// was to be signed, and by the key of the source only of what it may sign.
func fits(request, answer []byte, managed ssh.PublicKey) error {
	kind := answer[0]
	switch message := request[0]; {
	case kind == agentFailure && len(answer) == 1 && message != agentRequestIdentities:
		return nil // a list may be empty, and is there
	case message == agentRequestIdentities:
		if _, ok := parseIdentities(answer); ok {
			return nil
		}
	case message == agentSignRequest && kind == agentSignResponse:
		r, ok := parseSignRequest(request[1:])
		if !ok {
			return errors.New("a malformed request was signed")
		}
		key, err := ssh.ParsePublicKey(r.blob)
		if err != nil {
			return err
		}
		if certificate, ok := key.(*ssh.Certificate); ok {
			key = certificate.Key
		}
		if _, _, err := signdata.Parse(r.data); err != nil && bytes.Equal(r.blob, managed.Marshal()) {
			return fmt.Errorf("signed by the source's key: %w", err)
		}
		return verify(answer, key, string(r.data))
	case message == agentExtension && (kind == agentExtensionFailure || kind == agentSuccess) && len(answer) == 1,
		message == agentExtension && kind == agentExtensionResponse:
		return nil
	case slices.Contains(onlyDone, message) && kind == agentSuccess && len(answer) == 1:
		return nil
	}
	return fmt.Errorf("message %d of %d bytes", kind, len(answer))
}

// onlyDone are the requests whose answer says no more than that they were done.
var onlyDone = []byte{agentAddIdentity, agentAddIDConstrained, agentRemoveIdentity, agentRemoveAll, agentLock, agentUnlock}

// FuzzBind looks for a bind that is taken without its host key's signature.
func FuzzBind(f *testing.F) {
	for _, kind := range kinds {
		b := bindRequest(f, hostKey(f, testKeys()[kind]), "session", "session", 1)
		f.Add(b[5+len(extSessionBind):])
		f.Add(slices.Concat(b[5+len(extSessionBind):], []byte{1})) // in memory of its own, for it is cleared
		b = bindRequest(f, hostKey(f, testKeys()[kind]), "session", "another", 0)
		f.Add(b[5+len(extSessionBind):])
	}
	long := strings.Repeat("s", maxSessionID+1)
	f.Add(bindRequest(f, hostKey(f, fuzzKey()), long, long, 0)[5+len(extSessionBind):])
	f.Fuzz(func(t *testing.T, body []byte) {
		given := bytes.Clone(body)
		b, err := parseBind(body)
		if !bytes.Equal(body, given) {
			t.Fatal("parseBind changed what it was given")
		}
		if err != nil {
			return
		}
		clear(body) // the bind must not share its memory
		again := appendString(appendString(appendString(nil, b.blob), b.SessionID), ssh.Marshal(b.Signature))
		if last := given[len(given)-1]; !bytes.Equal(append(again, last), given) || b.Forwarding != (last != 0) {
			t.Errorf("the bind %x reads as %x, forwarding %v", given, again, b.Forwarding)
		}
		if len(b.SessionID) == 0 || len(b.SessionID) > maxSessionID {
			t.Errorf("a bind was taken whose session id has %d bytes", len(b.SessionID))
		}
		if err := b.HostKey.Verify(b.SessionID, b.Signature); err != nil {
			t.Errorf("a bind was taken that its host key did not sign: %v", err)
		}
		if k, err := ssh.ParsePublicKey(b.blob); err != nil || !bytes.Equal(k.Marshal(), b.HostKey.Marshal()) {
			t.Errorf("the bind's host key is not the one that was given: %v", err)
		}
	})
}

// FuzzIdentities holds what is read from a list against the list itself.
func FuzzIdentities(f *testing.F) {
	f.Add(identities("a", "b")[4:])
	f.Add(identities()[4:])
	f.Add(append(identities("a", "b")[4:], 0))
	f.Add([]byte{agentIdentitiesAnswer, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, body []byte) {
		ids, ok := parseIdentities(body)
		if !ok {
			return
		}
		l := &listing{frame: append(newFrame(agentIdentitiesAnswer), body[1:5]...)}
		for _, id := range ids {
			l.frame = appendString(appendString(l.frame, id.blob), id.comment)
		}
		if !bytes.Equal(l.frame[4:], body) {
			t.Errorf("the list %q reads as %q", body, l.frame[4:])
		}
	})
}

// FuzzSignRequest holds what is read from a sign request against the request.
func FuzzSignRequest(f *testing.F) {
	request := signFrame(public(f, testKeys()["ecdsa"]), message("data"), 4)[1:]
	f.Add(request)
	f.Add(append(request, 0))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, ok := parseSignRequest(body)
		if !ok {
			return
		}
		b := appendString(appendString(nil, r.blob), r.data)
		if b = append(b, byte(r.flags>>24), byte(r.flags>>16), byte(r.flags>>8), byte(r.flags)); !bytes.Equal(b, body) {
			t.Errorf("the request %q reads as %q", body, b)
		}
	})
}
