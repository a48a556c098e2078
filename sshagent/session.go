package sshagent

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"
)

// A session is what the agent knows of one client: nothing of it outlives the
// link, and only the link's goroutine uses it.
type session struct {
	server    *Server
	conn      net.Conn
	in        frameReader
	log       *slog.Logger
	upstreams []*upstreamLink
	offers    map[keyID]offer

	binds          []sessionBind
	bindsAttempted bool // a bind was tried, even if none succeeded
}

// A keyID is the SHA-256 of a public key's blob.
type keyID [sha256.Size]byte

// An offer is where a key is to be had.
type offer struct {
	upstream *upstreamLink // nil: the Source
	key      Key           // of the Source
}

func newSession(s *Server, conn net.Conn, log *slog.Logger) *session {
	return &session{server: s, conn: conn, in: newFrameReader(conn), log: log, upstreams: s.upstreamLinks()}
}

func (s *session) close() {
	for _, u := range s.upstreams {
		u.close()
	}
}

// refusals says why requests that would change the agent are refused.
var refusals = map[byte]string{
	agentAddIdentity:        "keys cannot be added: this agent offers what its source has",
	agentAddIDConstrained:   "keys cannot be added: this agent offers what its source has",
	agentRemoveIdentity:     "keys cannot be removed: this agent offers what its source has",
	agentRemoveAll:          "keys cannot be removed: this agent offers what its source has",
	agentAddSmartcardKey:    "smartcards cannot be added",
	agentAddSmartcardKeyCon: "smartcards cannot be added",
	agentRemoveSmartcardKey: "smartcards cannot be removed",
	agentLock:               "this agent cannot be locked: it has no password to unlock it with",
	agentUnlock:             "this agent cannot be locked, so it is not",
}

// answer returns the frame that answers a request, which is not empty.
func (s *session) answer(ctx context.Context, request []byte) []byte {
	switch message, body := request[0], request[1:]; message {
	case agentRequestIdentities:
		return s.list(ctx)
	case agentSignRequest:
		return s.sign(ctx, request)
	case agentExtension:
		return s.extension(ctx, request)
	default:
		why, ok := refusals[message]
		if !ok {
			why = "unknown message"
		}
		s.log.Warn("request refused", "message", message, "bytes", len(body), "why", why)
		return newFrame(agentFailure)
	}
}

// extension answers SSH_AGENTC_EXTENSION (RFC 9987, section 5.8).
func (s *session) extension(ctx context.Context, request []byte) []byte {
	name, body, ok := cutString(request[1:])
	if !ok {
		s.log.Warn("request refused", "message", request[0], "why", "malformed extension")
		return newFrame(agentFailure)
	}
	switch string(name) {
	case "query":
		answer := appendString(newFrame(agentExtensionResponse), "query")
		return appendString(answer, extSessionBind)
	case extSessionBind:
		return s.bind(ctx, request, body)
	}
	s.log.Debug("extension refused", "extension", printable(name), "why", "unknown extension")
	return newFrame(agentFailure)
}

// whileConnected calls f with a context that also ends when the client hangs
// up: nobody should wait, or be asked to touch a token, for a client that is gone.
func (s *session) whileConnected(ctx context.Context, f func(context.Context)) {
	if s.in.r.Buffered() > 0 { // its next request: it is there
		f(ctx)
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if _, err := s.in.r.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			cancel(errHungUp)
		}
	}()
	defer func() {
		s.conn.SetReadDeadline(time.Unix(1, 0)) // wakes the goroutine
		<-watched
		s.conn.SetReadDeadline(time.Time{})
	}()
	f(ctx)
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
