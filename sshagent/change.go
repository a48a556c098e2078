package sshagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

var (
	errNoAdd     = errors.New("this agent takes no keys: it was started so")
	errManaged   = errors.New("it is one of this agent's managed keys, which are changed where they are kept, and not by clients")
	errNoConfirm = errors.New("this agent has no program with which to ask for leave to use the key (ssh-add -c): where it is started, SSH_ASKPASS names one")
	errNoSuchKey = errors.New("no such key here")
	errMalformed = errors.New("malformed request")

	errSecurityKey = errors.New("this agent asks no security keys: an upstream agent that holds this one offers it through this one")
	errSmartcard   = errors.New("this agent asks no smartcards: an upstream agent that does offers their keys through this one")
	errNoSmartcard = errors.New("this agent asks no smartcards, so it has none to remove")
)

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

var errElsewhere = errors.New("from another machine, to which the agent was forwarded, it is used and not changed")

// mayChange says why the client must not send a request that changes the agent, or
// nil: who it was forwarded to may use it, but not lock its user out, nor plant,
// remove or replace keys, nor have libraries loaded (CVE-2023-38408).
func (s *session) mayChange(message byte) error {
	_, keys := changing[message]
	if (keys || message == agentLock || message == agentUnlock) && (s.forwarded() || s.bindFailed) {
		return errElsewhere
	}
	return nil
}

// status answers a request that changes the agent, and logs why it does not.
func (s *session) status(done string, request []byte, err error) []byte {
	if err != nil {
		if s.server.AddHint != "" && (errors.Is(err, errSecurityKey) || errors.Is(err, errSmartcard)) {
			err = fmt.Errorf("%w (%s)", err, s.server.AddHint)
		}
		s.tell(slog.LevelWarn, "request refused", "message", messageName(request[0]), "why", err)
		return newFrame(agentFailure)
	}
	s.log.Info(done)
	return newFrame(agentSuccess)
}

// add answers SSH_AGENTC_ADD_IDENTITY and SSH_AGENTC_ADD_ID_CONSTRAINED (RFC
// 9987, section 5.2).
func (s *session) add(ctx context.Context, request []byte) []byte {
	key, err := s.tryAdd(ctx, request)
	if err != nil {
		return s.status("", request, err)
	}
	s.log.Info("key added", "key", fingerprint(key.blob), "kind", key.plain.Type(), "lifetime", key.lifetime,
		"confirm", key.confirm, "destinations", len(key.destinations))
	return newFrame(agentSuccess)
}

func (s *session) tryAdd(ctx context.Context, request []byte) (*addedKey, error) {
	if s.server.NoAdd {
		return nil, errNoAdd
	}
	a, err := parseAdd(request)
	if err != nil {
		return nil, err
	}
	if a.confirm && s.server.Confirm == nil {
		return nil, errNoConfirm
	}
	if s.isManaged(ctx, a.blob) {
		return nil, errManaged
	}
	if life := s.server.Lifetime; life > 0 && !a.mortal {
		a.lifetime, a.mortal = life, true
	}
	key := &addedKey{
		constraints: a.constraints, blob: string(a.blob), plain: a.plain,
		key: Key{Public: publicKey(a.blob), Comment: a.comment},
	}
	if key.signer, err = s.keep(a); err != nil {
		return nil, fmt.Errorf("keeping the private key: %w", err)
	}
	if err := s.server.added().add(key, s.visible); err != nil {
		return nil, errors.Join(err, key.signer.Close())
	}
	return key, nil
}

// keep has the private key kept, and wipes the request's.
func (s *session) keep(a *addRequest) (signer Signer, err error) {
	keep := s.server.Keep
	if keep == nil {
		keep = keepPlain
	}
	err = guard(s.log, "keeping an added key", func() (err error) {
		signer, err = keep(a.plain, a.private)
		return err
	})
	clear(a.private)
	if err == nil && signer == nil {
		err = errors.New("there is no signer")
	}
	if err != nil {
		return nil, err
	}
	if err := guard(s.log, "trying an added key", func() error { return tryKey(signer, a.plain) }); err != nil {
		return nil, errors.Join(err, signer.Close())
	}
	return signer, nil
}

// isManaged reports whether the Source has a key. If it can't say, the key is
// none: the list shows the Source's first, and so finds it.
func (s *session) isManaged(ctx context.Context, blob []byte) (managed bool) {
	if s.server.Source == nil {
		return false
	}
	err := guard(s.log, "listing the public keys", func() (err error) {
		var keys []Key
		s.whileConnected(ctx, func(ctx context.Context) { keys, err = s.server.Source.Keys(ctx) })
		for _, k := range keys {
			managed = managed || bytes.Equal(k.Public.Marshal(), blob)
		}
		return err
	})
	if err != nil {
		s.tell(slog.LevelWarn, "keys not listed", "upstream", "", "err", err)
	}
	return managed
}

// remove answers SSH_AGENTC_REMOVE_IDENTITY (RFC 9987).
func (s *session) remove(ctx context.Context, request []byte) []byte {
	blob, rest, ok := cutString(request[1:])
	if !ok || len(rest) > 0 {
		return s.status("", request, errMalformed)
	}
	key := s.server.added().find(string(blob))
	switch {
	case key == nil && s.isManaged(ctx, blob):
		return s.status("", request, errManaged)
	case key == nil || !s.visible(key) || !s.server.added().remove(key):
		return s.status("", request, errNoSuchKey)
	}
	s.log.Info("key removed", "key", fingerprint(blob))
	return newFrame(agentSuccess)
}

// removeAll answers SSH_AGENTC_REMOVE_ALL_IDENTITIES (RFC 9987).
// The Source's keys stay, and upstream agents keep theirs.
func (s *session) removeAll() []byte {
	n := s.server.added().forget()
	s.log.Info("added keys removed", "keys", n)
	return newFrame(agentSuccess)
}

// lock answers SSH_AGENTC_LOCK and SSH_AGENTC_UNLOCK (RFC 9987, section 5.7).
// A locked agent does not hold the Source's private keys either.
func (s *session) lock(ctx context.Context, request []byte) []byte {
	password, rest, ok := cutString(request[1:])
	if !ok || len(rest) > 0 {
		return s.status("", request, errMalformed)
	}
	done, change := "locked", s.server.padlock().lock
	if request[0] == agentUnlock {
		done, change = "unlocked", s.server.padlock().unlock
	}
	var err error
	begin := time.Now()
	s.whileConnected(ctx, func(ctx context.Context) { err = change(ctx, password) })
	if errors.Is(err, errWrongPassword) {
		s.log.Warn("not unlocked: wrong password", "delay", time.Since(begin).Round(time.Millisecond))
		return newFrame(agentFailure)
	}
	if err == nil && request[0] == agentLock {
		s.server.keyring().forget()
	}
	return s.status(done, request, err)
}
