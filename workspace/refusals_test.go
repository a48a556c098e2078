package workspace

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
	"github.com/latchkey/latchkey/sshagent/signdata"
)

func TestRefusalsAreBounded(t *testing.T) {
	var r refusals
	for _, why := range []string{"once", "again", "once"} {
		r.add(keptRefusal{StateRefusal: StateRefusal{Key: "SHA256:x", Why: why}})
	}
	if last := r.last(); len(last) != 2 || last[0].Why != "again" || last[1].Why != "once" {
		t.Errorf("the refusals are %+v; want one of each, the newest last", last)
	}
	for i := range 3 * maxRefusals {
		r.add(keptRefusal{StateRefusal: StateRefusal{Key: "SHA256:x", Why: fmt.Sprint("refusal ", i)}})
	}
	if last := r.last(); len(last) != maxRefusals || last[maxRefusals-1].Why != fmt.Sprint("refusal ", 3*maxRefusals-1) {
		t.Errorf("the refusals are %+v; want the last %d", last, maxRefusals)
	}
}

// A key that is for one host is kept from every other, each time with another reason:
// that must not push out what else was refused.
func TestRefusalsOfManyHosts(t *testing.T) {
	key, work, added := newEd25519(t), newEd25519(t), newEd25519(t)
	server := &testServer{keys: []testKey{key, work}, policy: api.KeyPolicy{Hosts: []api.KeyHost{{Name: "git", Fingerprint: "SHA256:git"}}}}
	s := newSource(server, nil)
	mustKeys(t, s)
	file := s.Permit(sshagent.Request{SSHSIG: &signdata.SSHSIG{Namespace: "file"}, Key: sshagent.Key{Public: key.public}})
	if file == nil {
		t.Fatal("a file is signed; want git's namespace only")
	}
	var unseen, restricted error
	for i := range 2 * maxRefusals {
		host := sshagent.Session{Binds: []sshagent.SessionBind{bindOf(t, newEd25519(t), "session", false)}}
		if unseen = s.Show(sshagent.Key{Public: work.public}, host); unseen == nil {
			t.Fatal("the key is shown to every host; want git only")
		}
		restricted = fmt.Errorf("not for host %d", i)
		s.refusals.addAdded(sshagent.Key{Public: added.public}, restricted)
	}
	want := []string{file.Error(), unseen.Error(), restricted.Error()}
	if got := whys(s.refusals.last()); !slices.Equal(got, want) {
		t.Errorf("the refusals are %q; want %q", got, want)
	}
	for range 2 * maxRefusals {
		s.refusals.addAdded(sshagent.Key{Public: newEd25519(t).public}, errors.New("another key"))
	}
	want = append(want[:2], slices.Repeat([]string{"another key"}, maxRefusals)...)
	if got := whys(s.refusals.last()); !slices.Equal(got, want) {
		t.Errorf("with many added keys the refusals are %q; want %q", got, want)
	}
}

func whys(list []StateRefusal) (whys []string) {
	for _, r := range list {
		whys = append(whys, r.Why)
	}
	return whys
}

// What is over is not shown any more: a refusal once the policy is another or the key
// is gone, and that the server was away once it answers.
func TestRefusalsEnd(t *testing.T) {
	key, other := newEd25519(t), newEd25519(t)
	file := sshagent.Request{SSHSIG: &signdata.SSHSIG{Namespace: "file"}, Key: sshagent.Key{Public: key.public}}
	kept := func(s *Source, what string, want int) {
		t.Helper()
		if last := s.LastOffer().Refusals; len(last) != want {
			t.Errorf("%s: the refusals are %+v; want %d", what, last, want)
		}
	}
	away := func(api.SignRequest) ([]byte, error) { return nil, fmt.Errorf("reaching it: %w", api.ErrUnavailable) }
	server := &testServer{keys: []testKey{key, other}, mode: api.SignMode, sign: away}
	s := newSource(server, nil)
	mustKeys(t, s)
	s.refusals.addAdded(sshagent.Key{Public: newEd25519(t).public}, errors.New("it was not confirmed"))
	if err := s.Permit(file); err == nil {
		t.Fatal("a file is signed; want git's namespace only")
	}
	signer, err := s.Signer(t.Context(), key.public)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Sign(nil, sshsig("git")); err == nil {
		t.Fatal("a server that is away has signed")
	}
	kept(s, "a key of the client, a namespace, and the server away", 3)
	mustKeys(t, s)
	kept(s, "the server has answered", 2)
	server.become(func() { server.policy = api.KeyPolicy{RefuseForwarded: true} })
	mustKeys(t, s)
	kept(s, "another policy", 1)
	if err := s.Permit(file); err == nil {
		t.Fatal("a file is signed; want git's namespace only")
	}
	mustKeys(t, s)
	kept(s, "the same policy", 2)
	server.become(func() { server.keys = []testKey{other} })
	mustKeys(t, s)
	kept(s, "the key is gone", 1)
	file.Key.Public = other.public
	for what, refuse := range map[string]func(error){"in an answer about keys": func(err error) { s.note(s.number(), err) }, "elsewhere": s.refuse} {
		if err := s.Permit(file); err == nil {
			t.Fatal("a file is signed; want git's namespace only")
		}
		kept(s, "the other key", 2)
		refuse(api.ErrUnauthenticated)
		kept(s, "the workspace is refused, "+what, 1)
		mustKeys(t, s)
	}
}
