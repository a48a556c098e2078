package workspace

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
	"github.com/latchkey/latchkey/sshagent/signdata"
)

// bindOf is what session-bind@openssh.com tells of a session with a host.
func bindOf(t *testing.T, host testKey, session string, forwarding bool) sshagent.SessionBind {
	t.Helper()
	signer, err := ssh.NewSignerFromSigner(host.private)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := signer.Sign(rand.Reader, []byte(session))
	if err != nil {
		t.Fatal(err)
	}
	return sshagent.SessionBind{HostKey: host.public, SessionID: []byte(session), Signature: sig, Forwarding: forwarding}
}

func TestPermit(t *testing.T) {
	git, other := newEd25519(t), newEd25519(t)
	ca := newEd25519(t)
	signer, err := ssh.NewSignerFromSigner(ca.private)
	if err != nil {
		t.Fatal(err)
	}
	cert := &ssh.Certificate{Key: git.public, CertType: ssh.HostCert, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
	login := func(host ssh.PublicKey) *signdata.UserAuth {
		a := &signdata.UserAuth{SessionID: []byte("session"), User: "git", Method: signdata.PublicKey}
		if host != nil {
			a.Method, a.HostKey = signdata.HostBound, host.Marshal()
		}
		return a
	}
	client := func(b ...sshagent.SessionBind) sshagent.Session {
		return sshagent.Session{Binds: b, Forwarded: len(b) > 0 && b[0].Forwarding}
	}
	failed := func(c sshagent.Session) sshagent.Session {
		c.BindFailed = true
		return c
	}
	toGit := bindOf(t, git, "session", false)
	uses := map[string]sshagent.Request{
		"local login without a bind": {UserAuth: login(nil)},
		"login bound to git":         {UserAuth: login(git.public)},
		"login bound to a cert":      {UserAuth: login(cert)},
		"login bound to another":     {UserAuth: login(other.public)},
		"login in git's session":     {UserAuth: login(nil), Session: client(toGit)},
		"login in another's session": {UserAuth: login(nil), Session: client(bindOf(t, other, "session", false))},
		"login of another session":   {UserAuth: login(nil), Session: client(bindOf(t, git, "before", false))},
		"login where git forwards":   {UserAuth: login(nil), Session: client(bindOf(t, git, "session", true))},
		"login after a failed bind":  {UserAuth: login(nil), Session: failed(client(toGit))},
		"login from another, to git": {UserAuth: login(nil), Session: client(bindOf(t, other, "hop", true), toGit)},
		"login from git, unnamed":    {UserAuth: login(nil), Session: client(bindOf(t, git, "hop", true), toGit)},
		"login from git, named":      {UserAuth: login(git.public), Session: client(bindOf(t, git, "hop", true), toGit)},
		"commit":                     {SSHSIG: &signdata.SSHSIG{Namespace: "git"}},
		"commit from another":        {SSHSIG: &signdata.SSHSIG{Namespace: "git"}, Session: client(bindOf(t, other, "hop", true))},
		"file":                       {SSHSIG: &signdata.SSHSIG{Namespace: "file"}},
		"neither":                    {},
	}
	all := []string{"local login without a bind", "login bound to git", "login bound to a cert", "login bound to another", "login in git's session", "login in another's session",
		"login of another session", "login where git forwards", "login after a failed bind", "login from another, to git", "login from git, unnamed", "login from git, named", "commit", "commit from another"}
	atGit := []string{"login bound to git", "login bound to a cert", "login in git's session", "login from git, named", "commit"}
	forwarded := []string{"login where git forwards", "login after a failed bind", "login from another, to git", "login from git, unnamed", "login from git, named", "commit from another"}
	without := func(list, out []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(out, s) })
	}
	now := time.Now()
	past := now.Add(-time.Second)
	hosts := []api.KeyHost{{Name: "git", Fingerprint: ssh.FingerprintSHA256(git.public)}}
	for _, tt := range []struct {
		name    string
		policy  api.KeyPolicy
		permits []string
	}{
		{"none", api.KeyPolicy{}, all},
		{"hosts", api.KeyPolicy{Hosts: hosts}, atGit},
		{"no forwarding", api.KeyPolicy{RefuseForwarded: true}, without(all, forwarded)},
		{"hosts, no forwarding", api.KeyPolicy{Hosts: hosts, RefuseForwarded: true}, without(atGit, forwarded)},
		{"file", api.KeyPolicy{Namespaces: []string{"file"}}, append(without(all, []string{"commit", "commit from another"}), "file")},
		{"any namespace", api.KeyPolicy{Namespaces: []string{"*"}}, append(slices.Clone(all), "file")},
		{"its time is over", api.KeyPolicy{UsableUntil: &past}, nil},
		{"it is not", api.KeyPolicy{UsableUntil: new(now.Add(time.Second))}, all},
	} {
		for name, use := range uses {
			err := permit(terms{policy: tt.policy}, use, now)
			if want := slices.Contains(tt.permits, name); want != (err == nil) {
				t.Errorf("policy %q, %s: %v; want permitted: %t", tt.name, name, err, want)
			}
			var e *api.Error
			if err != nil && name != "neither" && (!errors.As(err, &e) || !errors.Is(err, api.ErrForbidden) || e.Detail == "") {
				t.Errorf("policy %q, %s: %#v; want ErrForbidden with a hint", tt.name, name, err)
			}
		}
	}
}

