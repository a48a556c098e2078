package sshagent

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
)

// extVia says through which agents of this package a link has come: the body is
// the identity of each, a string, the nearest last. An agent that may lead to
// others can be made to lead to itself, and would ask itself until nobody has a
// link left. What relays a link byte by byte, as "ssh -A" does, does not know
// that it goes in a circle; an agent that finds itself on the way does.
//
// The answer is SSH_AGENT_EXTENSION_RESPONSE with the identity of who answers.
// Agents that do not know it refuse it, as they must (RFC 9987, section 5.8).
const extVia = "via@latchkey"

const (
	viaIDSize = 16
	maxVia    = 16 // agents on the way: more of them in a row are nobody's wish
)

// viaID identifies a Server to itself and says nothing to others.
type viaID [viaIDSize]byte

func newViaID() (id viaID) {
	rand.Read(id[:])
	return id
}

// viaRequest is the request with which a link begins that has come by body, if
// any, and then through id.
func viaRequest(body []byte, id viaID) []byte {
	request := appendString([]byte{agentExtension}, extVia)
	return appendString(append(request, body...), id[:])
}

func viaAnswer(id viaID) []byte {
	return appendString(appendString(newFrame(agentExtensionResponse), extVia), id[:])
}

// via answers extVia.
func (s *session) via(body []byte) []byte {
	if err := s.cameBy(body); err != nil {
		s.tell(slog.LevelWarn, "request refused", "extension", extVia, "why", err)
		return newFrame(agentExtensionFailure)
	}
	return viaAnswer(s.server.ready().id)
}

// cameBy notes the way that the link has come: if through here, no other agent is
// asked on it, else they are told. It comes before all but binds, which ssh puts
// in front of what it forwards, and which wait: see bind.
func (s *session) cameBy(body []byte) error {
	if s.asked {
		return errors.New("it has to come first")
	}
	id := s.server.ready().id
	for rest, n := body, 0; len(rest) > 0 || n == 0; n++ {
		hop, r, ok := cutString(rest)
		switch {
		case !ok || len(hop) != viaIDSize:
			s.upstreams = nil
			return errors.New("malformed way")
		case n == maxVia:
			s.upstreams = nil
			return fmt.Errorf("it has come through more than %d agents", maxVia)
		case bytes.Equal(hop, id[:]):
			s.log.Debug("link comes from here: no other agent is asked")
			s.upstreams = nil
			return nil
		}
		rest = r
	}
	request := viaRequest(body, id)
	for _, u := range s.upstreams {
		u.via = request
	}
	return nil
}

// LeadsBack asks the agent at the other end of a new link whether it is this
// Server, which a link that others relay may lead to. An error is that of a link
// at whose other end is no agent.
func (s *Server) LeadsBack(ctx context.Context, conn net.Conn) (bool, error) {
	id := s.ready().id
	u := &upstreamLink{conn: conn, in: newFrameReader(conn)}
	answer, err := u.exchangeOpen(ctx, viaRequest(nil, id))
	if err != nil {
		return false, err
	}
	switch answer[0] {
	case agentFailure, agentSuccess, agentExtensionFailure:
		return false, nil
	case agentExtensionResponse:
		return slices.Equal(answer, viaAnswer(id)[4:]), nil
	}
	return false, fmt.Errorf("it answers with message %d, which is no answer to an extension", answer[0])
}
