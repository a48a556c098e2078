package sshagent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
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

// FuzzLink sends a server whatever there is. It must answer each whole request
// with one message of a kind that fits, and not panic.
func FuzzLink(f *testing.F) {
	key := testKeys()["ed25519"]
	source := newSource(f, key)
	for _, request := range [][]byte{
		{agentRequestIdentities},
		signFrame(public(f, key), message("data"), 0),
		signFrame(public(f, testKeys()["rsa"]), message("data"), 2),
		bindRequest(f, hostKey(f, key), "id", "id", 1),
		bindRequest(f, hostKey(f, testKeys()["rsa"]), "id", "id", 0),
		appendString([]byte{agentExtension}, "query"),
		viaRequest(nil, viaID{1}),
		{agentRemoveAll},
		addition{key: testKeys()["ecdsa"], comment: "comment", constraints: lifetime(1)}.request(f),
		addition{key: testKeys()["rsa"], certificate: certify(f, testKeys()["rsa"], ssh.UserCert)}.request(f),
		removal(public(f, testKeys()["ecdsa"])),
		lockRequest(agentLock, "p"),
		lockRequest(agentUnlock, "p"),
		smartcard(agentAddSmartcardKeyCon, lifetime(1)...),
		skAddition("/usr/lib/sk.so"),
		{200, 1, 2, 3},
	} {
		f.Add(frame(request))
		f.Add(append(frame(request), frame(request)...))
		f.Add(frame(request)[:len(request)])
	}
	f.Add([]byte{255, 255, 255, 255, 0})
	away := func(context.Context) (net.Conn, error) { return nil, errors.New("away") }
	f.Fuzz(func(t *testing.T, sent []byte) {
		for _, changes := range []bool{false, true} {
			up := Upstream{Name: "away", Dial: away, Changes: changes}
			fuzzLink(t, &Server{Source: source, Idle: time.Hour, Upstreams: []Upstream{up}}, sent)
		}
	})
}

func fuzzLink(t *testing.T, s *Server, sent []byte) {
	var log logBuffer
	s.Log = log.logger()
	defer s.Forget()
	requests := 0
	for in := newFrameReader(&stream{in: bytes.NewReader(sent)}); ; requests++ {
		if _, err := in.next(); err != nil {
			break
		}
	}
	conn := &stream{in: bytes.NewReader(sent)}
	s.serve(t.Context(), &link{conn: conn})
	in := newFrameReader(&stream{in: bytes.NewReader(conn.answers.Bytes())})
	for n := 0; ; n++ {
		answer, err := in.next()
		if err == io.EOF && n == requests {
			break
		}
		if err != nil {
			t.Fatalf("after %d answers to %d requests: %v", n, requests, err)
		}
		switch answer[0] {
		case agentFailure, agentSuccess, agentIdentitiesAnswer, agentSignResponse, agentExtensionFailure, agentExtensionResponse:
		default:
			t.Errorf("answer %d is message %d", n, answer[0])
		}
	}
	if bytes.Contains([]byte(log.String()), []byte("panic")) {
		t.Errorf("it panicked:\n%s", &log)
	}
}

// FuzzBind looks for a bind that is taken without its host key's signature.
func FuzzBind(f *testing.F) {
	for _, kind := range kinds {
		b := bindRequest(f, hostKey(f, testKeys()[kind]), "session", "session", 1)
		f.Add(b[5+len(extSessionBind):])
		b = bindRequest(f, hostKey(f, testKeys()[kind]), "session", "another", 0)
		f.Add(b[5+len(extSessionBind):])
	}
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
		key, rest, _ := cutString(given)
		id, rest, _ := cutString(rest)
		signature, _, _ := cutString(rest)
		var sig ssh.Signature
		if err := ssh.Unmarshal(signature, &sig); err != nil {
			t.Fatalf("a bind was taken whose signature is malformed: %v", err)
		}
		if !bytes.Equal(b.SessionID, id) || len(id) == 0 || len(id) > maxSessionID {
			t.Errorf("the bind's session id is %q; it was given %q", b.SessionID, id)
		}
		if err := b.HostKey.Verify(id, &sig); err != nil {
			t.Errorf("a bind was taken that its host key did not sign: %v", err)
		}
		if k, err := ssh.ParsePublicKey(key); err != nil || !bytes.Equal(k.Marshal(), b.HostKey.Marshal()) {
			t.Errorf("the bind's host key is not the one that was given: %v", err)
		}
	})
}

// FuzzIdentities holds what is read from a list against the list itself.
func FuzzIdentities(f *testing.F) {
	f.Add(identities("a", "b")[4:])
	f.Add(identities()[4:])
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
	f.Add(signFrame(public(f, testKeys()["ecdsa"]), message("data"), 4)[1:])
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
