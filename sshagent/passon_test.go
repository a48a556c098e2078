package sshagent

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// granting is an upstream agent that has no keys and agrees to all else.
func granting() *scripted {
	return &scripted{answer: func(request []byte) []byte {
		if request[0] == agentRequestIdentities {
			return identities()
		}
		return frame([]byte{agentSuccess})
	}}
}

// smartcard is a request that names a library and a PIN.
func smartcard(message byte, rest ...byte) []byte {
	return append(appendString(appendString([]byte{message}, "/usr/lib/token.so"), "a PIN"), rest...)
}

// skAddition is a request to add a security key, with the library that speaks to
// it: "" for none.
func skAddition(provider string) []byte {
	b := []byte{agentAddIDConstrained}
	for _, s := range []string{"sk-ssh-ed25519@openssh.com", strings.Repeat("A", 32), "ssh:"} {
		b = appendString(b, s)
	}
	b = append(b, 1) // flags: presence
	for _, s := range []string{"handle", "", "comment"} {
		b = appendString(b, s)
	}
	if provider != "" {
		b = appendString(appendString(append(b, constrainExtension), "sk-provider@openssh.com"), provider)
	}
	return b
}

// changes are requests of all kinds that a Server passes on, also those that it
// would refuse itself.
func changes(t testing.TB) map[string][]byte {
	key := newKey(t)
	return map[string][]byte{
		"add":                     addition{key: key, comment: "comment"}.request(t),
		"add a certificate":       addition{key: key, certificate: certify(t, key, ssh.UserCert)}.request(t),
		"add, constrained":        addition{key: key, constraints: lifetime(10)}.request(t),
		"add, some constraint":    addition{key: key, constraints: []byte{99, 1, 2, 3}}.request(t),
		"add a security key":      skAddition("/usr/lib/sk.so"),
		"add some kind of key":    appendString([]byte{agentAddIdentity}, "a kind to come"),
		"add what is malformed":   {agentAddIdentity, 0},
		"remove":                  removal(public(t, key)),
		"remove some kind of key": appendString([]byte{agentRemoveIdentity}, "a kind to come"),
		"remove all":              {agentRemoveAll},
		"add a card":              smartcard(agentAddSmartcardKey),
		"add a card, constrained": smartcard(agentAddSmartcardKeyCon, lifetime(10)...),
		"remove a card":           smartcard(agentRemoveSmartcardKey),
	}
}

// What changes keys goes to the upstream agent that is marked so, as it is, and
// so does its answer come back; nothing is added here.
func TestChangesPassRaw(t *testing.T) {
	for name, request := range changes(t) {
		for _, answer := range []byte{agentSuccess, agentFailure, 200} {
			other, up, second := granting(), &scripted{answer: func([]byte) []byte { return frame([]byte{answer}) }}, granting()
			var log logBuffer
			s := &Server{Log: log.logger(), Upstreams: []Upstream{
				{Name: "other", Dial: other.dial}, {Name: "up", Dial: up.dial, Changes: true}, {Name: "second", Dial: second.dial, Changes: true}}}
			conn := connect(t, serve(t, s))
			if got := exchange(t, conn, request); !bytes.Equal(got, []byte{answer}) {
				t.Errorf("%s was answered with %v; want the upstream agent's %d", name, got, answer)
			}
			if got := up.asked(); len(got) != 1 || !bytes.Equal(got[0], request) {
				t.Errorf("%s: the upstream agent got %q; want %q", name, got, request)
			}
			if got := slices.Concat(other.asked(), second.asked()); len(got) > 0 {
				t.Errorf("%s: other agents got %q; want nothing", name, got)
			}
			if n := s.Held(); n != 0 {
				t.Errorf("%s: %d keys are held here; want none", name, n)
			}
			if answer == agentSuccess {
				log.want(t, "change passed on", "upstream=up")
			} else {
				log.want(t, "change refused by an upstream agent", "upstream=up", "message="+messageName(answer))
			}
			if strings.Contains(log.String(), "a PIN") {
				t.Errorf("%s: the PIN is in the log:\n%s", name, &log)
			}
		}
	}
}

