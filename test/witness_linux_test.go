package test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/test/witness"
)

// leaking builds the helper that leaks.
var leaking = sync.OnceValue(func() error { return build("./leak") })

// A subject is a way to work with git that the witnesses watch.
type subject struct {
	name   string
	key    crypto.Signer
	daemon bool      // is the workspace daemon there?
	helper string    // the way to leak, "" for our own helper
	sees   []string  // the witnesses that see the key, sorted
	call   string    // the system call in which the trace sees it
	since  time.Time // search the whole machine for what was written since then; zero: only where the programs work
}

// While git clones, pushes and fetches for real, no witness sees the private
// key outside of memory: not with the workspace daemon, nor without. One search
// of the whole machine, at the end of the second, serves for both.
func TestKeyStaysInMemory(t *testing.T) {
	began, key := time.Now(), ed25519Key(t)
	for _, s := range []subject{
		{name: "without a daemon", key: key},
		{name: "with a daemon", key: key, daemon: true, since: began},
		{name: "ECDSA", key: ecdsaKey(t), daemon: true},
		{name: "RSA", key: rsaKey(t)},
	} {
		t.Run(s.name, func(t *testing.T) { testWitnesses(t, s) })
	}
}

// The same witnesses do see it, each where it can, when the helper leaks it.
func TestWitnessesSeeLeaks(t *testing.T) {
	const trace, watch, search = "trace", "watch", "search"
	for _, s := range []subject{
		{helper: "file", sees: []string{trace, watch}, call: "write"}, // the file is gone when the search begins
		{helper: "shm", sees: []string{trace, watch}, call: "write"},
		{helper: "unnamed", sees: []string{trace, watch}, call: "write"},
		{helper: "memfd", sees: []string{trace}, call: "memfd_create"},
		{helper: "map", sees: []string{search, trace, watch}, call: "mmap"},
		{helper: "environment", sees: []string{trace}, call: "execve"},
		{helper: "argument", sees: []string{trace}, call: "execve"},
		{helper: "datagram", sees: []string{trace}, call: "connect"},
		{helper: "base64", sees: []string{search, trace, watch}, call: "write"},
		{helper: "hex", sees: []string{search, trace, watch}, call: "write"},
		{helper: "reversed", sees: []string{search, trace, watch}, call: "write"},
		{helper: "reversed-hex", sees: []string{search, trace, watch}, call: "write"},
	} {
		s.key = ed25519Key(t)
		t.Run(s.helper, func(t *testing.T) {
			t.Parallel() // each has a key of its own
			testWitnesses(t, s)
		})
	}
}

// testWitnesses works with git as a subject does and holds what the witnesses
// saw against what they should have.
func testWitnesses(t *testing.T, s subject) {
	needRoot(t, "the witnesses look into every process and every file system")
	secrets, err := witness.Secrets(s.key)
	if err != nil {
		t.Fatal(err)
	}
	m := witness.NewMatcher(secrets...)
	began := time.Now()
	watch, err := witness.NewWatch(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { watch.Stop() }) // also if git fails
	trace := witness.NewTrace(m, need(t, "strace"), t.TempDir())
	dirs := workWithGit(t, s, trace)
	where := append([]string{"/dev/shm"}, dirs...)

	var saw []witness.Finding
	collect := func(found []witness.Finding, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("a witness did not see everything: %v", err)
		}
		saw = append(saw, found...)
	}
	collect(trace.Findings())
	collect(watch.Stop())
	if !s.since.IsZero() {
		began, where = s.since, nil
	}
	found, files, err := witness.Search(m, began, where...)
	collect(found, err)
	awake(t, s, trace, watch, dirs, files)

	var who []string
	for _, f := range saw {
		who = append(who, f.Witness)
	}
	slices.Sort(who)
	if who = slices.Compact(who); !slices.Equal(who, s.sees) {
		t.Errorf("the key was seen by %q; want %q", who, s.sees)
	}
	if s.call != "" && !slices.ContainsFunc(saw, func(f witness.Finding) bool {
		return f.Witness == "trace" && strings.HasPrefix(f.Where, s.call+" ")
	}) {
		t.Errorf("the trace did not see the key in %s", s.call)
	}
	if t.Failed() {
		for _, f := range saw {
			t.Log(f)
		}
	}
}

// awake checks that the witnesses looked at all: one that sees nothing proves
// nothing.
func awake(t *testing.T, s subject, trace *witness.Trace, watch *witness.Watch, dirs []string, searched int) {
	t.Helper()
	programs := []string{"latchkeyd", "sshd", "git", "ssh", "git-upload-pack", "git-receive-pack"}
	if s.helper == "" {
		programs = append(programs, "latchkey")
	}
	for _, name := range programs {
		if !trace.Ran(name) {
			t.Errorf("the trace did not see %s run", name)
		}
	}
	for _, dir := range dirs {
		if !slices.ContainsFunc(watch.Files(), func(path string) bool { return strings.HasPrefix(path, dir+"/") }) {
			t.Errorf("the watch saw no file change in %s", dir)
		}
	}
	if searched == 0 {
		t.Error("the search found no file to look into")
	}
}

// workWithGit lets a user with the subject's key clone, push and fetch, every program
// traced. It returns the directories in which all of it was; they exist until
// the test ends.
func workWithGit(t *testing.T, s subject, trace *witness.Trace) (dirs []string) {
	traced := func(argv []string) []string {
		wrapped, err := trace.Wrap(argv)
		if err != nil {
			t.Error(err)
			return argv
		}
		return wrapped
	}
	trace.AllowShared(func(path string) bool { // SQLite's index of its write-ahead log: page numbers
		return strings.HasSuffix(path, "/latchkeyd/latchkey.db-shm")
	})
	server := startServer(t, traced)
	trace.AllowConnect(func(address string) bool { return "https://"+address == server.URL })
	forge := startSSHD(t, traced, "KexAlgorithms curve25519-sha256") // the quickest
	trace.AllowConnect(func(address string) bool { return address == fmt.Sprint("127.0.0.1:", forge.Port) })
	// Where the C library and sshd ask for names, and log.
	trace.AllowConnect(func(address string) bool {
		return slices.Contains([]string{"/var/run/nscd/socket", "/dev/log"}, address) || strings.HasPrefix(address, "/run/systemd/")
	})

	pem, public := encodeKey(t, s.key)
	forge.Authorize(t, public)
	repository := forge.Repository(t, "app")
	w := server.newUser(t, "ada", pem).newWorkspace(t, "main", traced)
	trace.AllowConnect(func(address string) bool { return strings.HasPrefix(address, w.Dir+"/") })
	config := w.Knows(t, forge, "forge")
	if s.helper != "" {
		if err := leaking(); err != nil {
			t.Fatal(err)
		}
		w.Setenv("GIT_SSH_COMMAND", "leak "+s.helper+" -F "+config)
	}
	var daemon *process
	if s.daemon {
		daemon = w.StartDaemon(t)
	}
	w.Run(t, "git", "clone", "-q", "forge:"+repository, "app")
	w.Run(t, "git", "-C", "app", "commit", "-q", "--allow-empty", "-m", "second")
	w.Run(t, "git", "-C", "app", "push", "-q")
	w.Run(t, "git", "-C", "app", "fetch", "-q")
	if daemon != nil {
		daemon.stop(t)
	}
	server.stop(t)
	forge.stop()
	return []string{server.Dir, forge.Dir, w.Dir}
}

func ed25519Key(t testing.TB) crypto.Signer {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ecdsaKey(t testing.TB) crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t testing.TB) crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
