package keyserver

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent/signdata"
)

// parseSigned says what a signature would be good for, for the policy and for
// the audit log. Its error is an ErrForbidden for all that is neither a login with
// the key nor an SSH signature.
func parseSigned(k Key, in api.SignRequest, at time.Time) (use api.KeyUse, facts api.SignatureFacts, err error) {
	refuse := func(format string, args ...any) (api.KeyUse, api.SignatureFacts, error) {
		return api.KeyUse{}, api.SignatureFacts{}, refusal(api.ErrForbidden, "it signs logins (RFC 4252) and SSH signatures (PROTOCOL.sshsig)", format, args...)
	}
	auth, sig, err := signdata.Parse(in.Data)
	switch {
	case err != nil:
		return refuse("%v", err)
	case sig != nil && in.Host != nil:
		return refuse("an SSH signature is not made for a host")
	case sig != nil:
		return api.KeyUse{Namespace: sig.Namespace},
			api.SignatureFacts{Kind: api.FileSignature, Key: k.Fingerprint, Namespace: shown(sig.Namespace)}, nil
	case !auth.By(k.PublicKey):
		return refuse("the login that is to be signed is by another key")
	}
	if in.Host != nil {
		if use.Host, err = proven(*in.Host, auth.SessionID); err != nil {
			return refuse("%v", err)
		}
	}
	if auth.HostKey != nil {
		named := signdata.HostFingerprint(auth.HostKey)
		if use.Host != "" && use.Host != named {
			return refuse("the login names the host key %s, but the session is with %s", named, use.Host)
		}
		use.Host = named
	}
	switch {
	case auth.HostKey != nil:
		use.Certificate = (*api.HostCertificate)(signdata.HostCertificate(auth.HostKey, at))
	case in.Host != nil:
		use.Certificate = (*api.HostCertificate)(signdata.HostCertificate(in.Host.Key, at))
	}
	return use, api.SignatureFacts{
		Kind: api.LoginSignature, Key: k.Fingerprint, User: shown(auth.User), Host: use.Host, Bound: auth.HostKey != nil,
	}, nil
}

// nameHost says what the host of a login is called: by the key's policy, or an
// authority that it names, else by the known hosts. It says so for people; nothing is permitted by it.
func (s *Server) nameHost(ctx context.Context, k Key, use api.KeyUse, facts *api.SignatureFacts) error {
	if facts.Host == "" {
		return nil
	}
	if facts.HostName = shown(k.Settings.policy().HostName(use)); facts.HostName != "" {
		return nil
	}
	name, err := s.known.name(ctx, s.store, facts.Host)
	facts.HostName = shown(name)
	return err
}

// encodeFacts is the facts as an [Event] has them.
func encodeFacts(facts api.SignatureFacts) (string, error) {
	text, err := json.Marshal(facts)
	if err != nil {
		return "", fmt.Errorf("recording a signature: %w", err)
	}
	return string(text), nil
}

// inWords is the facts as the detail of an event has them, but for the key.
func inWords(facts api.SignatureFacts) string {
	if facts.Kind == api.FileSignature {
		return fmt.Sprintf("SSH signature in the namespace %q", facts.Namespace)
	}
	what := fmt.Sprintf("login as %q", facts.User)
	name := facts.Host
	if facts.HostName != "" {
		name = facts.HostName + " " + facts.Host
	}
	switch {
	case facts.Host == "":
		return what + ", host not known"
	case facts.Bound:
		return what + ", bound to host " + name
	}
	return what + ", in a session with host " + name
}