// A key of the Source is not added to an upstream agent, nor removed from it;
// whatever is removed, it stays.
func TestChangesLeaveManagedKeys(t *testing.T) {
	for kind, key := range testKeys() {
		up := granting()
		var log logBuffer
		s := &Server{Source: newSource(t, key), Log: log.logger(), Upstreams: []Upstream{{Name: "up", Dial: up.dial, Changes: true}}}
		conn := connect(t, serve(t, s))
		for what, request := range map[string][]byte{
			"adding":           addition{key: key}.request(t),
			"adding for a day": addition{key: key, constraints: lifetime(86400)}.request(t),
			"adding with a constraint that is not known": addition{key: key, constraints: []byte{99}}.request(t),
			"removing": removal(public(t, key)),
		} {
			do(t, conn, what+" a managed key of "+kind, request, false)
		}
		if got := up.asked(); len(got) != 0 {
			t.Errorf("%s: the upstream agent got %q; want nothing", kind, got)
		}
		log.want(t, errManaged.Error())
		do(t, conn, "removing all", []byte{agentRemoveAll}, true)
		wantKeys(t, conn, kind+": after removing all", "key 0")
	}
}

// While the agent is locked, no change passes; without leave to add, only those
// that take keys away do.
func TestChangesRefusedHere(t *testing.T) {
	up := granting()
	s := &Server{NoAdd: true, Upstreams: []Upstream{{Name: "up", Dial: up.dial, Changes: true}}}
	conn := connect(t, serve(t, s))
	for name, request := range changes(t) {
		do(t, conn, name+" with NoAdd", request, strings.HasPrefix(name, "remove"))
	}
	before := len(up.asked())
	do(t, conn, "locking", lockRequest(agentLock, "password"), true)
	for name, request := range changes(t) {
		do(t, conn, name+" while locked", request, false)
	}
	if got := up.asked()[before:]; len(got) > 0 {
		t.Errorf("while locked, the upstream agent got %q; want nothing, not even the lock", got)
	}
}

// Nothing is passed on for a client on another machine, nor for one that lies.
func TestChangesFromAfar(t *testing.T) {
	for name, bind := range map[string][]byte{
		"forwarded": bindRequest(t, hostKey(t, newKey(t)), "id", "id", 1),
		"forged":    bindRequest(t, hostKey(t, newKey(t)), "id", "another", 0),
	} {
		up := granting()
		conn := connect(t, serve(t, &Server{Upstreams: []Upstream{{Name: "up", Dial: up.dial, Changes: true}}}))
		exchange(t, conn, bind)
		for what, request := range changes(t) {
			do(t, conn, name+": "+what, request, false)
		}
		if got := up.asked(); slices.ContainsFunc(got, func(f []byte) bool { return !bytes.Equal(f, bind) }) {
			t.Errorf("%s: the upstream agent got %q; want nothing but the bind", name, got)
		}
	}
}

// If the upstream agent can't be reached the change is refused, and not kept here.
func TestChangesWithoutUpstream(t *testing.T) {
	away := func(context.Context) (net.Conn, error) { return nil, errors.New("it is away") }
	hangsUp := &scripted{answer: func([]byte) []byte { return nil }}
	for name, dial := range map[string]func(context.Context) (net.Conn, error){"away": away, "hangs up": hangsUp.dial} {
		var log logBuffer
		s := &Server{Log: log.logger(), Upstreams: []Upstream{{Name: "up", Dial: dial, Changes: true}}}
		conn := connect(t, serve(t, s))
		for range 2 {
			do(t, conn, name, addition{key: newKey(t)}.request(t), false)
		}
		wantKeys(t, conn, name)
		if s.Held() != 0 {
			t.Errorf("%s: a key was kept here", name)
		}
		log.want(t, "request refused", "passing it on", `agent \"up\"`)
	}
}

// Who brings an agent along does not get what is added here.
func TestAttachedTakesNoChanges(t *testing.T) {
	up := granting()
	s := &Server{}
	defer s.Attach(Upstream{Name: "up", Dial: up.dial, Changes: true}, nil)()
	conn := connect(t, serve(t, s))
	do(t, conn, "adding", addition{key: newKey(t), comment: "own"}.request(t), true)
	do(t, conn, "adding a smartcard", smartcard(agentAddSmartcardKey), false)
	if got := up.asked(); len(got) > 0 {
		t.Errorf("an attached agent got %q; want nothing", got)
	}
	wantKeys(t, conn, "after adding", "own")
}

