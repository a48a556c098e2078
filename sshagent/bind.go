package sshagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/crypto/ssh"
)

const (
	extSessionBind = "session-bind@openssh.com"

	// What OpenSSH's agent takes (AGENT_MAX_SESSION_IDS, AGENT_MAX_SID_LEN), and
	// a bound on what a link can make us remember.
	maxBinds       = 16
	maxSessionID   = 128
	maxBindRequest = 32 << 10
	maxBindsKept   = 64 << 10 // bytes: 16 with RSA keys of 4096 bits are 20 KiB
)

// A SessionBind is one hop on the way from the client to a host: the client is
// logging in to the host of this key, or (Forwarding) forwards the agent to it.
type SessionBind struct {
	HostKey    ssh.PublicKey
	SessionID  []byte         // of the key exchange: RFC 4253, section 7.2
	Signature  *ssh.Signature // of SessionID, by HostKey: it was verified
	Forwarding bool
}

// A boundHop is a bind as a session remembers it.
type boundHop struct {
	SessionBind
	blob []byte // of HostKey, as it came
}

// bind answers session-bind@openssh.com (OpenSSH's PROTOCOL.agent, section 1).
// Upstream agents are told even of a bind that we refuse: an agent that hears of
// none takes the client for a local one. Those that have no link yet hear of it
// when they get one, with the first request: ssh binds each link that it forwards
// before anything else is sent on it, so if a bind dialled, an agent that leads to
// itself would go on dialling itself before it could see that.
func (s *session) bind(ctx context.Context, request, body []byte) []byte {
	err := s.addBind(body)
	s.bindFailed = s.bindFailed || err != nil
	s.leaveLoops()
	if s.asked {
		s.whileConnected(ctx, func(ctx context.Context) {
			var passing sync.WaitGroup
			for _, u := range s.upstreams { // at once: one may have lost its network
				passing.Go(func() { s.passBind(ctx, u, request) })
			}
			passing.Wait()
		})
	}
	s.keepBind(request)
	if err != nil {
		s.tell(slog.LevelWarn, "bind refused", "err", err)
		return newFrame(agentExtensionFailure)
	}
	return newFrame(agentSuccess)
}

var errManyBinds = errors.New("the client sends too many binds")

// keepBind keeps a bind for the links to upstream agents that are dialled later. Of
// a client that sends more of them than ssh ever would, these would not hear all:
// they are not asked any more.
func (s *session) keepBind(request []byte) {
	if s.bindsKept += len(request); s.bindsKept > maxBindsKept {
		for _, u := range s.upstreams {
			u.leave(errManyBinds)
		}
		s.upstreams = nil
		return
	}
	kept := bytes.Clone(request)
	for _, u := range s.upstreams {
		u.binds = append(u.binds, kept)
	}
}

// passBind tells an upstream agent of a bind. If it cannot be told, its link is
// not used any more; that it refuses (many know no binds) is its own affair.
func (s *session) passBind(ctx context.Context, u *upstreamLink, request []byte) {
	ctx, cancel := u.withTimeout(ctx)
	defer cancel()
	answer, err := u.exchange(ctx, request)
	if err != nil {
		s.log.Debug("bind not passed on", "upstream", u.Name, "err", err)
	} else if answer[0] != agentSuccess {
		s.log.Debug("bind refused by an upstream agent", "upstream", u.Name, "message", messageName(answer[0]))
	}
}

func (s *session) addBind(body []byte) error {
	b, err := parseBind(body)
	if err != nil {
		return err
	}
	for _, old := range s.binds {
		sameKey := bytes.Equal(old.blob, b.blob)
		switch sameID := bytes.Equal(old.SessionID, b.SessionID); {
		case !old.Forwarding:
			return errors.New("the link is bound to a login already")
		case sameID && sameKey:
			return nil
		case sameID:
			return errors.New("the session is bound to another host key already")
		}
	}
	if len(s.binds) == maxBinds {
		return fmt.Errorf("the link is bound to %d sessions already", maxBinds)
	}
	s.binds = append(s.binds, *b)
	return nil
}

// parseBind parses a bind and verifies that its host key signed the session id.
// It shares no memory with body.
func parseBind(body []byte) (*boundHop, error) {
	if len(body) > maxBindRequest {
		return nil, fmt.Errorf("a bind of %d bytes is over the limit of %d", len(body), maxBindRequest)
	}
	malformed := errors.New("malformed bind")
	hostKey, rest, ok1 := cutString(body)
	id, rest, ok2 := cutString(rest)
	signature, rest, ok3 := cutString(rest)
	if !ok1 || !ok2 || !ok3 || len(rest) != 1 {
		return nil, malformed
	}
	if len(id) == 0 || len(id) > maxSessionID {
		return nil, fmt.Errorf("a session id of %d bytes; want 1 to %d", len(id), maxSessionID)
	}
	hostKey = bytes.Clone(hostKey)
	key, err := ssh.ParsePublicKey(hostKey)
	if err != nil {
		return nil, fmt.Errorf("the host key of a bind: %w", err)
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(bytes.Clone(signature), &sig); err != nil {
		return nil, malformed
	}
	if err := key.Verify(id, &sig); err != nil {
		return nil, fmt.Errorf("the host key %s did not sign the session id of a bind: %w", ssh.FingerprintSHA256(key), err)
	}
	return &boundHop{SessionBind{HostKey: key, SessionID: bytes.Clone(id), Signature: &sig, Forwarding: rest[0] != 0}, hostKey}, nil
}
