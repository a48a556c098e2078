package sshagent

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/sshpattern"
)

// FuzzAdd adds keys. What is taken must be listed, sign for the public key that
// it came with, and be of what the request had, but for its private fields.
func FuzzAdd(f *testing.F) {
	restriction := restrictTo(destination{to: hop{"git", "a", []hopKey{{public(f, testKeys()["ecdsa"]).Marshal(), true}}}})
	for _, key := range testKeys() {
		for _, c := range []*ssh.Certificate{nil, certify(f, key, ssh.UserCert, "somebody")} {
			f.Add(addition{key: key, certificate: c, comment: "comment"}.request(f))
			f.Add(addition{key: key, certificate: c, constraints: slices.Concat(lifetime(60), restriction)}.request(f))
		}
	}
	f.Add(appendString([]byte{agentAddIdentity}, ssh.KeyAlgoSKED25519))
	// What is to be refused.
	f.Add(append(addition{key: fuzzKey()}.request(f), 0))
	f.Add(addition{key: fuzzKey(), comment: strings.Repeat("c", maxComment+1)}.request(f))
	f.Add(addition{key: fuzzKey(), certificate: certify(f, testKeys()["ed25519"], ssh.UserCert)}.request(f))
	f.Add(addition{key: fuzzKey(), certificate: certify(f, fuzzKey(), ssh.UserCert, strings.Repeat("p", maxBlob))}.request(f))
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(addition{key: small}.request(f))
	unknown := appendString([]byte{constrainExtension}, "unknown")
	for _, list := range [][]byte{unknown, {constrainConfirm, constrainConfirm}, slices.Concat(lifetime(2), lifetime(1)), slices.Concat(restriction, restriction)} {
		f.Add(addition{key: fuzzKey(), constraints: slices.Concat(lifetime(60), list)}.request(f))
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		if len(request) == 0 || request[0] != agentAddIdentity && request[0] != agentAddIDConstrained {
			return
		}
		given := bytes.Clone(request)
		a, err := parseAdd(request)
		if !bytes.Equal(request, given) {
			t.Fatal("parseAdd changed what it was given")
		}
		if err != nil {
			return
		}
		if err := a.isOf(given); err != nil {
			t.Errorf("it is read as %+v: %v", a, err)
		}
		if len(a.comment) > maxComment || len(a.blob) > maxBlob || a.plain.Type() == ssh.KeyAlgoRSA && rsaKey(a.plain).N.BitLen() < minRSABits {
			t.Errorf("a key was taken that is beyond a bound: %+v", a)
		}
		blob, comment := bytes.Clone(a.blob), strings.Clone(a.comment)
		signer, err := keepPlain(a.plain, a.private)
		clear(request) // as after the request
		if !bytes.Equal(blob, a.blob) || comment != a.comment {
			t.Error("what was read shares the memory of what is wiped")
		}
		if err != nil {
			return
		}
		if err := tryKey(signer, a.plain); err != nil {
			t.Errorf("a key was taken that does not sign: %v", err)
		}
		listed := publicKey(a.blob)
		if certificate, ok := listed.(*ssh.Certificate); ok {
			listed = certificate.Key
		}
		if listed == nil || !bytes.Equal(listed.Marshal(), a.plain.Marshal()) {
			t.Error("a key was taken that is listed as another, or as none")
		}
	})
}

// isOf says what of a request to add a key was not read so.
func (a *addRequest) isOf(request []byte) error {
	fields := appendString(bytes.Clone(a.private), a.comment)
	begin := 5 + len(a.plain.Type()) // at least, then comes the public key
	for at := begin; at < len(request); at++ {
		if tail, ok := bytes.CutPrefix(request[at:], fields); ok && a.constraints.are(tail) && (len(tail) == 0 || request[0] != agentAddIdentity) {
			return nil
		}
	}
	return errors.New("it does not end in these private fields, comment and constraints, and nothing else")
}

// are reports whether a tail of a request holds the constraints, each once, and
// nothing else.
func (c *constraints) are(tail []byte) bool {
	if c.destinations != nil {
		before, after, ok := bytes.Cut(tail, appendString([]byte{constrainExtension}, extRestrictDestination))
		_, after, isList := cutString(after)
		if !ok || !isList {
			return false
		}
		tail = slices.Concat(before, after)
	}
	var life, confirm []byte
	if c.mortal {
		life = lifetime(uint32(c.lifetime / time.Second))
	}
	if c.confirm {
		confirm = []byte{constrainConfirm}
	}
	return bytes.Equal(tail, slices.Concat(life, confirm)) || bytes.Equal(tail, slices.Concat(confirm, life))
}

