package workspace

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/latchkey/latchkey/keyserver/api"
)

// An answer that was overtaken by a later one teaches nothing.
func TestFollowOvertaken(t *testing.T) {
	s := newSource(&testServer{keys: []testKey{newEd25519(t)}}, nil)
	mustKeys(t, s)
	s.asked = 3
	s.learn(3, nil, map[string]terms{"new": {}})
	if s.learn(2, mustKeys(t, newSource(s.server, nil)), map[string]terms{"old": {}}); len(s.known) != 0 || len(s.terms) != 1 {
		t.Errorf("there are %d keys, and terms of %d; want those of the later answer", len(s.known), len(s.terms))
	}
}

// A refusal and a list that were asked for at the same time are heard in the wrong order:
// the one that was asked for last counts.
func TestRefusalOvertaken(t *testing.T) {
	revoked := &api.Error{Kind: api.ErrUnauthenticated, Message: "revoked"}
	list := (*Source).refresh
	for name, tt := range map[string]struct {
		first   error                                // of the request that is heard last
		second  func(*Source, context.Context) error // is heard first
		answer  error                                // of it
		keys    int                                  // that are offered then
		refused int                                  // how often a refusal was acted on
	}{
		"a list after a refusal":           {second: list, answer: revoked, refused: 1},
		"a list after one of the secrets":  {second: func(s *Source, _ context.Context) error { s.refuse(revoked); return revoked }, answer: revoked},
		"a refusal after a list":           {first: revoked, second: list, keys: 1},
		"a refusal after another refusal":  {first: revoked, second: list, answer: revoked, refused: 1},
		"a server away after a refusal":    {first: api.ErrUnavailable, second: list, answer: revoked, refused: 1},
		"a server away after a later list": {first: api.ErrUnavailable, second: list, keys: 1},
	} {
		t.Run(name, func(t *testing.T) {
			key := newEd25519(t)
			synctest.Test(t, func(t *testing.T) {
				server := &testServer{keys: []testKey{key}}
				s := newSource(server, nil)
				refused := 0
				s.refused = func(error) { refused++ }
				mustKeys(t, s)
				answer := make(chan struct{})
				server.become(func() { server.err, server.hang = tt.first, answer })
				late := make(chan error)
				go func() { late <- s.refresh(t.Context()) }()
				synctest.Wait()
				server.become(func() { server.err, server.hang = tt.answer, nil })
				if err := tt.second(s, t.Context()); err != tt.answer && !errors.Is(err, tt.answer) {
					t.Errorf("the second request ends with %v; want %v", err, tt.answer)
				}
				close(answer)
				if err := <-late; err != tt.answer && !errors.Is(err, tt.answer) {
					t.Errorf("the first request ends with %v; want what the second one has taught: %v", err, tt.answer)
				}
				if o := s.LastOffer(); len(o.Keys) != tt.keys || len(s.terms) != tt.keys || (o.Error != "") != (tt.answer != nil) {
					t.Errorf("%d keys are offered, and the error is %q; want %d, as the second request has said", len(o.Keys), o.Error, tt.keys)
				}
				if refused != tt.refused {
					t.Errorf("a refusal was acted on %d times; want %d", refused, tt.refused)
				}
			})
		})
	}
}

// So it is with a signature of the server.
func TestRefusedUseOvertaken(t *testing.T) {
	key := newEd25519(t)
	synctest.Test(t, func(t *testing.T) {
		server := &testServer{keys: []testKey{key}, mode: api.SignMode}
		s := newSource(server, nil)
		s.refused = func(error) { t.Error("an old refusal was acted on") }
		mustKeys(t, s)
		signer, err := s.Signer(t.Context(), key.public)
		if err != nil {
			t.Fatal(err)
		}
		answer := make(chan struct{})
		server.become(func() { server.err, server.hang = api.ErrUnauthenticated, answer })
		late := make(chan error)
		go func() {
			_, err := signer.Sign(nil, sshsig("git"))
			late <- err
		}()
		synctest.Wait()
		server.become(func() { server.err, server.hang = nil, nil })
		mustKeys(t, s)
		close(answer)
		if err := <-late; !errors.Is(err, api.ErrUnauthenticated) {
			t.Errorf("signing ends with %v; want the refusal", err)
		}
		if o := s.LastOffer(); len(o.Keys) != 1 || o.Error != "" {
			t.Errorf("%d keys are offered, and the error is %q; want what was listed later", len(o.Keys), o.Error)
		}
	})
}
