package workspace

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
	"github.com/latchkey/latchkey/sshagent/signdata"
)

var errNotOffered = errors.New("the server does not offer this key any more")

// Permit says why a key must not sign. What the server is to sign it checks again;
// whether the client is on another machine, only the agent sees.
func (s *Source) Permit(r sshagent.Request) error {
	t, ok := s.listed(r.Key.Public)
	if !ok {
		return errNotOffered
	}
	err := withRemedy(permit(t, r, time.Now()))
	if err != nil {
		s.keptBack(r.Key.Public, err)
		return err
	}
	if t.mode == api.SignMode && r.UserAuth != nil {
		if b := loginBind(r); b != nil && b.Signature != nil {
			s.proofs.put(b.SessionID, api.HostProof{Key: b.HostKey.Marshal(), Signature: ssh.Marshal(b.Signature)})
		}
	}
	return nil
}

// permit holds a request against a key's time and policy.
func permit(t terms, r sshagent.Request, at time.Time) error {
	if err := t.expired(at); err != nil {
		return err
	}
	use := api.KeyUse{Key: t.name, Forwarded: r.Forwarded || r.BindFailed}
	switch {
	case r.SSHSIG != nil:
		use.Namespace = r.SSHSIG.Namespace
	case r.UserAuth == nil:
		return errors.New("neither a login nor an SSH signature")
	case r.UserAuth.HostKey != nil: // only the host that has this key takes it
		use.Host, use.Certificate = hostOf(r.UserAuth.HostKey, at)
	default:
		if b := loginBind(r); b != nil {
			use.Host, use.Certificate = hostOf(b.HostKey.Marshal(), at)
		}
	}
	return t.policy.Permits(use, at)
}

// Show says why a client must not see a key listed. Where it leads decides, as far
// as that is known: a client that has bound nothing (ssh-add, ssh-keygen, a library)
// sees what is usable at all.
func (s *Source) Show(key sshagent.Key, c sshagent.Session) error {
	t, ok := s.listed(key.Public)
	if !ok {
		return errNotOffered
	}
	err := withRemedy(shows(t, c, time.Now()))
	if err != nil {
		unseen := s.refusal(key.Public, err)
		unseen.unseen = true
		s.refusals.add(unseen)
	}
	return err
}

func shows(t terms, c sshagent.Session, at time.Time) error {
	if err := t.expired(at); err != nil {
		return err
	}
	use := api.KeyUse{Key: t.name, Forwarded: c.Forwarded || c.BindFailed}
	if n := len(c.Binds); n > 0 && !c.Binds[n-1].Forwarding { // else it may go on from there
		use.Host, use.Certificate = hostOf(c.Binds[n-1].HostKey.Marshal(), at)
	}
	return t.policy.Shows(use, at)
}

// hostOf is what a policy goes by: the fingerprint of a host's key, and what an
// authority says of it.
func hostOf(key []byte, at time.Time) (fingerprint string, cert *api.HostCertificate) {
	return signdata.HostFingerprint(key), (*api.HostCertificate)(signdata.HostCertificate(key, at))
}

// loginBind is the bind of the session that a login is in, nil if there is none. On a
// connection by way of another host it proves nothing: that host can sign the ID of
// any session with its own key, and so pass a login to one host for one to another.
// There a login must name its host.
func loginBind(r sshagent.Request) *sshagent.SessionBind {
	if len(r.Binds) != 1 || r.BindFailed {
		return nil
	}
	last := &r.Binds[0]
	if last.Forwarding || !bytes.Equal(last.SessionID, r.UserAuth.SessionID) {
		return nil
	}
	return last
}

// maxProofs bounds what is remembered from Permit to the signature, which comes
// at once or, if its client has gone, never.
const maxProofs = 1024

// proofs are what hosts have proved, by the session's ID.
type proofs struct {
	mu    sync.Mutex
	list  map[string]api.HostProof
	order []string // of the IDs in list, the oldest first
}

func (p *proofs) put(session []byte, proof api.HostProof) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := string(session)
	if p.list == nil {
		p.list = make(map[string]api.HostProof)
	}
	if _, ok := p.list[id]; !ok {
		if len(p.order) == maxProofs {
			delete(p.list, p.order[0])
			p.order = slices.Delete(p.order, 0, 1)
		}
		p.order = append(p.order, id)
	}
	p.list[id] = proof
}

