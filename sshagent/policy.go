package sshagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/sshagent/signdata"
)

// A Session is a client's connection, and what the agent can tell of who is at its
// other end.
type Session struct {
	Binds      []SessionBind // that the connection has, oldest first
	BindFailed bool          // a bind of the connection was refused: who is behind it is not known
	Forwarded  bool          // the client is not on this machine, as the binds have it
	Peer       Peer
}

// A Request is what a client wants signed with a key of the Source: a login
// (UserAuth) or an SSH signature of a file or commit (SSHSIG); the other is nil.
// It is valid until Permit returns.
type Request struct {
	Session
	Key      Key
	UserAuth *signdata.UserAuth
	SSHSIG   *signdata.SSHSIG
}

var (
	errOtherKey = errors.New("the login that is to be signed is by another key")
	errUnbound  = errors.New("a key that is for certain hosts only signs on connections that say which host they lead to")
	errNotLogin = errors.New("a key that is for certain hosts only signs logins and nothing else")
)

// permit says why a signature with a key of the Source is refused. It parses
// what is to be signed: what the agent can't read, it does not sign.
func (s *session) permit(key Key, r signRequest) error {
	auth, sig, err := signdata.Parse(r.data)
	if err != nil {
		return err
	}
	if auth != nil && !auth.By(r.blob) {
		return errOtherKey
	}
	request := Request{Session: s.session(), Key: key, UserAuth: auth, SSHSIG: sig}
	return guard(s.log, "asking whether to sign", func() error { return s.server.Source.Permit(request) })
}

// shown reports whether the client sees a key of the Source.
func (s *session) shown(key Key) bool {
	err := guard(s.log, "asking whether to show a key", func() error { return s.server.Source.Show(key, s.session()) })
	if err != nil {
		s.tell(slog.LevelInfo, "key not shown", "key", ssh.FingerprintSHA256(key.Public), "why", err)
	}
	return err == nil
}

func (s *session) session() Session {
	c := Session{BindFailed: s.bindFailed, Forwarded: s.forwarded(), Peer: s.peer}
	for _, b := range s.binds {
		c.Binds = append(c.Binds, b.SessionBind)
	}
	return c
}

// forwarded reports whether the client is on another machine, as far as binds say.
func (s *session) forwarded() bool { return len(s.binds) > 0 && s.binds[0].Forwarding }

// visible reports whether the client may see an added key, to list it, to
// replace it, or to remove it.
func (s *session) visible(key *addedKey) bool { return s.reach(key, nil) == nil }

// reach says why an added key does not serve on this connection: hop by hop,
// each bind must be one of the key's destinations. For a login, user is whose
// account it is; nil for all else. (identity_permitted, OpenSSH's ssh-agent.)
func (s *session) reach(key *addedKey, user *string) error {
	if len(key.destinations) == 0 {
		return nil
	}
	if s.bindFailed {
		return errors.New("a bind of this connection was refused")
	}
	if len(s.binds) == 0 {
		return nil // a client on this machine, which goes nowhere yet
	}
	var from ssh.PublicKey
	last := len(s.binds) - 1
	for i, b := range s.binds {
		at := (*string)(nil)
		switch {
		case i == last && b.Forwarding && user != nil:
			return errors.New("a login by way of a connection that only forwards")
		case i == last:
			at = user
		case !b.Forwarding:
			return errors.New("forwarded over a connection that was for a login")
		}
		if !allows(key.destinations, from, b.HostKey, at) {
			return fmt.Errorf("the key is not for this way (ssh-add -h): hop %d, to the host with the key %s", i+1, ssh.FingerprintSHA256(b.HostKey))
		}
		from = b.HostKey
	}
	// Who can use the agent on that host may only see what is good for going on from it.
	if s.binds[last].Forwarding && user == nil && !allows(key.destinations, from, nil, nil) {
		return errors.New("the key is for the host that the agent is forwarded to, not for use from there")
	}
	return nil
}

// mayLogIn says why a key that is for certain hosts does not sign: it signs
// nothing but the login that the connection was bound to last.
func (s *session) mayLogIn(key *addedKey, r signRequest, auth *signdata.UserAuth) error {
	if len(s.binds) == 0 {
		return errUnbound
	}
	if auth == nil {
		return errNotLogin
	}
	if !bytes.Equal(auth.Key, r.blob) {
		return errOtherKey
	}
	if err := s.reach(key, &auth.User); err != nil {
		return err
	}
	last := s.binds[len(s.binds)-1]
	switch {
	case !bytes.Equal(auth.SessionID, last.SessionID):
		return errors.New("a login of another session than the connection is bound to")
	case auth.HostKey == nil && len(s.binds) > 1: // the first host knows no better; a forged one must not be
		return errors.New("a login by way of another host that does not name the host's key")
	case auth.HostKey != nil && !bytes.Equal(auth.HostKey, last.blob):
		return errors.New("a login to another host than the connection is bound to")
	}
	return nil
}

// askUser asks for leave to sign with an added key. One question is asked at a
// time: who is asked fifty things at once agrees to one of them unread.
func (s *session) askUser(ctx context.Context, key *addedKey, auth *signdata.UserAuth, sig *signdata.SSHSIG) error {
	agreed := false
	prompt := s.prompt(key, auth, sig)
	err := guard(s.log, "asking for leave to sign", func() error {
		s.whileConnected(ctx, func(ctx context.Context) {
			asking := s.server.asking()
			select {
			case asking <- struct{}{}:
				defer func() { <-asking }()
				if s.server.padlock().closed.Load() || s.server.added().find(key.blob) != key {
					return // meanwhile
				}
				agreed = s.server.Confirm(ctx, key.key, prompt)
			case <-ctx.Done():
			}
		})
		return nil
	})
	switch {
	case err != nil:
		return err
	case !agreed:
		return errors.New("the user did not agree")
	case s.server.padlock().closed.Load(): // meanwhile
		return errLocked
	}
	return nil
}

// prompt is what the user is asked, in lines. What comes from a client is cut
// short and has no control characters, so that it can't pass for another prompt.
func (s *session) prompt(key *addedKey, auth *signdata.UserAuth, sig *signdata.SSHSIG) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Allow use of key %s?\nKey fingerprint %s.", printable([]byte(key.key.Comment)), fingerprint(key.blob))
	switch {
	case auth != nil:
		fmt.Fprintf(&b, "\nIt is to log in as %q.", printable([]byte(auth.User)))
	case sig != nil:
		fmt.Fprintf(&b, "\nIt is to sign something (namespace %q).", printable([]byte(sig.Namespace)))
	default:
		b.WriteString("\nIt is to sign something that is not a login.")
	}
	if s.forwarded() {
		b.WriteString("\nThe request comes from another machine.")
	}
	return b.String()
}
