package workspace

import (
	"crypto/elliptic"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Whatever a server sends, what is kept is the key that was asked for.
func FuzzKeep(f *testing.F) {
	keys := []testKey{newEd25519(f), newECDSA(f, "p256", elliptic.P256()), newECDSA(f, "p521", elliptic.P521()), newRSA(f, 2048)}
	for i, key := range keys {
		f.Add(i, key.der(f))
		f.Add(i+1, key.der(f))
	}
	f.Fuzz(func(t *testing.T, i int, der []byte) {
		public := keys[uint(i)%uint(len(keys))].public
		kept, err := keep(der, public)
		if err != nil {
			return
		}
		expanded, err := expand(public.Type(), kept)
		if err != nil {
			t.Fatalf("a key that was kept does not expand: %v", err)
		}
		if got, err := ssh.NewPublicKey(expanded.Public()); err != nil || !samePublic(got, public) {
			t.Errorf("the kept key has the public key %v, %v; want %v", got, err, public)
		}
	})
}
