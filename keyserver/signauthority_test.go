package keyserver_test

import (
	"crypto/rand"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
)

// hostCert is a certificate of a host, for an hour.
func (s *site) hostCert(ca, of host, names ...string) *ssh.Certificate {
	s.Helper()
	now := s.Clock.Now()
	cert := &ssh.Certificate{Key: of.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: names, ValidBefore: uint64(now.Add(time.Hour).Unix())}
	if err := cert.SignCert(rand.Reader, ca); err != nil {
		s.Fatal(err)
	}
	return cert
}

// A policy that names an authority lets the key log in to hosts with its
// certificates, for the names that it says.
func TestSignPolicyAuthority(t *testing.T) {
	s := newSite(t, signMode)
	alice := s.newUser("alice", api.RoleUser)
	w, _ := s.newWorkspace(alice, "laptop")
	key, ca, evilCA, git := publicKey(t, w), newHost(t), newHost(t), newHost(t)
	policy := []api.KeyHost{{Name: "*.test", Fingerprint: ca.fingerprint(), Authority: true}, {Name: "forge", Fingerprint: ca.fingerprint(), Authority: true}}
	if _, err := alice.UpdateKey(t.Context(), api.Me, api.DefaultKey, api.UpdateKeyRequest{Hosts: &policy}); err != nil {
		t.Fatal(err)
	}
	bound := func(cert ssh.PublicKey) []byte { return newLogin(key, cert).with(nil) }
	plain := newLogin(key, nil)
	proven := func(cert *ssh.Certificate, by host) *api.HostProof {
		proof := by.proof(t, plain.SessionID)
		proof.Key = cert.Marshal()
		return proof
	}
	user := s.hostCert(ca, git, "git.test")
	user.CertType = ssh.UserCert
	if err := user.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	good := s.hostCert(ca, git, "other.example", "git.test")
	for name, tt := range map[string]struct {
		data  []byte
		proof *api.HostProof
		want  string // the host's name; "": refused
	}{
		"bound to a certificate":                 {bound(good), nil, "git.test"},
		"bound to one of another name":           {bound(s.hostCert(ca, git, "forge")), nil, "forge"},
		"in a session by a certificate":          {plain.with(nil), proven(good, git), "git.test"},
		"for a pattern that is the policy's":     {bound(s.hostCert(ca, git, "*.test")), nil, "*.test"},
		"for a pattern that is wider":            {bound(s.hostCert(ca, git, "*")), nil, ""},
		"for a pattern that is another":          {bound(s.hostCert(ca, git, "?.test")), nil, ""},
		"for another name":                       {bound(s.hostCert(ca, git, "git.example")), nil, ""},
		"for no name":                            {bound(s.hostCert(ca, git)), nil, ""},
		"by another authority":                   {bound(s.hostCert(evilCA, git, "git.test")), nil, ""},
		"for a user":                             {bound(user), nil, ""},
		"without the certificate":                {bound(git.PublicKey()), nil, ""},
		"to a host with the authority's own key": {bound(ca.PublicKey()), nil, ""},
		"in a session that others sign":          {plain.with(nil), proven(good, evilCA), ""},
		"without a host":                         {plain.with(nil), nil, ""},
	} {
		err := sign(t, w, key, tt.data, tt.proof)
		if tt.want == "" {
			wantError(t, "a login "+name, err, api.ErrForbidden)
			continue
		}
		events, aerr := s.Admin.Audit(t.Context(), s.lastEvent().Seq-1, 1)
		if err != nil || aerr != nil || events[0].Signature == nil || events[0].Signature.HostName != tt.want || events[0].Signature.Host != git.fingerprint() {
			t.Errorf("a login %s: %v, recorded as %+v, %v; want it signed, for %s", name, err, events, aerr, tt.want)
		}
	}
	s.Clock.Advance(2 * time.Hour)
	wantError(t, "a login to a certificate whose time is over", sign(t, w, key, bound(good), nil), api.ErrForbidden, "the key logs in to *.test, forge only")

	for name, hosts := range map[string][]api.KeyHost{
		"with a port":       {{Name: "[git]:2222", Fingerprint: ca.fingerprint(), Authority: true}},
		"in capitals":       {{Name: "Git", Fingerprint: ca.fingerprint(), Authority: true}},
		"with a class":      {{Name: "[a-z]", Fingerprint: ca.fingerprint(), Authority: true}},
		"with a slash":      {{Name: "a/b", Fingerprint: ca.fingerprint(), Authority: true}},
		"with an exception": {{Name: "!a", Fingerprint: ca.fingerprint(), Authority: true}},
		"twice":             {policy[0], policy[0]},
	} {
		_, err := alice.UpdateKey(t.Context(), api.Me, api.DefaultKey, api.UpdateKeyRequest{Hosts: &hosts})
		wantError(t, "an authority's hosts "+name, err, api.ErrInvalid, "hosts[")
	}
}
