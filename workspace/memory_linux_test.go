package workspace

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"strings"
	"testing"

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

// TestMemory reads all memory of a process that has used a key. In a build that
// erases, nothing of the key is there once it is forgotten. In one that does
// not, much is there while it signs, which shows that the test would find it.
func TestMemory(t *testing.T) {
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
			matcher := witness.NewMatcher(memorySecrets(t, key.private)...)
			order("sign")
			found := findInMemory(t, cmd.Process.Pid, matcher)
			if !harden.Erases() && len(found) == 0 {
				t.Error("in a build that does not erase, nothing of the key was found after it had signed: this test cannot see")
			}
			order("forget")
			if found := findInMemory(t, cmd.Process.Pid, matcher); harden.Erases() && len(found) > 0 {
				t.Errorf("after the key was forgotten, these are in memory: %s", strings.Join(found, "; "))
			}
		})
	}
}

// memorySecrets adds to what gives a key away the forms that computing with it
// makes of it in memory.
func memorySecrets(t *testing.T, key crypto.Signer) []witness.Secret {
	t.Helper()
	secrets, err := witness.Secrets(key)
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := key.(ed25519.PrivateKey); ok {
		hash := sha512.Sum512(key.Seed())
		// SHA-512 takes its input as big-endian words, and has its state as words.
		secrets = append(secrets, witness.Secret{Name: "seed as SHA-512's words", Bytes: inWords(key.Seed())},
			witness.Secret{Name: "scalar as SHA-512's state", Bytes: inWords(hash[:32])},
			witness.Secret{Name: "prefix as SHA-512's state", Bytes: inWords(hash[32:])})
	}
	return secrets
}

// inWords is b as 64-bit words of this machine that were read big-endian.
func inWords(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i += 8 {
		out = binary.NativeEndian.AppendUint64(out, binary.BigEndian.Uint64(b[i:]))
	}
	return out
}

// maxMapping bounds the mappings that are looked through in builds that need not
// be clean.
const maxMapping = 256 << 20

// findInMemory looks through every mapping of a process.
func findInMemory(t *testing.T, pid int, m *witness.Matcher) (found []string) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	var read int64
	piece := make([]byte, 1<<20)
	for line := range strings.Lines(string(maps)) {
		var low, high int64
		var perms string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &low, &high, &perms); n != 3 || perms[0] != 'r' {
			continue
		}
		if high-low > maxMapping && !harden.Erases() {
			continue // the race detector's
		}
		stream := m.Stream()
		for at := low; at < high; at += int64(len(piece)) {
			n, _ := mem.ReadAt(piece[:min(int64(len(piece)), high-at)], at) // memfd_secret and [vvar] cannot be read
			read += int64(n)
			for _, form := range stream.Write(piece[:n]) {
				if what := form + " in " + strings.TrimSpace(line); !slices.Contains(found, what) {
					found = append(found, what)
				}
			}
		}
	}
	if read < 1<<20 {
		t.Fatalf("read %d bytes of memory of process %d: that cannot be all", read, pid)
	}
	return found
}