// A key that was added by way of this connection signs on it, though the list
// had been asked for before, and one that was removed does not.
func TestChangesShowAtOnce(t *testing.T) {
	theirs := opensshAgent(t)
	conn := connect(t, serve(t, &Server{Upstreams: []Upstream{{Name: "openssh", Dial: dialSocket(theirs), Changes: true}}}))
	for kind, key := range testKeys() {
		wantKeys(t, conn, "before")
		do(t, conn, "adding "+kind, addition{key: key, comment: kind}.request(t), true)
		if err := verify(exchange(t, conn, signFrame(public(t, key), "data", flagRSASHA512)), public(t, key), "data"); err != nil {
			t.Errorf("a signature with the %s key that was just added: %v", kind, err)
		}
		wantKeys(t, connect(t, theirs), "in the upstream agent", kind)
		do(t, conn, "removing "+kind, removal(public(t, key)), true)
		if answer := exchange(t, conn, signFrame(public(t, key), "data", flagRSASHA512)); answer[0] != agentFailure {
			t.Errorf("the %s key that was removed signs: message %d", kind, answer[0])
		}
	}
}

// A key that two agents have signs on when the one that had it first removes it.
func TestRemovedIsAnothers(t *testing.T) {
	key := newKey(t)
	other := serve(t, &Server{Source: newSource(t, key)})
	conn := connect(t, serve(t, &Server{Upstreams: []Upstream{
		{Name: "openssh", Dial: dialSocket(opensshAgent(t)), Changes: true}, {Name: "other", Dial: dialSocket(other)}}}))
	do(t, conn, "adding", addition{key: key, comment: "first"}.request(t), true)
	wantKeys(t, conn, "while both have it", "first")
	do(t, conn, "removing", removal(public(t, key)), true)
	if err := verify(exchange(t, conn, signFrame(public(t, key), message("data"), 0)), public(t, key), message("data")); err != nil {
		t.Errorf("a signature with the other agent's key: %v", err)
	}
}

// A spy remembers what it was given to write, and not a copy.
type spy struct {
	net.Conn
	written [][]byte
}

func (s *spy) Write(b []byte) (int, error) {
	s.written = append(s.written, b)
	return s.Conn.Write(b)
}

// Nothing of a private key or a PIN that is passed on stays in our buffers,
// whether the upstream agent took it, hung up, or could not be reached.
func TestPassedIsWiped(t *testing.T) {
	requests := map[string][]byte{"a PIN": smartcard(agentAddSmartcardKey)}
	for kind, key := range testKeys() {
		requests[kind] = addition{key: key, comment: strings.Repeat("c", 1000)}.request(t)
	}
	secrets := map[string][]byte{"a PIN": []byte("a PIN")}
	for kind, key := range testKeys() {
		secrets[kind] = privateFields(key)[4:36]
	}
	hangingUp := &scripted{answer: func(request []byte) []byte {
		if request[0] == agentExtension { // says where the link comes from
			return frame([]byte{agentFailure})
		}
		return nil
	}}
	for what, request := range requests {
		for name, up := range map[string]*scripted{"took it": granting(), "hung up": hangingUp, "was away": nil} {
			var conn *spy
			s := &Server{Upstreams: []Upstream{{Name: "up", Changes: true, Dial: func(ctx context.Context) (net.Conn, error) {
				if up == nil {
					return nil, errors.New("away")
				}
				c, err := up.dial(ctx)
				conn = &spy{Conn: c}
				return conn, err
			}}}}
			next := []byte{0} // of its next request, so it has not hung up
			sess := newSession(s, &stream{in: bytes.NewReader(append(frame(request), next...))})
			got, err := sess.in.next()
			if err != nil {
				t.Fatal(err)
			}
			sess.answer(t.Context(), got)
			left := map[string][]byte{"the frame": got, "the link's buffer": sess.in.r.b}
			if conn != nil {
				left["what was sent"] = slices.Concat(conn.written...)
				if n := len(conn.written[len(conn.written)-1]); n != 4+len(request) {
					t.Errorf("%s: %d bytes were sent; want %d", what, n, 4+len(request))
				}
			}
			for where, b := range left {
				if bytes.Contains(b, secrets[what]) {
					t.Errorf("after the upstream agent %s, %s is in %s", name, what, where)
				}
			}
			sess.close()
		}
	}
}
