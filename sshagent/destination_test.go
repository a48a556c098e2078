package sshagent

import (
	"crypto/rand"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// wire makes the hop's string of a destination.
func (h hop) wire() []byte {
	b := appendString(appendString(appendString(nil, h.user), h.host), "")
	for _, k := range h.keys {
		b = appendString(b, k.blob)
		if k.ca {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	return b
}

func restrictTo(list ...destination) []byte {
	var all []byte
	for _, d := range list {
		one := appendString(appendString(appendString(nil, d.from.wire()), d.to.wire()), "")
		all = appendString(all, one)
	}
	return appendString(appendString([]byte{constrainExtension}, extRestrictDestination), all)
}

// A route is a connection's binds and a login over it.
type route struct {
	name   string
	binds  [][]byte
	listed bool
	login  string // what is signed then; "" for nothing
	signs  bool
}

// testDestinations adds a key for some ways, and looks where it can be seen and
// used: as alice at host a, as any b* at host b by way of a, and as anybody at a
// host with a certificate for *.example.com.
func testDestinations(t *testing.T, open func(*testing.T) string) {
	a, b, c := hostKey(t, newKey(t)), hostKey(t, newKey(t)), hostKey(t, newKey(t))
	certifiedAs := func(kind uint32, by ssh.Signer, principals ...string) ssh.Signer {
		key := newKey(t)
		c := certify(t, key, kind, principals...)
		if err := c.SignCert(rand.Reader, by); err != nil {
			t.Fatal(err)
		}
		s, err := ssh.NewCertSigner(c, hostKey(t, key))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	authority := hostKey(t, testKeys()["ecdsa"])
	certified := func(principals ...string) ssh.Signer { return certifiedAs(ssh.HostCert, authority, principals...) }
	user, byHost := certifiedAs(ssh.UserCert, authority, "host.example.com"), certifiedAs(ssh.HostCert, a, "a")
	plainKey := func(k ssh.PublicKey) []hopKey { return []hopKey{{k.Marshal(), false}} }
	key := newKey(t)
	blob := public(t, key).Marshal()
	restriction := restrictTo(
		destination{to: hop{"alice", "a", plainKey(a.PublicKey())}},
		destination{from: hop{"", "a", plainKey(a.PublicKey())}, to: hop{"b*", "b", plainKey(b.PublicKey())}},
		destination{to: hop{"", "host.example.com", []hopKey{{authority.PublicKey().Marshal(), true}}}},
	)
	bind := func(host ssh.Signer, id string, forwarding byte) []byte {
		return bindRequest(t, host, id, id, forwarding)
	}
	in := func(session, user string, host ssh.Signer) string {
		if host == nil {
			return login(blob, ssh.KeyAlgoED25519, session, user, nil)
		}
		return login(blob, ssh.KeyAlgoED25519, session, user, host.PublicKey().Marshal())
	}
	good, wild, wrong := certified("host.example.com"), certified("*.example.com"), certified("host.example.org")
	for _, tt := range []route{
		{"unbound", nil, true, in("1", "alice", a), false},
		{"to a", [][]byte{bind(a, "1", 0)}, true, in("1", "alice", a), true},
		{"to a, the old way", [][]byte{bind(a, "1", 0)}, true, in("1", "alice", nil), true},
		{"to a, as another", [][]byte{bind(a, "1", 0)}, true, in("1", "bob", a), false},
		{"to a, in another session", [][]byte{bind(a, "1", 0)}, true, in("2", "alice", a), false},
		{"to a, in the name of b", [][]byte{bind(a, "1", 0)}, true, in("1", "alice", b), false},
		{"to a, what is no login", [][]byte{bind(a, "1", 0)}, true, message("text"), false},
		{"to a, what is nothing", [][]byte{bind(a, "1", 0)}, true, "text", false},
		{"to a, by another key", [][]byte{bind(a, "1", 0)}, true, login(public(t, newKey(t)).Marshal(), ssh.KeyAlgoED25519, "1", "alice", nil), false},
		{"to b", [][]byte{bind(b, "1", 0)}, false, in("1", "bob", b), false},
		{"to c", [][]byte{bind(c, "1", 0)}, false, in("1", "alice", c), false},
		{"forwarded to a", [][]byte{bind(a, "1", 1)}, true, in("1", "alice", a), false},
		{"by a to b", [][]byte{bind(a, "1", 1), bind(b, "2", 0)}, true, in("2", "bob", b), true},
		{"by a to b, the old way", [][]byte{bind(a, "1", 1), bind(b, "2", 0)}, true, in("2", "bob", nil), false},
		{"by a to b, as another", [][]byte{bind(a, "1", 1), bind(b, "2", 0)}, true, in("2", "alice", b), false},
		{"by a to b, for the session with a", [][]byte{bind(a, "1", 1), bind(b, "2", 0)}, true, in("1", "alice", a), false},
		{"forwarded by a to b", [][]byte{bind(a, "1", 1), bind(b, "2", 1)}, false, in("2", "bob", b), false},
		{"by a to c", [][]byte{bind(a, "1", 1), bind(c, "2", 0)}, false, in("2", "bob", c), false},
		{"by c to a", [][]byte{bind(c, "1", 1), bind(a, "2", 0)}, false, in("2", "alice", a), false},
		{"certified", [][]byte{bind(good, "1", 0)}, true, in("1", "anybody", good), true},
		{"certified for a pattern", [][]byte{bind(wild, "1", 0)}, false, in("1", "anybody", wild), false},
		{"the authority's own key", [][]byte{bind(authority, "1", 0)}, false, in("1", "anybody", authority), false},
		{"a user's certificate", [][]byte{bind(user, "1", 0)}, false, in("1", "anybody", user), false},
		{"certified by a host", [][]byte{bind(byHost, "1", 0)}, false, in("1", "alice", byHost), false},
		{"certified for another", [][]byte{bind(wrong, "1", 0)}, false, in("1", "anybody", wrong), false},
	} {
		conn := connect(t, open(t))
		do(t, conn, "adding", addition{key: key, comment: "key", constraints: restriction}.request(t), true)
		testRoute(t, conn, blob, tt)
		if !tt.listed { // what can't be seen can't be replaced by what is free
			do(t, conn, tt.name+", adding again", addition{key: key}.request(t), false)
		}
	}
	conn := connect(t, open(t))
	for name, bad := range badDestinations(plainKey(a.PublicKey())) {
		do(t, conn, "adding with "+name, addition{key: key, constraints: bad}.request(t), false)
	}
	wantKeys(t, conn, "after refusals")
}

func testRoute(t *testing.T, conn net.Conn, blob []byte, tt route) {
	t.Helper()
	for _, b := range tt.binds {
		exchange(t, conn, b)
	}
	if tt.listed {
		wantKeys(t, conn, tt.name, "key")
	} else {
		wantKeys(t, conn, tt.name)
	}
	request := append(appendString(appendString([]byte{agentSignRequest}, blob), tt.login), 0, 0, 0, 0)
	if answer := exchange(t, conn, request); (answer[0] == agentSignResponse) != tt.signs {
		t.Errorf("%s: a signature is answered with message %d; want one: %v", tt.name, answer[0], tt.signs)
	}
	if !tt.listed { // what can't be seen can't be removed
		do(t, conn, tt.name+", removing", appendString([]byte{agentRemoveIdentity}, blob), false)
	}
}

// badDestinations are restrictions that are malformed.
func badDestinations(keys []hopKey) map[string][]byte {
	ok := destination{to: hop{"", "a", keys}}
	whole := restrictTo(ok)
	extended := slices.Clone(whole)
	extended = append(extended[:len(extended)-4], 0, 0, 0, 1)
	return map[string][]byte{
		"no host to go to":        restrictTo(destination{to: hop{"", "", keys}}),
		"no key of the host":      restrictTo(destination{to: hop{"", "a", nil}}),
		"a user to come from":     restrictTo(destination{from: hop{"alice", "a", keys}, to: ok.to}),
		"a host without keys":     restrictTo(destination{from: hop{"", "a", nil}, to: ok.to}),
		"keys without a host":     restrictTo(destination{from: hop{"", "", keys}, to: ok.to}),
		"a host key that is junk": restrictTo(destination{to: hop{"", "a", []hopKey{{[]byte("junk"), false}}}}),
		"an end that is missing":  whole[:len(whole)-1],
		"a reserved field":        extended,
		"two restrictions":        slices.Concat(whole, whole),
	}
}

// What OpenSSH 9.2 does not refuse yet, or not at all, and this agent does.
func TestStricterDestinations(t *testing.T) {
	a := hostKey(t, newKey(t))
	keys := []hopKey{{a.PublicKey().Marshal(), false}}
	conn := connect(t, serve(t, &Server{}))
	many := make([]destination, maxDestinations+1)
	for i := range many {
		many[i] = destination{to: hop{"", "a", keys}}
	}
	for name, restriction := range map[string][]byte{
		"no destination at all":  restrictTo(),
		"a long pattern":         restrictTo(destination{to: hop{strings.Repeat("*a", 129), "a", keys}}),
		"too many":               restrictTo(many...),
		"a NUL in a user's name": restrictTo(destination{to: hop{"a\x00", "a", keys}}),
	} {
		do(t, conn, name, addition{key: newKey(t), constraints: restriction}.request(t), false)
	}
	do(t, conn, "a pattern as long as may be",
		addition{key: newKey(t), comment: "key", constraints: restrictTo(destination{to: hop{strings.Repeat("*a", 128), "a", keys}})}.request(t), true)
	wantKeys(t, conn, "after all that", "key")
}

// A bind that was refused is not made up for by a good one.
func TestFailedBindPoisons(t *testing.T) {
	a := hostKey(t, newKey(t))
	key := newKey(t)
	conn := connect(t, serve(t, &Server{}))
	restriction := restrictTo(destination{to: hop{"", "a", []hopKey{{a.PublicKey().Marshal(), false}}}})
	do(t, conn, "adding", addition{key: key, comment: "restricted", constraints: restriction}.request(t), true)
	do(t, conn, "adding", addition{key: newKey(t), comment: "free"}.request(t), true)
	do(t, conn, "a forged bind", bindRequest(t, a, "1", "2", 0), false)
	do(t, conn, "a good bind", bindRequest(t, a, "1", "1", 0), true)
	wantKeys(t, conn, "after a forged bind", "free")
	blob := public(t, key).Marshal()
	if answer := exchange(t, conn, signFrame(public(t, key), login(blob, ssh.KeyAlgoED25519, "1", "git", nil), 0)); answer[0] != agentFailure {
		t.Errorf("a restricted key signs after a forged bind: message %d", answer[0])
	}
}

// Whoever runs the agent hears which key was kept from whom: from a list, and from a
// signature that was asked for nevertheless.
func TestKeptBack(t *testing.T) {
	a, b := hostKey(t, newKey(t)), hostKey(t, newKey(t))
	key := newKey(t)
	var mu sync.Mutex
	var kept []string
	conn := connect(t, serve(t, &Server{KeptBack: func(key Key, why error) {
		mu.Lock()
		defer mu.Unlock()
		kept = append(kept, ssh.FingerprintSHA256(key.Public)+" "+key.Comment+": "+why.Error())
	}}))
	restriction := restrictTo(destination{to: hop{"", "a", []hopKey{{a.PublicKey().Marshal(), false}}}})
	do(t, conn, "adding", addition{key: key, comment: "restricted", constraints: restriction}.request(t), true)
	do(t, conn, "a bind", bindRequest(t, b, "1", "1", 0), true)
	name := ssh.FingerprintSHA256(public(t, key)) + " restricted"
	want := func(when string, whys ...string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(kept, whys) {
			t.Errorf("%s %q was kept back; want %q", when, kept, whys)
		}
	}
	wantKeys(t, conn, "on the way to another host")
	unseen := name + ": the key is not for this way (ssh-add -h): hop 1, to the host with the key " + ssh.FingerprintSHA256(b.PublicKey())
	want("from the list", unseen)
	exchange(t, conn, signFrame(public(t, key), "text", 0))
	want("from the list and the signature", unseen, name+": "+errNotLogin.Error())
}

// However a connection came by its binds, a login is its last.
func TestForwardedOverLogin(t *testing.T) {
	a, b := public(t, newKey(t)), public(t, newKey(t))
	keys := func(k ssh.PublicKey) []hopKey { return []hopKey{{k.Marshal(), false}} }
	key := &addedKey{constraints: constraints{destinations: []destination{
		{to: hop{"", "a", keys(a)}},
		{from: hop{"", "a", keys(a)}, to: hop{"", "b", keys(b)}},
	}}}
	for _, forwarding := range []bool{true, false} {
		s := &session{binds: []boundHop{{SessionBind: SessionBind{HostKey: a, Forwarding: forwarding}}, {SessionBind: SessionBind{HostKey: b}}}}
		if s.visible(key) != forwarding {
			t.Errorf("a key that is for b by way of a, with a bind to a that forwards (%v): visible %v", forwarding, s.visible(key))
		}
	}
}