// take returns the proof of a session, which is not needed again: nil if there
// is none.
func (p *proofs) take(session []byte) *api.HostProof {
	p.mu.Lock()
	defer p.mu.Unlock()
	proof, ok := p.list[string(session)]
	if !ok {
		return nil
	}
	delete(p.list, string(session))
	p.order = slices.DeleteFunc(p.order, func(id string) bool { return id == string(session) })
	return &proof
}

// maxRefusals is how many refusals a daemon's state shows of its server's keys, and
// how many of added ones.
const maxRefusals = 10

// A keptRefusal is a refusal, with what shows that it is over.
type keptRefusal struct {
	StateRefusal
	public ssh.PublicKey
	policy api.KeyPolicy
	away   bool // the server could not be asked
	unseen bool // a list has left the key out, as any does that is for another host
}

// replaces reports whether a refusal takes the place of one before. What was the last
// time is noted once: a host that is asked every minute must not push out all else. Nor
// must many hosts that a key is not for, each of which is another reason: of these and of
// an added key only the last is noted.
func (n keptRefusal) replaces(old keptRefusal) bool {
	same := n.Key == old.Key && n.Added == old.Added
	return same && (n.Why == old.Why || n.Added || n.unseen && old.unseen)
}

// refusals are the last ones.
type refusals struct {
	mu   sync.Mutex
	list []keptRefusal
}

// keptBack notes why a key has not signed.
func (s *Source) keptBack(public ssh.PublicKey, err error) { s.refusals.add(s.refusal(public, err)) }

// refusal is one of a key of the server, with what people know it by.
func (s *Source) refusal(public ssh.PublicKey, err error) keptRefusal {
	t, _ := s.listed(public)
	return keptRefusal{
		StateRefusal: StateRefusal{Key: ssh.FingerprintSHA256(public), Comment: s.comment(public), Why: err.Error()},
		public:       public, policy: t.policy,
		away: isAway(err),
	}
}

// comment is that of a key that was listed last.
func (s *Source) comment(public ssh.PublicKey) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.known {
		if bytes.Equal(k.Public.Marshal(), public.Marshal()) {
			return k.Comment
		}
	}
	return ""
}

// withRemedy is an error that says what can be done about it, if it is known, to whoever
// reads the status or the log.
func withRemedy(err error) error {
	var e *api.Error
	if errors.As(err, &e) && e.Detail != "" {
		return fmt.Errorf("%w (%s)", err, e.Detail)
	}
	return err
}

// addAdded is add for a key that a client had added.
func (r *refusals) addAdded(key sshagent.Key, why error) {
	r.add(keptRefusal{
		StateRefusal: StateRefusal{Key: ssh.FingerprintSHA256(key.Public), Comment: key.Comment, Why: why.Error(), Added: true},
		public:       key.Public,
	})
}

// dropRemoved forgets those of keys that clients had added and that are gone, or were
// added anew since, which may be for other hosts. added says when one was, zero if it is gone.
func (r *refusals) dropRemoved(added func(ssh.PublicKey) time.Time) {
	r.drop(func(n keptRefusal) bool {
		if !n.Added {
			return false
		}
		at := added(n.public)
		return at.IsZero() || n.At.Before(at)
	})
}

// add notes a refusal. Added keys, which the user makes, and those of the server do
// not push out each other's.
func (r *refusals) add(n keptRefusal) {
	n.At = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(slices.DeleteFunc(r.list, n.replaces), n)
	count, oldest := 0, 0
	for i, old := range slices.Backward(r.list) {
		if old.Added == n.Added {
			count, oldest = count+1, i
		}
	}
	if count > maxRefusals {
		r.list = slices.Delete(r.list, oldest, oldest+1)
	}
}

// drop forgets those that are over: they would be taken for what holds now.
func (r *refusals) drop(over func(keptRefusal) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = slices.DeleteFunc(r.list, over)
}

func (r *refusals) last() []StateRefusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := []StateRefusal{}
	for _, n := range r.list {
		last = append(last, n.StateRefusal)
	}
	return last
}
