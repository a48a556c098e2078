package workspace

import (
	"bufio"
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"os"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
	"github.com/latchkey/latchkey/test/witness"
)

// signatures is how many a holder makes when told to sign.
const signatures = 20

// holdAKey is the role of a process that fetches a key over TLS, as the daemon
// does, and on orders signs with it and forgets it. It is not hardened: what is
// looked for is what it leaves behind, not who may look.
func holdAKey() {
	if err := holdKey(os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func holdKey(orders io.Reader, answers io.Writer) error {
	ctx := context.Background()
	client, err := api.NewClient(os.Args[1], []byte(os.Getenv("HOLDER_CA")), func() string { return "a token" })
	if err != nil {
		return err
	}
	source := NewSource(client, nil)
	source.eraser.pause = time.Hour // what signatures leave is looked for
	var signer sshagent.Signer
	for lines := bufio.NewScanner(orders); lines.Scan(); {
		switch lines.Text() {
		case "sign":
			keys, err := source.Keys(ctx)
			if err != nil {
				return err
			}
			if signer, err = source.Signer(ctx, keys[0].Public); err != nil {
				return err
			}
			for i := range signatures {
				data := fmt.Appendf(nil, "what is to be signed, %d", i)
				signature, err := signer.Sign(rand.Reader, data)
				if err != nil {
					return err
				}
				if err := keys[0].Public.Verify(data, signature); err != nil {
					return err
				}
			}
		case "forget":
			if err := signer.Close(); err != nil {
				return err
			}
		}
		fmt.Fprintln(answers, "done")
	}
	return nil
}

// TestMemory reads all memory of a process that has used a key: once the key is
// forgotten, nothing of it is there. Before that there is, of the signatures
// just made, which shows that the test would see it.
func TestMemory(t *testing.T) {
	if !harden.Erases() {
		t.Log("this build does not erase: `make erase` runs this test")
		return
	}
	for _, key := range []testKey{newEd25519(t), newECDSA(t, "ecdsa-p256", elliptic.P256()), newRSA(t, 3072)} {
		t.Run(key.name, func(t *testing.T) {
			url, ca := serveTLS(t, &testServer{keys: []testKey{key}})
			cmd := roleCommand("holder", url)
			cmd.Env = append(cmd.Env, "HOLDER_CA="+ca)
			orders, answers := startRole(t, cmd)
			order := func(what string) {
				t.Helper()
				fmt.Fprintln(orders, what)
				if line, err := answers.ReadString('\n'); line != "done\n" {
					t.Fatalf("ordered to %s, the process said %q, %v; want done", what, line, err)
				}
			}
			secrets, err := witness.MemorySecrets(key.private)
			if err != nil {
				t.Fatal(err)
			}
			matcher := witness.NewMatcher(secrets...)
			look := func() []witness.Finding {
				t.Helper()
				found, err := witness.Memory(matcher, cmd.Process.Pid)
				if err != nil {
					t.Errorf("not all memory was looked through: %v", err)
				}
				return found
			}
			order("sign")
			if len(look()) == 0 {
				t.Error("nothing of the key was found after it had signed: this test cannot see")
			}
			order("forget")
			if found := look(); len(found) > 0 {
				t.Errorf("after the key was forgotten, these are in memory: %v", found)
			}
		})
	}
}