// FuzzDestinations holds what is read of a restriction against the restriction,
// and looks for a way that leads nowhere, or for a panic in taking it.
func FuzzDestinations(f *testing.F) {
	key := public(f, fuzzKey())
	keys := []hopKey{{key.Marshal(), false}, {public(f, testKeys()["rsa"]).Marshal(), true}}
	here := destination{to: hop{"g*", "a", keys}}
	for _, list := range [][]destination{{here}, {here, {from: hop{"", "a", keys}, to: hop{"", "b", keys}}}} {
		f.Add(restrictTo(list...)[1+4+len(extRestrictDestination):], "git")
		f.Add(restrictTo(list...)[1+4+len(extRestrictDestination):], "root")
	}
	// What is to be refused: fields that nobody knows, too long a pattern, and one
	// that starts as a user.
	for _, fields := range [][]string{
		{string(hop{}.wire()), string(here.to.wire()), "x"},
		{string(hop{}.wire()), string(here.to.wire()), "", ""},
		{string(appendString(make([]byte, 8), "x")), string(here.to.wire()), ""},
		{string(hop{}.wire()), string(hop{strings.Repeat("u", maxPattern+1), "a", keys}.wire()), ""},
		{string(hop{"u", "b", keys}.wire()), string(here.to.wire()), ""},
	} {
		var one []byte
		for _, field := range fields {
			one = appendString(one, field)
		}
		f.Add(appendString(nil, appendString(nil, one)), "git")
	}
	f.Fuzz(func(t *testing.T, b []byte, user string) {
		list, rest, err := cutDestinations(b)
		if err != nil {
			return
		}
		read, canonical := b[:len(b)-len(rest)], true
		for _, d := range list {
			if d.to.host == "" || len(d.to.keys) == 0 || d.from.user != "" || (d.from.host == "") != (len(d.from.keys) == 0) {
				t.Errorf("a destination was taken that leads nowhere: %+v", d)
			}
			if len(d.to.user) > maxPattern {
				t.Errorf("a pattern of %d bytes was taken", len(d.to.user))
			}
			for _, k := range slices.Concat(d.from.keys, d.to.keys) {
				canonical = canonical && bytes.Contains(read, k.blob)
			}
		}
		// Keys may be written in more than one way, and a bool, too: but for that, it
		// is what was read, written again; and it reads the same.
		again := restrictTo(list...)[1+4+len(extRestrictDestination):]
		if canonical && !bytes.Equal(withBools(read, again), again) {
			t.Errorf("%x reads as %x", read, again)
		}
		if same, left, err := cutDestinations(again); err != nil || len(left) > 0 || !reflect.DeepEqual(same, list) {
			t.Errorf("%+v, written again, reads as %+v, %v", list, same, err)
		}
		if len(user) > 12 {
			return
		}
		for _, from := range []ssh.PublicKey{nil, key} {
			if got, want := allows(list, from, key, &user), slowAllows(list, from, key, user); got != want {
				t.Errorf("allows(%+v, %v, KEY, %q) = %v; want %v", list, from, user, got, want)
			}
		}
	})
}

// withBools is what was read with its bools, which may be any number but 0, as they
// are written again.
func withBools(read, again []byte) []byte {
	read = bytes.Clone(read)
	for i := range min(len(read), len(again)) {
		if again[i] == 1 && read[i] > 1 {
			read[i] = 1
		}
	}
	return read
}

// slowAllows is allows for a plain key of a host.
func slowAllows(list []destination, from, to ssh.PublicKey, user string) bool {
	has := func(h hop, key ssh.PublicKey) bool {
		return slices.ContainsFunc(h.keys, func(k hopKey) bool { return !k.ca && string(k.blob) == string(key.Marshal()) })
	}
	return slices.ContainsFunc(list, func(d destination) bool {
		if from == nil && d.from.host != "" || from != nil && !has(d.from, from) {
			return false
		}
		return has(d.to, to) && (d.to.user == "" || sshpattern.Match(d.to.user, user))
	})
}