// A policy that names an authority is for hosts with its certificates, both for
// what is signed and for what is listed.
func TestPermitAuthority(t *testing.T) {
	git, ca, now := newEd25519(t), newEd25519(t), time.Now()
	certified := func(name string, until time.Time, by testKey) testKey {
		t.Helper()
		signer, err := ssh.NewSignerFromSigner(by.private)
		if err != nil {
			t.Fatal(err)
		}
		cert := &ssh.Certificate{Key: git.public, CertType: ssh.HostCert, ValidPrincipals: []string{name}, ValidBefore: uint64(until.Unix())}
		if err := cert.SignCert(rand.Reader, signer); err != nil {
			t.Fatal(err)
		}
		return testKey{private: git.private, public: cert}
	}
	policy := api.KeyPolicy{Hosts: []api.KeyHost{{Name: "*.test", Fingerprint: ssh.FingerprintSHA256(ca.public), Authority: true}}}
	later := now.Add(time.Hour)
	for name, tt := range map[string]struct {
		host testKey
		want bool
	}{
		"certified":                        {certified("git.test", later, ca), true},
		"certified for another name":       {certified("git.example", later, ca), false},
		"certified by another":             {certified("git.test", later, newEd25519(t)), false},
		"whose certificate's time is over": {certified("git.test", now.Add(-time.Hour), ca), false},
		"without its certificate":          {git, false},
		"that has the authority's own key": {ca, false},
	} {
		bind := bindOf(t, tt.host, "session", false)
		plain := &signdata.UserAuth{SessionID: []byte("session"), Method: signdata.PublicKey}
		bound := &signdata.UserAuth{SessionID: []byte("session"), Method: signdata.HostBound, HostKey: tt.host.public.Marshal()}
		client := sshagent.Session{Binds: []sshagent.SessionBind{bind}}
		for what, err := range map[string]error{
			"a login bound to it":    permit(terms{policy: policy}, sshagent.Request{UserAuth: bound}, now),
			"a login in its session": permit(terms{policy: policy}, sshagent.Request{UserAuth: plain, Session: client}, now),
			"listing the key to it":  shows(terms{policy: policy}, client, now),
		} {
			if (err == nil) != tt.want {
				t.Errorf("a host %s, %s: %v; want permitted: %t", name, what, err, tt.want)
			}
		}
	}
}

// A key is listed to those who may use it where they lead.
func TestShows(t *testing.T) {
	git, other := newEd25519(t), newEd25519(t)
	toGit, toOther, viaOther := bindOf(t, git, "git", false), bindOf(t, other, "other", false), bindOf(t, other, "hop", true)
	clients := map[string]sshagent.Session{
		"who has said nothing": {},
		"to git":               {Binds: []sshagent.SessionBind{toGit}},
		"to another":           {Binds: []sshagent.SessionBind{toOther}},
		"on another":           {Binds: []sshagent.SessionBind{viaOther}, Forwarded: true},
		"from another to git":  {Binds: []sshagent.SessionBind{viaOther, toGit}, Forwarded: true},
		"from another to it":   {Binds: []sshagent.SessionBind{viaOther, toOther}, Forwarded: true},
		"whose bind failed":    {BindFailed: true},
	}
	all := slices.Collect(maps.Keys(clients))
	hosts := []api.KeyHost{{Name: "git", Fingerprint: ssh.FingerprintSHA256(git.public)}}
	now := time.Now()
	for _, tt := range []struct {
		name   string
		policy api.KeyPolicy
		shows  []string
	}{
		{"none", api.KeyPolicy{}, all},
		{"hosts", api.KeyPolicy{Hosts: hosts}, []string{"who has said nothing", "to git", "on another", "from another to git", "whose bind failed"}},
		{"no forwarding", api.KeyPolicy{RefuseForwarded: true}, []string{"who has said nothing", "to git", "to another"}},
		{"hosts, no forwarding", api.KeyPolicy{Hosts: hosts, RefuseForwarded: true}, []string{"who has said nothing", "to git"}},
		{"its time is over", api.KeyPolicy{UsableUntil: &now}, nil},
		{"it is not", api.KeyPolicy{UsableUntil: new(now.Add(time.Second))}, all},
	} {
		for name, client := range clients {
			if err, want := shows(terms{policy: tt.policy}, client, now), slices.Contains(tt.shows, name); want != (err == nil) {
				t.Errorf("policy %q, a client %s: %v; want listed: %t", tt.name, name, err, want)
			}
		}
	}
}

