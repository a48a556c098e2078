package sshagent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"fmt"
	"math/big"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// An addition is a request to add a key, in parts.
type addition struct {
	key         crypto.Signer
	certificate *ssh.Certificate // nil: the key alone
	comment     string
	constraints []byte // nil: none
}

// request makes the request (RFC 9987, section 5.2).
func (a addition) request(t testing.TB) []byte {
	t.Helper()
	b := []byte{agentAddIdentity}
	if a.constraints != nil {
		b[0] = agentAddIDConstrained
	}
	plain := public(t, a.key)
	if a.certificate == nil {
		b = appendString(b, plain.Type())
	} else {
		b = appendString(appendString(b, a.certificate.Type()), a.certificate.Marshal())
	}
	if _, isEd := a.key.(ed25519.PrivateKey); a.certificate == nil || isEd {
		fields := fieldsOf(plain.Marshal())[1:]
		if plain.Type() == ssh.KeyAlgoRSA {
			slices.Reverse(fields)
		}
		for _, f := range fields {
			b = appendString(b, f)
		}
	}
	b = append(b, privateFields(a.key)...)
	return append(appendString(b, a.comment), a.constraints...)
}

func fieldsOf(b []byte) (fields [][]byte) {
	for len(b) > 0 {
		f, rest, ok := cutString(b)
		if !ok {
			panic("not made of strings")
		}
		fields, b = append(fields, f), rest
	}
	return fields
}

func mpint(n *big.Int) []byte {
	return ssh.Marshal(struct{ N *big.Int }{n})
}

// privateFields are the private fields of a key, as Keep gets them.
func privateFields(key crypto.Signer) []byte {
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return appendString(nil, []byte(k))
	case *ecdsa.PrivateKey:
		d, err := k.Bytes()
		if err != nil {
			panic(err)
		}
		return mpint(new(big.Int).SetBytes(d))
	case *rsa.PrivateKey:
		k.Precompute()
		return slices.Concat(mpint(k.D), mpint(k.Precomputed.Qinv), mpint(k.Primes[0]), mpint(k.Primes[1]))
	}
	panic("another kind of key")
}

func lifetime(seconds uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{constrainLifetime}, seconds)
}

// certify makes a certificate for a key.
func certify(t testing.TB, key crypto.Signer, kind uint32, principals ...string) *ssh.Certificate {
	t.Helper()
	c := &ssh.Certificate{Key: public(t, key), CertType: kind, KeyId: "id", ValidPrincipals: principals, ValidBefore: ssh.CertTimeInfinity}
	if err := c.SignCert(rand.Reader, hostKey(t, testKeys()["ecdsa"])); err != nil {
		t.Fatal(err)
	}
	return c
}

// do sends a request that is to succeed, or to be refused, with one byte.
func do(t testing.TB, conn net.Conn, what string, request []byte, want bool) {
	t.Helper()
	answer := exchange(t, conn, request)
	if ok := bytes.Equal(answer, []byte{agentSuccess}); ok != want || !ok && answer[0] != agentFailure && answer[0] != agentExtensionFailure {
		t.Errorf("%s was answered with %v; want success: %v", what, answer, want)
	}
}

// wantKeys fails the test unless the agent lists keys with these comments.
func wantKeys(t testing.TB, conn net.Conn, when string, comments ...string) {
	t.Helper()
	ids, ok := parseIdentities(exchange(t, conn, []byte{agentRequestIdentities}))
	var got []string
	for _, id := range ids {
		got = append(got, string(id.comment))
	}
	if !ok || !slices.Equal(got, comments) {
		t.Errorf("%s: the list is %q; want %q", when, got, comments)
	}
}

func removal(key ssh.PublicKey) []byte {
	return appendString([]byte{agentRemoveIdentity}, key.Marshal())
}

