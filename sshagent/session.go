package sshagent

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"
)

// A session is what the agent knows of one client. Nothing of it outlives the link,
// and only the link's goroutine uses it, but for rest, for which busy is there.
type session struct {
	server    *Server
	conn      net.Conn
	in        frameReader
	log       *slog.Logger
	upstreams []*upstreamLink
	offers    map[keyID]offer

	peer       Peer // zero if it is not known
	binds      []boundHop
	bindFailed bool // a bind was refused: keys that are for certain hosts are of no use any more
	bindsKept  int  // bytes, see keepBind
	asked      bool // upstream agents have been asked something, so they have links

	busy    sync.Mutex  // a request is answered, or the links to upstream agents go to rest
	resting *time.Timer // nil: no such link was there yet
}

// A keyID is the SHA-256 of a public key's blob.
type keyID [sha256.Size]byte

// An offer is where a key is to be had.
type offer struct {
	upstream *upstreamLink // nil: it is not an upstream agent's
	added    *addedKey     // nil: it is not an added one
	key      Key           // of the Source, if it is none of these
}

func newSession(s *Server, conn net.Conn) *session {
	sess := &session{server: s, conn: conn, in: newFrameReader(conn), log: s.logger(), upstreams: s.upstreamLinks()}
	if p, err := peerOf(conn); err == nil {
		sess.peer = p
		sess.log = sess.log.With("pid", p.PID)
	}
	return sess
}

func (s *session) close() {
	s.busy.Lock()
	defer s.busy.Unlock()
	s.endRest()
	for _, u := range s.upstreams {
		u.close()
	}
}

// answer returns the frame that answers a request, which is not empty.
func (s *session) answer(ctx context.Context, request []byte) []byte {
	s.busy.Lock()
	defer s.busy.Unlock()
	s.endRest()
	defer s.restLater()
	message := request[0]
	switch message {
	case agentAddIdentity, agentAddIDConstrained, agentLock, agentUnlock, agentAddSmartcardKey, agentAddSmartcardKeyCon, agentRemoveSmartcardKey:
		defer s.in.wipe() // a private key, a password, or a PIN
	}
	if err := s.mayChange(message); err != nil {
		return s.status("", request, err)
	}
	if s.server.padlock().closed.Load() && message != agentUnlock {
		return s.answerLocked(ctx, request)
	}
	if _, ok := changing[message]; ok && s.passesChanges() {
		return s.passChange(ctx, request)
	}
	switch message {
	case agentRequestIdentities:
		return s.list(ctx)
	case agentSignRequest:
		return s.sign(ctx, request)
	case agentAddIdentity, agentAddIDConstrained:
		return s.add(ctx, request)
	case agentAddSmartcardKey, agentAddSmartcardKeyCon:
		return s.status("", request, errSmartcard)
	case agentRemoveSmartcardKey:
		return s.status("", request, errNoSmartcard)
	case agentRemoveIdentity:
		return s.remove(ctx, request)
	case agentRemoveAll:
		return s.removeAll()
	case agentLock, agentUnlock:
		return s.lock(ctx, request)
	case agentExtension:
		return s.extension(ctx, request)
	}
	if message == agentRemoveAllV1 { // "ssh-add -D" sends it behind the one of today
		s.log.Debug("request refused", "message", messageName(message), "why", "there are no keys of SSH 1 here")
		return newFrame(agentFailure)
	}
	s.tell(slog.LevelWarn, "request refused", "message", messageName(message), "bytes", len(request)-1, "why", "unknown message")
	return newFrame(agentFailure)
}

// answerLocked answers while the agent is locked (RFC 9987, section 5.7): it
// has no keys then, of its own or of others. Binds it takes, or a link that is
// forwarded meanwhile would pass for a local one once it is unlocked.
func (s *session) answerLocked(ctx context.Context, request []byte) []byte {
	switch request[0] {
	case agentRequestIdentities:
		return append(newFrame(agentIdentitiesAnswer), 0, 0, 0, 0)
	case agentExtension:
		switch name, body, _ := cutString(request[1:]); string(name) {
		case extSessionBind:
			return s.bind(ctx, request, body)
		case extVia:
			return s.via(body)
		}
	}
	return s.status("", request, errLocked)
}

// extension answers SSH_AGENTC_EXTENSION (RFC 9987, section 5.8).
func (s *session) extension(ctx context.Context, request []byte) []byte {
	name, body, ok := cutString(request[1:])
	if !ok {
		s.tell(slog.LevelWarn, "request refused", "message", messageName(request[0]), "why", "malformed extension")
		return newFrame(agentFailure)
	}
	switch string(name) {
	case "query":
		answer := appendString(newFrame(agentExtensionResponse), "query")
		return appendString(appendString(answer, extSessionBind), extVia)
	case extSessionBind:
		return s.bind(ctx, request, body)
	case extVia:
		return s.via(body)
	}
	s.log.Debug("extension refused", "extension", printable(name), "why", "unknown extension")
	return newFrame(agentFailure)
}

// lookAgain is how often a client is looked at that has stopped sending.
const lookAgain = time.Second

// whileConnected calls f with a context that also ends when the client hangs
// up: nobody should wait, or be asked to touch a token, for a client that is gone.
func (s *session) whileConnected(ctx context.Context, f func(context.Context)) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		if s.hangsUp(done) {
			cancel(errHungUp)
		}
	}()
	defer func() {
		close(done)
		s.conn.SetReadDeadline(time.Unix(1, 0)) // wakes the goroutine
		<-watched
		s.conn.SetReadDeadline(time.Time{})
	}()
	f(ctx)
}

// hangsUp waits until the client hangs up, or done is closed and the link's read
// deadline is over, and reports whether it has. What it sends meanwhile stays.
func (s *session) hangsUp(done <-chan struct{}) bool {
	_, err := s.in.r.peek(1)
	if err != nil && err != io.EOF {
		return !errors.Is(err, os.ErrDeadlineExceeded)
	}
	// Once it has sent its next request, or its last, nothing is heard of its end: look
	// for it.
	for {
		switch gone, known := hungUp(s.conn); {
		case !known:
			return err == io.EOF
		case gone:
			return true
		}
		select {
		case <-done:
			return false
		case <-time.After(lookAgain):
		}
	}
}

var errHungUp = errors.New("the client hung up")

// printable makes a client's bytes fit for a log.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, string(b[:min(len(b), 64)]))
}

// fingerprint is what the log calls a key by its blob: as ssh-keygen -l does.
func fingerprint[S ~string | ~[]byte](blob S) string {
	sum := sha256.Sum256([]byte(blob))
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// publicKey is the key of a blob, or nil if this program knows no such kind.
func publicKey(blob []byte) ssh.PublicKey {
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil
	}
	return key
}
