package sshagent

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"testing"
)

func TestParsePrivateKey(t *testing.T) {
	otherEC, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	otherRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys := testKeys()
	others := map[string][]crypto.Signer{
		"ed25519":   {newKey(t), keys["ecdsa"], keys["rsa"]},
		"ecdsa":     {otherEC, keys["ecdsa-521"], keys["ed25519"], keys["rsa"]},
		"ecdsa-521": {keys["ecdsa"]},
		"rsa":       {otherRSA, keys["ecdsa"], keys["ed25519"]},
	}
	for kind, key := range keys {
		pub, private := public(t, key), privateFields(key)
		given := bytes.Clone(private)
		got, err := ParsePrivateKey(pub, private)
		if err != nil || !got.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) {
			t.Errorf("%s: ParsePrivateKey = %T, %v; want the key", kind, got, err)
		}
		if !bytes.Equal(private, given) {
			t.Errorf("%s: ParsePrivateKey changed what it was given", kind)
		}
		for i, other := range others[kind] {
			if _, err := ParsePrivateKey(pub, privateFields(other)); err == nil {
				t.Errorf("%s: ParsePrivateKey takes the private key of another (%d)", kind, i)
			}
		}
		for name, bad := range map[string][]byte{
			"nothing":       nil,
			"a byte less":   private[:len(private)-1],
			"a byte more":   append(bytes.Clone(private), 0),
			"a field more":  append(bytes.Clone(private), 0, 0, 0, 0),
			"empty fields":  make([]byte, 4*len(fieldsOf(private))),
			"what is zero":  appendString(nil, []byte{0}),
			"what is below": appendString(nil, []byte{0xff}),
		} {
			if _, err := ParsePrivateKey(pub, bad); err == nil {
				t.Errorf("%s: ParsePrivateKey takes %s", kind, name)
			}
		}
	}
	if _, err := ParsePrivateKey(hostKey(t, newKey(t)).PublicKey(), privateFields(newKey(t))); err == nil {
		t.Error("ParsePrivateKey takes the private key of another")
	}
}
