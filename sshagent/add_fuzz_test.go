package sshagent

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

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
		head, tail, ok := bytes.Cut(given, appendString(bytes.Clone(a.private), a.comment))
		if !ok {
			t.Fatal("the request has not what was read of it")
		}
		if free := !a.mortal && !a.confirm && a.destinations == nil; (len(tail) == 0) != free || !free && given[0] == agentAddIdentity {
			t.Errorf("the constraints %x are read as %+v", tail, a.constraints)
		}
		if read := 5 + len(a.plain.Type()); len(head) < read {
			t.Errorf("the request begins with %x: too short for a %s", head, a.plain.Type())
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
		if publicKey(a.blob) == nil {
			t.Error("a key was taken whose public key can't be read")
		}
	})
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
	f.Fuzz(func(t *testing.T, b []byte, user string) {
		list, rest, err := cutDestinations(b)
		if err != nil {
			return
		}
		for _, d := range list {
			if d.to.host == "" || len(d.to.keys) == 0 || d.from.user != "" || (d.from.host == "") != (len(d.from.keys) == 0) {
				t.Errorf("a destination was taken that leads nowhere: %+v", d)
			}
		}
		// Keys may be written in more than one way, and a bool, too: what was read,
		// written again, is as long or shorter, and reads the same.
		again := restrictTo(list...)[1+4+len(extRestrictDestination):]
		if n := len(b) - len(rest); len(again) > n+64*len(list) {
			t.Errorf("%d bytes read as %d", n, len(again))
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
