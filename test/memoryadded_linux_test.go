package test

import (
	"crypto"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/test/witness"
)

// An adder is a daemon to which real programs add keys of each kind.
type adder struct {
	*keeper
	files    []string                    // of the private keys
	matchers map[string]*witness.Matcher // by the kind of key
}

func startAdder(t *testing.T, latchkey string) *adder {
	t.Helper()
	k := startKeeper(t, startServer(t, nil), "ada", ed25519Key(t), latchkey, "agent")
	a := &adder{keeper: k, matchers: map[string]*witness.Matcher{}}
	var all []witness.Secret
	for kind, make := range map[string]func(testing.TB) crypto.Signer{"ed25519": ed25519Key, "ecdsa": ecdsaKey, "rsa": rsaKey} {
		key := make(t)
		secrets, err := witness.MemorySecrets(key)
		if err != nil {
			t.Fatal(err)
		}
		private, public := encodeKey(t, key)
		a.files = append(a.files, k.w.Write(t, kind, string(private)))
		k.w.Write(t, kind+".pub", public+"\n")
		a.matchers[kind] = witness.NewMatcher(secrets...)
		all = append(all, secrets...)
	}
	k.matcher = witness.NewMatcher(all...)
	return a
}

// add adds the keys with ssh-add.
func (a *adder) add(t *testing.T, flags ...string) {
	t.Helper()
	a.w.Run(t, "ssh-add", append(append([]string{"-q"}, flags...), a.files...)...)
	if h := a.holds(t.Context(), t); h.Added != len(a.files) && len(flags) == 0 {
		t.Fatalf("the daemon says that it holds %d added keys; want %d", h.Added, len(a.files))
	}
}

// sign makes so many signatures with each key, with ssh-keygen, by the agent.
func (a *adder) sign(t *testing.T, each int) {
	t.Helper()
	for _, file := range a.files {
		a.w.Run(t, "sh", "-ec", fmt.Sprintf(
			`mv %[1]s %[1]s.away; i=0; while [ $i -lt %[2]d ]; do echo $i | ssh-keygen -q -Y sign -n git -f %[1]s.pub > %[1]s.sig; i=$((i+1)); done; mv %[1]s.away %[1]s`, file, each))
		if signature := readFile(t, file+".sig"); !strings.HasPrefix(signature, "-----BEGIN SSH SIGNATURE-----") {
			t.Fatalf("ssh-keygen signed %q", signature)
		}
	}
}

// Of keys that ssh-add has added nothing is in any memory of the daemon that can be
// read: neither while it holds them nor when they are gone, in whatever way.
func TestMemoryHoldsNoCopyOfAddedKeys(t *testing.T) {
	needRoot(t, "it reads the memory of a process that nobody else may look into")
	a := startAdder(t, program(t, "latchkey"))
	a.add(t)
	a.rests(t, "after loading")
	a.sign(t, memorySignatures)
	a.rests(t, "after signing")
	a.w.Run(t, "ssh-add", "-q", "-d", a.files[0])
	a.rests(t, "after the removal of one")
	a.w.Run(t, "ssh-add", "-q", "-D")
	a.forgets(t)
	a.rests(t, "after the removal of all")

	a.add(t, "-t", "1")
	// Nobody asks: the log says when each is gone, and what it left is erased.
	a.await(t, regexp.MustCompile(`(?s)(its lifetime is over.*){3}`))
	a.rests(t, "after the end of their lifetime")
	if h := a.holds(t.Context(), t); h.Added != 0 {
		t.Errorf("the daemon says that it holds %d added keys after their lifetime; want none", h.Added)
	}

	a.add(t)
	a.sign(t, 1)
	a.signal(syscall.SIGUSR1)
	a.forgets(t)
	a.rests(t, "after SIGUSR1")
}

// The same look finds a key of each kind in a daemon that is built to leave copies.
// Chance may have one overwritten, or its page given back, before it is looked for: so
// all is done again for those that were not found yet.
func TestMemorySeesCopiesOfAddedKeys(t *testing.T) {
	needRoot(t, "it reads the memory of a process that nobody else may look into")
	a := startAdder(t, plainProgram(t))
	for end := time.Now().Add(patience); len(a.matchers) > 0; {
		a.add(t)
		a.sign(t, 5)
		a.w.Run(t, "ssh-add", "-q", "-D")
		a.forgets(t)
		for kind, matcher := range a.matchers {
			found, err := witness.Memory(matcher, a.pid())
			if err != nil {
				t.Error(err)
			}
			switch {
			case len(found) > 0:
				delete(a.matchers, kind)
			case time.Now().After(end):
				t.Fatalf("a daemon that leaves copies has signed with an %s key, which is removed, and never was any found: this test cannot see", kind)
			}
		}
	}
}

// plainProgram is a latchkey that leaves copies: built without the experiment
// that erases.
func plainProgram(t *testing.T) string {
	t.Helper()
	plain := filepath.Join(openDir(t), "latchkey")
	build := exec.Command("go", "build", "-trimpath", "-tags=urfave_cli_no_docs", "-o", plain, "../cmd/latchkey")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOEXPERIMENT=", "GOFLAGS=", "GOTMPDIR=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return plain
}
