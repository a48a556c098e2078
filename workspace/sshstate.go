package workspace

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/workspace/sshd"
)

// A StateSSH is what a daemon says of its SSH server.
type StateSSH struct {
	Address   string   `json:"address"`    // on which it listens
	HostKey   string   `json:"host_key"`   // its fingerprint; "" until it was fetched, and nobody is served
	Users     []string `json:"users"`      // the names under which one may log in
	LoginKeys int      `json:"login_keys"` // that may log in
	Error     string   `json:"error,omitempty"`
	Ended     bool     `json:"ended,omitempty"` // SSH is not served any more

	Refusal *StateSSHRefusal `json:"refusal,omitempty"` // the last one; nil: none yet, or it is over
}

// A StateSSHRefusal is a login with a key that was refused.
type StateSSHRefusal struct {
	At     time.Time `json:"at"`
	User   string    `json:"user"`   // the last name that was tried
	Keys   []string  `json:"keys"`   // the fingerprints of those that were shown
	Remote string    `json:"remote"` // where it came from
	Why    string    `json:"why"`
}

// noteRefusal remembers the last login that was refused.
func (s *sshService) noteRefusal(r sshd.Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = &StateSSHRefusal{At: time.Now(), User: r.User, Keys: r.Keys, Remote: r.Remote, Why: r.Why}
}

// dropRefusal forgets the last refusal if it was of a key that is let in now: it would be
// taken for what holds. mu is held.
func (s *sshService) dropRefusal(letIn ssh.PublicKey) {
	if s.refusal != nil && slices.Contains(s.refusal.Keys, ssh.FingerprintSHA256(letIn)) {
		s.refusal = nil
	}
}

// replaceKeys notes who may log in from now on. What has become a login key was refused
// as none, unless it was the name that was wrong. mu is held.
func (s *sshService) replaceKeys(owner string, keys map[string]string) {
	old := s.keys
	s.owner, s.keys = owner, keys
	if s.refusal == nil || !slices.Contains(s.users(), s.refusal.User) {
		return
	}
	for blob := range keys {
		if _, was := old[blob]; was {
			continue
		}
		if key, err := ssh.ParsePublicKey([]byte(blob)); err == nil {
			s.dropRefusal(key)
		}
	}
}

// state is for the status.
func (s *sshService) state() *StateSSH {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &StateSSH{Address: s.address, Users: s.users(), LoginKeys: len(s.keys), Refusal: s.refusal}
	if s.host != nil {
		st.HostKey = ssh.FingerprintSHA256(s.host.PublicKey())
	}
	switch {
	case s.ended != nil:
		st.Ended, st.Refusal = true, nil
		st.Error = fmt.Sprintf("SSH is not served any more, the process that serves it has ended (%v): start the daemon again", s.ended)
	case s.err != nil:
		st.Error = s.err.Error()
	}
	return st
}

// stateNow is the state where it is known whether the server answers. If it does, it is
// not away any more, as was said of it last, and is asked again.
func (s *sshService) stateNow(answers bool) *StateSSH {
	st := s.state()
	s.mu.Lock()
	away := s.ended == nil && isAway(s.err)
	s.mu.Unlock()
	if answers && away {
		st.Error = ""
		s.ask(spread)
	}
	return st
}
