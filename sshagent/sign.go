package sshagent

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/sshagent/signdata"
)

// sign answers SSH_AGENTC_SIGN_REQUEST (RFC 9987, section 5.6).
func (s *session) sign(ctx context.Context, request []byte) []byte {
	r, ok := parseSignRequest(request[1:])
	if !ok {
		s.tell(slog.LevelWarn, "request refused", "message", messageName(request[0]), "why", "malformed sign request")
		return newFrame(agentFailure)
	}
	o, ok := s.find(ctx, r.blob)
	if !ok {
		s.tell(slog.LevelWarn, "not signed", "key", fingerprint(r.blob), "why", "no such key here")
		return newFrame(agentFailure)
	}
	a := Activity{Kind: Signed, Key: o.key}
	var answer []byte
	switch {
	case o.added != nil:
		a.Added, a.Key = true, o.added.key
		answer, a.Err = s.signAdded(ctx, o.added, r)
	case o.upstream != nil:
		a.Upstream, a.Key.Public = o.upstream.Name, publicKey(r.blob)
		answer, a.Err = s.signUpstream(ctx, o.upstream, request)
	default:
		answer, a.Err = s.signSource(ctx, o.key, r)
	}
	if answer != nil && s.server.padlock().closed.Load() { // meanwhile
		answer, a.Err = nil, errLocked
	}
	if a.Err != nil {
		s.tell(slog.LevelWarn, "not signed", "key", fingerprint(r.blob), "upstream", a.Upstream, "err", a.Err)
	} else if s.log.Enabled(ctx, slog.LevelInfo) { // the fingerprint costs something
		s.log.Info("signed", "key", fingerprint(r.blob), "upstream", a.Upstream)
	}
	s.server.observe(a)
	if answer == nil {
		answer = newFrame(agentFailure)
	}
	return answer
}

// find returns who has a key. A client need not have asked for the list. The
// Source goes before an added key, and that before an upstream agent, whenever
// it was added.
func (s *session) find(ctx context.Context, blob []byte) (offer, bool) {
	id := keyID(sha256.Sum256(blob))
	collected := s.offers == nil
	if collected {
		s.collect(ctx, func(Activity) {})
	}
	for {
		o, ok := s.offers[id]
		if ok && o.added == nil && o.upstream == nil {
			return o, true
		}
		if key := s.server.added().find(string(blob)); key != nil {
			return offer{added: key}, true
		}
		if ok && o.upstream != nil || collected {
			return o, ok && o.added == nil
		}
		s.collect(ctx, func(Activity) {})
		collected = true
	}
}

// signAdded signs with an added key. The answer is nil if there is no signature.
func (s *session) signAdded(ctx context.Context, key *addedKey, r signRequest) (answer []byte, err error) {
	algorithm, err := algorithmOf(key.plain, r.flags)
	if err != nil {
		return nil, err
	}
	if len(key.destinations) > 0 || key.confirm {
		auth, sig, _ := signdata.Parse(r.data)
		if len(key.destinations) > 0 {
			if err := s.mayLogIn(key, r, auth); err != nil {
				s.server.keptBack(key, err)
				return nil, err
			}
		}
		if key.confirm {
			if err := s.askUser(ctx, key, auth, sig); err != nil {
				return nil, err
			}
		}
	}
	if !s.server.added().use(key, func() { answer, err = s.signWith(ctx, key.signer, r.data, algorithm) }) {
		return nil, errNoSuchKey
	}
	return answer, err
}

// signWith makes a signature, and the answer of it.
func (s *session) signWith(ctx context.Context, signer Signer, data []byte, algorithm string) (answer []byte, err error) {
	err = guard(s.log, "signing", func() error {
		var sig *ssh.Signature
		var err error
		if slow, ok := signer.(ContextSigner); ok {
			s.whileConnected(ctx, func(ctx context.Context) { sig, err = slow.SignContext(ctx, data, algorithm) })
		} else {
			sig, err = signer.SignWithAlgorithm(rand.Reader, data, algorithm)
		}
		if err != nil {
			return fmt.Errorf("signing: %w", err)
		}
		answer = appendString(newFrame(agentSignResponse), ssh.Marshal(sig))
		return nil
	})
	return answer, err
}

// signUpstream passes the request on. The answer is nil if there was none.
func (s *session) signUpstream(ctx context.Context, u *upstreamLink, request []byte) (answer []byte, err error) {
	s.whileConnected(ctx, func(ctx context.Context) {
		answer, err = u.exchange(ctx, request)
	})
	if err != nil {
		s.offers = nil // another may have the key, too
		return nil, err
	}
	if answer[0] != agentSignResponse {
		err = fmt.Errorf("agent %q refused: %s", u.Name, messageName(answer[0]))
	}
	return framed(answer), err
}

// signSource signs with a private key of the Source. The answer is nil if there
// is no signature.
func (s *session) signSource(ctx context.Context, key Key, r signRequest) (answer []byte, err error) {
	algorithm, err := algorithmOf(key.Public, r.flags)
	if err != nil {
		return nil, err
	}
	if err := s.permit(key, r); err != nil {
		return nil, err
	}
	keys := s.server.keyring()
	h, err := keys.take(string(r.blob), func(ctx context.Context) (Signer, error) {
		return fetchSigner(ctx, s.server.Source, key.Public, r.blob)
	})
	if err != nil {
		return nil, err
	}
	defer keys.release(h)
	if !h.ready() {
		s.whileConnected(ctx, func(ctx context.Context) { err = h.wait(ctx) })
	} else {
		err = h.err
	}
	if err != nil {
		return nil, fmt.Errorf("fetching the private key: %w", err)
	}
	return s.signWith(ctx, h.signer, r.data, algorithm)
}

// fetchSigner asks for a private key and checks that it is the one.
func fetchSigner(ctx context.Context, source Source, key ssh.PublicKey, blob []byte) (Signer, error) {
	signer, err := source.Signer(ctx, key)
	if err != nil || signer == nil {
		return nil, err
	}
	if !bytes.Equal(signer.PublicKey().Marshal(), blob) {
		return nil, errors.Join(errors.New("the private key that came is of another public key"), signer.Close())
	}
	return signer, nil
}

var (
	errSHA1        = errors.New("the client asked for an RSA signature with SHA-1, which this agent does not make; a current client asks for SHA-2")
	errCertificate = errors.New("this agent does not sign for certificates of its own keys")
)

// algorithmOf is the algorithm that flags ask for. With both of RSA's flags it
// is SHA-256, as with OpenSSH (agent_decode_alg); flags mean nothing to other keys.
func algorithmOf(key ssh.PublicKey, flags uint32) (string, error) {
	if _, ok := key.(*ssh.Certificate); ok {
		return "", errCertificate
	}
	switch {
	case key.Type() != ssh.KeyAlgoRSA:
		return key.Type(), nil
	case flags&flagRSASHA256 != 0:
		return ssh.KeyAlgoRSASHA256, nil
	case flags&flagRSASHA512 != 0:
		return ssh.KeyAlgoRSASHA512, nil
	}
	return "", errSHA1
}
