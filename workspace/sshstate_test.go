package workspace

import (
	"errors"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/workspace/sshd"
)

// A login that was refused is shown until its key is let in: what is over would be taken
// for what holds. A key that was one of alice's already was not refused for that.
func TestSSHRefusalEnds(t *testing.T) {
	laptop, phone, other := newEd25519(t), newEd25519(t), newEd25519(t)
	for _, tt := range []struct {
		what   string
		user   string
		key    testKey
		then   func(*sshService, *sshTestServer)
		stands bool
	}{
		{"nothing more happens", "alice", phone, func(*sshService, *sshTestServer) {}, true},
		{"it becomes a login key", "alice", phone, func(s *sshService, server *sshTestServer) {
			server.become(func() { server.logins = append(server.logins, phone) })
			s.refresh(t.Context())
		}, false},
		{"another becomes one", "alice", phone, func(s *sshService, server *sshTestServer) {
			server.become(func() { server.logins = append(server.logins, other) })
			s.refresh(t.Context())
		}, true},
		{"it becomes one, and the name was wrong", "root", phone, func(s *sshService, server *sshTestServer) {
			server.become(func() { server.logins = append(server.logins, phone) })
			s.refresh(t.Context())
		}, true},
		{"the server says the same again", "alice", laptop, func(s *sshService, _ *sshTestServer) { s.refresh(t.Context()) }, true},
		{"it is let in", "root", laptop, func(s *sshService, _ *sshTestServer) { s.authorized("alice", laptop.public) }, false},
		{"another is let in", "alice", phone, func(s *sshService, _ *sshTestServer) { s.authorized("alice", laptop.public) }, true},
		{"SSH is not served any more", "alice", phone, func(s *sshService, _ *sshTestServer) { s.ended = errors.New("killed") }, false},
	} {
		server := &sshTestServer{host: newEd25519(t), logins: []testKey{laptop}}
		s, _ := newTestSSH(server, Config{})
		s.front = &testFront{}
		s.refresh(t.Context())
		s.noteRefusal(sshd.Refusal{User: tt.user, Keys: []string{ssh.FingerprintSHA256(other.public)[:20], ssh.FingerprintSHA256(tt.key.public)}})
		if tt.then(s, server); (s.state().Refusal != nil) != tt.stands {
			t.Errorf("%s: the refusal is %+v; want it shown: %v", tt.what, s.state().Refusal, tt.stands)
		}
	}
}