// TestOwnKeys holds OpenSSH's agent, ours, and theirs with ours before it to the
// same about keys that clients add.
func TestOwnKeys(t *testing.T) {
	agree := false
	ours := func(t *testing.T) string {
		return serve(t, &Server{Confirm: func(context.Context, Key, string) bool { return agree }})
	}
	theirs := func(t *testing.T) string {
		askpass := "false"
		if agree {
			askpass = "true"
		}
		path, err := exec.LookPath(askpass)
		if err != nil {
			t.Fatal(err)
		}
		return opensshAgent(t, "SSH_ASKPASS="+path, "DISPLAY=none", "SSH_ASKPASS_REQUIRE=force")
	}
	through := func(t *testing.T) string {
		return serve(t, &Server{Upstreams: []Upstream{{Name: "openssh", Dial: dialSocket(theirs(t)), Changes: true}}})
	}
	for name, open := range map[string]func(*testing.T) string{"ours": ours, "OpenSSH": theirs, "OpenSSH through ours": through} {
		t.Run(name, func(t *testing.T) {
			t.Run("add", func(t *testing.T) { testAdd(t, open(t)) })
			t.Run("refuse", func(t *testing.T) { testRefuseAdd(t, open(t)) })
			t.Run("remove", func(t *testing.T) { testRemove(t, open(t)) })
			t.Run("lock", func(t *testing.T) { testLock(t, open(t)) })
			t.Run("lifetime", func(t *testing.T) { testLifetime(t, open(t)) })
			t.Run("destinations", func(t *testing.T) { testDestinations(t, open) })
			for _, agree = range []bool{true, false} {
				t.Run(fmt.Sprintf("confirm=%v", agree), func(t *testing.T) { testConfirm(t, open(t), agree) })
			}
		})
	}
}

// testAdd adds each kind of key, alone and with a certificate, and signs with it.
func testAdd(t *testing.T, path string) {
	conn := connect(t, path)
	ec384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := []crypto.Signer{testKeys()["ed25519"], testKeys()["ecdsa"], ec384, testKeys()["ecdsa-521"], testKeys()["rsa"]}
	var want []string
	for i, key := range keys {
		for _, c := range []*ssh.Certificate{nil, certify(t, key, ssh.UserCert, "somebody")} {
			a := addition{key: key, certificate: c, comment: fmt.Sprintf("key %d, certified %v", i, c != nil), constraints: lifetime(3600)}
			do(t, conn, "adding "+a.comment, a.request(t), true)
			want = append(want, a.comment)
			blob := public(t, key)
			asked := blob
			if c != nil { // which is asked for, while the key it is for signs
				asked = c
			}
			for _, size := range []int{0, 1, 1000} {
				data := strings.Repeat("x", size)
				if err := verify(exchange(t, conn, signFrame(asked, data, flagRSASHA512)), blob, data); err != nil {
					t.Errorf("signing %d bytes with %s: %v", size, a.comment, err)
				}
			}
		}
	}
	wantKeys(t, conn, "after adding", want...)
	// A key that is added again gets its new comment in its old place.
	do(t, conn, "adding again", addition{key: keys[0], comment: "again"}.request(t), true)
	want[0] = "again"
	wantKeys(t, conn, "after adding the first again", want...)
	wantKeys(t, connect(t, path), "on another connection", want...)
}

func testRefuseAdd(t *testing.T, path string) {
	conn := connect(t, path)
	ed := addition{key: testKeys()["ed25519"], comment: "comment"}
	whole := ed.request(t)
	with := func(constraints ...byte) []byte {
		a := ed
		a.constraints = constraints
		return a.request(t)
	}
	unknown := appendString([]byte{constrainExtension}, "unknown@example.com")
	rsaCert := certify(t, testKeys()["rsa"], ssh.UserCert, "somebody")
	otherCert := addition{key: newKey(t), certificate: rsaCert}.request(t)
	for name, request := range map[string][]byte{
		"nothing":                    {agentAddIdentity},
		"an unknown kind":            appendString([]byte{agentAddIdentity}, "ssh-unknown"),
		"a kind and no more":         appendString([]byte{agentAddIdentity}, ssh.KeyAlgoED25519),
		"a key without a comment":    whole[:len(whole)-4-len("comment")],
		"a key that is cut short":    whole[:len(whole)-20],
		"a constraint that is cut":   with(constrainLifetime, 0, 0, 1),
		"two lifetimes":              with(slices.Concat(lifetime(60), lifetime(60))...),
		"two confirmations":          with(constrainConfirm, constrainConfirm),
		"a constraint of no kind":    with(9),
		"an extension of no kind":    with(unknown...),
		"an extension without name":  with(constrainExtension),
		"signatures limited":         with(constrainMaxSign, 0, 0, 0, 1),
		"another key's certificate":  otherCert,
		"a lifetime, then something": with(append(lifetime(60), 77)...),
	} {
		do(t, conn, name, request, false)
		wantKeys(t, conn, "after "+name)
	}
}