// A host's proof goes from the agent's question to the server, with the login
// that it is about and with no other.
func TestProofReachesTheServer(t *testing.T) {
	key, git := newEd25519(t), newEd25519(t)
	server := &testServer{keys: []testKey{key}, mode: api.SignMode}
	s := newSource(server, nil)
	mustKeys(t, s)
	data := func(session string) []byte {
		return ssh.Marshal(struct {
			Session               []byte
			Message               byte
			User, Service, Method string
			Signed                bool
			Algorithm             string
			Key                   []byte
		}{[]byte(session), 50, "git", "ssh-connection", signdata.PublicKey, true, key.public.Type(), key.public.Marshal()})
	}
	ask := func(session string, binds ...sshagent.SessionBind) error {
		auth, err := signdata.ParseUserAuth(data(session))
		if err != nil {
			t.Fatal(err)
		}
		return s.Permit(sshagent.Request{Key: sshagent.Key{Public: key.public}, UserAuth: auth, Session: sshagent.Session{Binds: binds}})
	}
	signer, err := s.Signer(t.Context(), key.public)
	if err != nil {
		t.Fatal(err)
	}
	bound := bindOf(t, git, "one", false)
	if err := ask("one", bound); err != nil {
		t.Fatal(err)
	}
	for i, session := range []string{"two", "one", "one"} {
		if _, err := signer.Sign(nil, data(session)); err != nil {
			t.Fatal(err)
		}
		got := server.signs[i].Host
		if want := i == 1; want != (got != nil) {
			t.Fatalf("request %d, of session %s, came with %+v; want a proof: %t", i, session, got, want)
		}
		if got != nil && (!bytes.Equal(got.Key, git.public.Marshal()) || !bytes.Equal(got.Signature, ssh.Marshal(bound.Signature))) {
			t.Errorf("the proof is %+v; want the bind's", got)
		}
	}
	for i := range 3 * maxProofs {
		if err := ask(fmt.Sprint(i), bindOf(t, git, fmt.Sprint(i), false)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.proofs.list); n > maxProofs {
		t.Errorf("%d proofs are remembered; want %d at most", n, maxProofs)
	}
	// The oldest are forgotten, and not those of logins under way.
	if s.proofs.take([]byte(fmt.Sprint(2*maxProofs-1))) != nil || s.proofs.take([]byte(fmt.Sprint(2*maxProofs))) == nil {
		t.Errorf("the proofs that are remembered are not the last %d", maxProofs)
	}

	// A key that is not on offer any more is not permitted anything.
	if err := s.Permit(sshagent.Request{Key: sshagent.Key{Public: git.public}, SSHSIG: &signdata.SSHSIG{Namespace: "git"}}); err == nil {
		t.Error("a key that the server does not list was permitted; want it refused")
	}
}

// A server whose clock is behind lists a key still whose time is over here.
func TestPermitByTheTimeListed(t *testing.T) {
	key := newEd25519(t)
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(time.Hour)
		s := newSource(&testServer{keys: []testKey{key}, expires: &end}, nil)
		for _, over := range []bool{false, true} {
			offered := mustKeys(t, s)[0]
			signing := s.Permit(sshagent.Request{Key: offered, SSHSIG: &signdata.SSHSIG{Namespace: "git"}})
			for use, err := range map[string]error{"signing": signing, "listing the key": s.Show(offered, sshagent.Session{})} {
				if over != (err != nil) || over && !strings.Contains(err.Error(), "was offered until "+end.UTC().Format(time.RFC3339)) {
					t.Errorf("%s, with the time over %t: %v; want it refused then, with the time", use, over, err)
				}
			}
			time.Sleep(time.Hour)
		}
	})
}
