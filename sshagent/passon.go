package sshagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
)

// passesChanges reports whether an upstream agent takes the changes in this one's
// place, also if this client has no link to it any more.
func (s *session) passesChanges() bool {
	return slices.ContainsFunc(s.server.Upstreams, func(u Upstream) bool { return u.Changes })
}

var errNoLink = errors.New("passing it on: this connection is not led on to other agents")

// passChange passes a request that changes keys on to an upstream agent, and its
// answer back, both as they are: what kinds of keys and constraints there are is
// that agent's affair. It goes over the link that has the client's binds, so that
// the agent knows a client of another machine for one.
func (s *session) passChange(ctx context.Context, request []byte) []byte {
	if err := s.mayPass(ctx, request); err != nil {
		return s.status("", request, err)
	}
	i := slices.IndexFunc(s.upstreams, func(u *upstreamLink) bool { return u.Changes })
	if i < 0 {
		return s.status("", request, errNoLink)
	}
	u := s.upstreams[i]
	s.asked = true
	var answer []byte
	var err error
	s.whileConnected(ctx, func(ctx context.Context) { answer, err = u.exchange(ctx, request) })
	if err != nil {
		return s.status("", request, fmt.Errorf("passing it on: %w", err))
	}
	s.offers = nil // they are other ones now
	if answer[0] != agentSuccess {
		s.tell(slog.LevelWarn, "change refused by an upstream agent", "upstream", u.Name, "to", changing[request[0]], "message", messageName(answer[0]))
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