func testRemove(t *testing.T, path string) {
	conn := connect(t, path)
	var keys []crypto.Signer
	for i := range 4 {
		keys = append(keys, newKey(t))
		do(t, conn, "adding", addition{key: keys[i], comment: fmt.Sprint(i)}.request(t), true)
	}
	do(t, conn, "removing 1", removal(public(t, keys[1])), true)
	wantKeys(t, conn, "after removing 1", "0", "2", "3") // in their order
	do(t, conn, "removing 1 again", removal(public(t, keys[1])), false)
	do(t, conn, "removing nothing", []byte{agentRemoveIdentity}, false)
	if answer := exchange(t, conn, signFrame(public(t, keys[1]), "data", 0)); answer[0] != agentFailure {
		t.Errorf("a removed key signs: message %d", answer[0])
	}
	for range 2 {
		do(t, conn, "removing all", []byte{agentRemoveAll}, true)
		wantKeys(t, conn, "after removing all")
	}
	do(t, conn, "adding 1", addition{key: keys[1], comment: "1"}.request(t), true)
	wantKeys(t, conn, "after adding 1 again", "1")
}

func testLock(t *testing.T, path string) {
	conn, other := connect(t, path), connect(t, path)
	key, password := newKey(t), "correct horse"
	lock, unlock := appendString([]byte{agentLock}, password), appendString([]byte{agentUnlock}, password)
	do(t, conn, "adding", addition{key: key, comment: "key"}.request(t), true)
	do(t, conn, "unlocking when it is not locked", unlock, false)
	do(t, conn, "locking with an empty password", appendString([]byte{agentLock}, ""), false)
	do(t, conn, "locking", lock, true)
	for name, request := range map[string][]byte{
		"signing":               signFrame(public(t, key), "data", 0),
		"adding":                addition{key: newKey(t)}.request(t),
		"removing":              removal(public(t, key)),
		"removing all":          {agentRemoveAll},
		"locking again":         lock,
		"a wrong password":      appendString([]byte{agentUnlock}, "wrong"),
		"an empty password":     appendString([]byte{agentUnlock}, ""),
		"an unknown message":    {200},
		"asking for extensions": appendString([]byte{agentExtension}, "query"),
	} {
		do(t, other, name+" while locked", request, false)
		wantKeys(t, other, "while locked")
	}
	do(t, other, "unlocking", unlock, true)
	wantKeys(t, conn, "after unlocking", "key")
	if answer := exchange(t, conn, signFrame(public(t, key), "data", 0)); answer[0] != agentSignResponse {
		t.Errorf("after unlocking, a signature is answered with message %d", answer[0])
	}
	do(t, conn, "unlocking twice", unlock, false)
}

// testLifetime tests keys that are removed when their time is over. It waits for
// what the agent does, not for a time.
func testLifetime(t *testing.T, path string) {
	conn := connect(t, path)
	mortal, longer, free := newKey(t), newKey(t), newKey(t)
	do(t, conn, "adding", addition{key: mortal, comment: "mortal", constraints: lifetime(1)}.request(t), true)
	do(t, conn, "adding", addition{key: longer, comment: "longer", constraints: lifetime(1)}.request(t), true)
	do(t, conn, "adding again", addition{key: longer, comment: "longer", constraints: lifetime(3600)}.request(t), true)
	do(t, conn, "adding", addition{key: free, comment: "free"}.request(t), true)
	for {
		ids, ok := parseIdentities(exchange(t, conn, []byte{agentRequestIdentities}))
		if !ok || len(ids) < 3 {
			break
		}
	}
	wantKeys(t, conn, "after the lifetime of one", "longer", "free")
	if answer := exchange(t, conn, signFrame(public(t, mortal), "data", 0)); answer[0] != agentFailure {
		t.Errorf("a key whose lifetime is over signs: message %d", answer[0])
	}
	do(t, conn, "removing what is gone", removal(public(t, mortal)), false)
	do(t, conn, "adding it again", addition{key: mortal, comment: "mortal"}.request(t), true)
	wantKeys(t, conn, "after adding it again", "longer", "free", "mortal")
}

// testConfirm tests a key whose use somebody has to allow, who does or does not.
func testConfirm(t *testing.T, path string, agree bool) {
	conn, key := connect(t, path), newKey(t)
	do(t, conn, "adding", addition{key: key, comment: "key", constraints: []byte{constrainConfirm}}.request(t), true)
	wantKeys(t, conn, "a key to confirm", "key")
	want := byte(agentFailure)
	if agree {
		want = agentSignResponse
	}
	if answer := exchange(t, conn, signFrame(public(t, key), "data", 0)); answer[0] != want {
		t.Errorf("with an answer of %v, a signature is answered with message %d; want %d", agree, answer[0], want)
	}
}
