package sshagent

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
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
		if !bytes.Contains(given, a.private) || !bytes.Contains(given, []byte(a.comment)) {
			t.Error("the request has not what was read of it")
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
	key := public(f, testKeys()["ecdsa"])
	keys := []hopKey{{key.Marshal(), false}, {public(f, testKeys()["rsa"]).Marshal(), true}}
	here := destination{to: hop{"g*", "a", keys}}
	for _, list := range [][]destination{{here}, {here, {from: hop{"", "a", keys}, to: hop{"", "b", keys}}}} {
		f.Add(restrictTo(list...)[1+4+len(extRestrictDestination):], "git")
	}
	f.Fuzz(func(t *testing.T, b []byte, user string) {
		list, rest, err := cutDestinations(b)
		if err != nil {
			return
		}
		var all []byte
		for _, d := range list {
			if d.to.host == "" || len(d.to.keys) == 0 || d.from.user != "" || (d.from.host == "") != (len(d.from.keys) == 0) {
				t.Errorf("a destination was taken that leads nowhere: %+v", d)
			}
			all = append(all, restrictTo(d)[1+4+len(extRestrictDestination)+4:]...)
		}
		// Keys may be written in more than one way, and a bool, too.
		if n := len(b) - len(rest); len(all)+4 > n+64*len(list) {
			t.Errorf("%d bytes read as %d", n, len(all)+4)
		}
		allows(list, nil, key, &user)
		allows(list, key, key, nil)
	})
}

// FuzzMatchPattern holds the matcher against one that is plain and slow.
func FuzzMatchPattern(f *testing.F) {
	f.Add("git", "g?*")
	f.Add("aXbXc", "a*b*c")
	f.Fuzz(func(t *testing.T, s, pattern string) {
		if len(s) > 12 || len(pattern) > 12 {
			return
		}
		if got, want := matchPattern(s, pattern), slowMatch(s, pattern); got != want {
			t.Errorf("matchPattern(%q, %q) = %v; want %v", s, pattern, got, want)
		}
	})
}

func slowMatch(s, pattern string) bool {
	switch {
	case pattern == "":
		return s == ""
	case pattern[0] == '*':
		return slowMatch(s, pattern[1:]) || s != "" && slowMatch(s[1:], pattern)
	}
	return s != "" && (pattern[0] == '?' || pattern[0] == s[0]) && slowMatch(s[1:], pattern[1:])
}
