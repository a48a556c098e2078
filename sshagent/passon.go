package sshagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// extSKProvider is the constraint that names the library of a security key
// (OpenSSH's PROTOCOL.agent). The agent's own is called "internal".
const extSKProvider = "sk-provider@openssh.com"

// changing says which requests change what keys an agent has, and how the log
// calls what they do.
var changing = map[byte]string{
	agentAddIdentity:        "add a key",
	agentAddIDConstrained:   "add a key",
	agentRemoveIdentity:     "remove a key",
	agentRemoveAll:          "remove all keys",
	agentAddSmartcardKey:    "add a smartcard's keys",
	agentAddSmartcardKeyCon: "add a smartcard's keys",
	agentRemoveSmartcardKey: "remove a smartcard's keys",
}

var errLoads = errors.New("from a connection that leads to another machine no agent is made to load a library (CVE-2023-38408)")

// changed returns the link to the upstream agent that takes the changes in this
// one's place, nil if there is none.
func (s *session) changed() *upstreamLink {
	for _, u := range s.upstreams {
		if u.Changes {
			return u
		}
	}
	return nil
}

// passChange passes a request that changes keys on to an upstream agent, and its
// answer back, both as they are: what kinds of keys and constraints there are is
// that agent's affair. It goes over the link that has the client's binds, so that
// the agent knows a client of another machine for one.
func (s *session) passChange(ctx context.Context, u *upstreamLink, request []byte) []byte {
	if err := s.mayPass(ctx, request); err != nil {
		return s.status("", request, err)
	}
	var answer []byte
	var err error
	s.whileConnected(ctx, func(ctx context.Context) { answer, err = u.exchange(ctx, request) })
	if err != nil {
		return s.status("", request, fmt.Errorf("passing it on: %w", err))
	}
	s.offers = nil // they are other ones now
	if answer[0] != agentSuccess {
		s.log.Warn("change refused by an upstream agent", "upstream", u.Name, "to", changing[request[0]], "message", answer[0])
	} else {
		s.log.Info("change passed on", "upstream", u.Name, "to", changing[request[0]])
	}
	return framed(answer)
}

// mayPass says why a change is not passed on.
func (s *session) mayPass(ctx context.Context, request []byte) error {
	message := request[0]
	removes := message == agentRemoveIdentity || message == agentRemoveAll || message == agentRemoveSmartcardKey
	if s.server.NoAdd && !removes {
		return errNoAdd
	}
	if blob := changedKey(request); blob != nil && s.isManaged(ctx, blob) {
		return errManaged
	}
	if (len(s.binds) > 0 || s.bindFailed) && loads(request) {
		return errLoads
	}
	return nil
}

// changedKey is the public key that a request adds or removes; nil if there is
// none, or of a kind that the Source can't have.
func changedKey(request []byte) []byte {
	name, rest, ok := cutString(request[1:])
	if !ok {
		return nil
	}
	switch request[0] {
	case agentAddIdentity, agentAddIDConstrained:
		var a addRequest
		if _, err := a.parseKey(string(name), rest); err == nil {
			return a.blob
		}
	case agentRemoveIdentity:
		return name
	}
	return nil
}

// loads reports whether a request has the agent load a library: of a smartcard,
// or, among the constraints, of a security key. OpenSSH's agent refuses these
// itself from 9.3p2 on; an older one loads what is there.
func loads(request []byte) bool {
	switch request[0] {
	case agentAddSmartcardKey, agentAddSmartcardKeyCon:
		return true
	case agentAddIDConstrained: // wherever it stands: without the constraint no honest request has these bytes
		provider := appendString(nil, extSKProvider)
		return bytes.Count(request, provider) > bytes.Count(request, appendString(provider, "internal"))
	}
	return false
}
