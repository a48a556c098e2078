package test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/test/witness"
)

// memorySignatures is how many signatures a daemon makes before its memory is
// looked through: each may leave copies of its own.
const memorySignatures = 30

// A keeper is a workspace daemon whose user's key the test knows.
type keeper struct {
	*process
	w       *workspace
	public  ssh.PublicKey
	matcher *witness.Matcher
}

// startKeeper starts a daemon for a new user with this key. The token is in its
// environment, out of which it has to take it. argv is the command that becomes
// the daemon.
func startKeeper(t *testing.T, s *server, user string, key crypto.Signer, argv ...string) *keeper {
	t.Helper()
	private, line := encodeKey(t, key)
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := witness.MemorySecrets(key)
	if err != nil {
		t.Fatal(err)
	}
	w := s.newUser(t, user, private).newWorkspace(t, user, nil)
	w.Env = slices.DeleteFunc(w.Env, func(v string) bool { return strings.HasPrefix(v, "LATCHKEY_TOKEN_FILE=") })
	w.Setenv("LATCHKEY_TOKEN", w.Token)
	w.Setenv("GOTRACEBACK", "crash") // else Go ends at SIGABRT without dumping core
	cmd := w.command(context.Background(), t, argv[0], argv[1:]...)
	p, _ := start(t, cmd, regexp.MustCompile(`msg=ready`))
	return &keeper{p, w, public, witness.NewMatcher(secrets...)}
}

func (k *keeper) pid() int { return k.cmd.Process.Pid }

// file is the path of a file in the daemon's directory of /proc.
func (k *keeper) file(name string) string { return fmt.Sprintf("/proc/%d/%s", k.pid(), name) }

// sign makes signatures through the daemon's socket.
func (k *keeper) sign(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("unix", k.w.AgentSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a := agent.NewClient(conn)
	flags := agent.SignatureFlags(0)
	if k.public.Type() == ssh.KeyAlgoRSA {
		flags = agent.SignatureFlagRsaSha512
	}
	for i := range memorySignatures {
		sum := sha256.Sum256(fmt.Appendf(nil, "what is to be signed, %d", i))
		data := append([]byte("SSHSIG\x00\x00\x00\x03git\x00\x00\x00\x00\x00\x00\x00\x06sha256\x00\x00\x00\x20"), sum[:]...)
		signature, err := a.SignWithFlags(k.public, data, flags)
		if err == nil {
			err = k.public.Verify(data, signature)
		}
		if err != nil {
			t.Fatalf("signature %d: %v", i, err)
		}
	}
}

// A holding is what a daemon says of the private keys in its memory.
type holding struct {
	Held     *int // of the server
	Added    int  // by clients
	Readable int  // of both: they signed a moment ago
	Process  struct{ Memory string }
}

// holds asks the daemon what it holds.
func (k *keeper) holds(ctx context.Context, t *testing.T) (h holding) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(k.w.Runtime, "control.sock"))
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://daemon/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatalf("asking the daemon what it holds: %v", err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&h); err != nil || h.Held == nil {
		t.Fatalf("the daemon does not say what it holds: %s, %v", answer.Status, err)
	}
	return h
}

// held is how many private keys of the server the daemon holds.
func (k *keeper) held(ctx context.Context, t *testing.T) int {
	t.Helper()
	return *k.holds(ctx, t).Held
}

// until waits until what the daemon says it holds is so.
func (k *keeper) until(t *testing.T, so func(holding) bool) holding {
	t.Helper()
	deadline, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		if h := k.holds(deadline, t); so(h) {
			return h
		}
	}
}

// forgets waits until the daemon says that it holds no key.
func (k *keeper) forgets(t *testing.T) {
	t.Helper()
	k.until(t, func(h holding) bool { return *h.Held == 0 && h.Added == 0 })
}

// rests waits until the daemon says that of the keys which it holds nothing can
// be read, and looks.
func (k *keeper) rests(t *testing.T, when string) {
	t.Helper()
	h := k.until(t, func(h holding) bool { return h.Readable == 0 })
	if m := h.Process.Memory; m != "memfd_secret" && !strings.Contains(m, "sealed") {
		lacks(t, "the kernel has no memfd_secret(2): what a daemon holds can be read by root")
	}
	if found := k.look(t); len(found) > 0 {
		t.Errorf("%s, this of the keys is in the daemon's memory:\n%s", when, lines(found))
	}
}

// look looks through the daemon's memory.
func (k *keeper) look(t *testing.T) []witness.Finding {
	t.Helper()
	found, err := witness.Memory(k.matcher, k.pid())
	if err != nil {
		t.Error(err)
	}
	return found
}

// lockedMemory is how many bytes of the daemon's memory are neither swapped nor
// dumped.
func (k *keeper) lockedMemory(t *testing.T) (bytes int64) {
	t.Helper()
	smaps, err := os.ReadFile(k.file("smaps"))
	if err != nil {
		t.Fatal(err)
	}
	var low, high int64
	for line := range strings.Lines(string(smaps)) {
		var a, b int64
		if n, _ := fmt.Sscanf(line, "%x-%x ", &a, &b); n == 2 {
			low, high = a, b
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok {
			if f := strings.Fields(flags); slices.Contains(f, "lo") && slices.Contains(f, "dd") {
				bytes += high - low
			}
		}
	}
	return bytes
}

// The kinds of key, and the ways in which a daemon comes to forget one.
var memoryCases = []struct {
	name   string
	key    func(testing.TB) crypto.Signer
	idle   string
	forget func(*keeper)
}{
	{"ed25519 told to forget", ed25519Key, "24h", func(k *keeper) { k.signal(syscall.SIGUSR1) }},
	{"ecdsa told to forget", ecdsaKey, "24h", func(k *keeper) { k.signal(syscall.SIGUSR1) }},
	{"rsa told to forget", rsaKey, "24h", func(k *keeper) { k.signal(syscall.SIGUSR1) }},
	{"ed25519 idle for a moment", ed25519Key, "200ms", func(*keeper) {}},
	{"ed25519 forgotten at once", ed25519Key, "0", func(*keeper) {}},
}

// A moment after it has signed with a key, no form of it is in any memory of the
// daemon that can be read; once it says that it holds no key, there is none.
func TestMemoryHoldsNoCopy(t *testing.T) {
	needRoot(t, "it reads the memory of a process that nobody else may look into")
	s := startServer(t, nil)
	for i, tt := range memoryCases {
		t.Run(tt.name, func(t *testing.T) {
			k := startKeeper(t, s, fmt.Sprint("ada", i), tt.key(t), program(t, "latchkey"), "agent", "--idle", tt.idle)
			k.sign(t)
			if tt.idle == "24h" {
				k.rests(t, "a moment after the key has signed, and while it is held")
			}
			tt.forget(k)
			k.forgets(t)
			if found := k.look(t); len(found) > 0 {
				t.Errorf("the daemon holds no key, and this of it is in its memory:\n%s", lines(found))
			}
			// It signs again, so it is the program that works which was looked at.
			k.sign(t)
		})
	}
}

// The same look finds the key in a daemon that is built to leave copies: without
// the experiment that erases.
func TestMemorySeesCopies(t *testing.T) {
	needRoot(t, "it reads the memory of a process that nobody else may look into")
	plain := plainProgram(t)
	s := startServer(t, nil)
	for i, tt := range memoryCases[:3] {
		t.Run(tt.name, func(t *testing.T) {
			k := startKeeper(t, s, fmt.Sprint("ada", i), tt.key(t), plain, "agent", "--idle", tt.idle)
			if !strings.Contains(k.said(), "built without GOEXPERIMENT=runtimesecret") {
				t.Errorf("the daemon does not say what this build lacks:\n%s", k.said())
			}
			// Chance may have them overwritten, or their page given back, before they are
			// looked for.
			end := time.Now().Add(patience)
			for k.sign(t); len(k.look(t)) == 0; k.sign(t) {
				if time.Now().After(end) {
					t.Fatal("a daemon that leaves copies has signed again and again, and none was found: this test cannot see")
				}
			}
		})
	}
}

// While the daemon holds a key, that is in locked memory which is not dumped,
// and no other process of the same user can look at it, or at the token.
func TestMemoryIsShut(t *testing.T) {
	needRoot(t, "the workspace has to belong to another user than the test")
	s := startServer(t, nil)
	k := startKeeper(t, s, "ada", ed25519Key(t), program(t, "latchkey"), "agent", "--idle", "24h")
	before := k.lockedMemory(t)
	k.sign(t)
	if n := k.held(t.Context(), t); n != 1 {
		t.Fatalf("the daemon holds %d keys after signing; want 1", n)
	}
	page := int64(os.Getpagesize())
	if during := k.lockedMemory(t); during != before+page {
		t.Errorf("%d bytes are locked and not dumped, %d without the key; want a page more", during, before)
	}
	for _, name := range []string{"mem", "environ", "maps", "fd/0"} {
		if out, err := k.w.Try(t, "head", "-c", "1", k.file(name)); err == nil || !strings.Contains(out, "Permission denied") {
			t.Errorf("another process of the same user reads %s: %v, %s; want permission denied", name, err, out)
		}
	}
	if out, err := k.w.Try(t, need(t, "strace"), "-p", fmt.Sprint(k.pid())); err == nil || !strings.Contains(out, "Operation not permitted") {
		t.Errorf("another process of the same user attaches: %v, %s; want operation not permitted", err, out)
	}
	// It can do so with a process that is not hardened, or this shows nothing.
	sleep := k.w.Command(t, "sleep", "86400")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		sleep.Process.Kill()
		sleep.Wait()
	}()
	if out, err := k.w.Try(t, "head", "-c", "1", fmt.Sprintf("/proc/%d/environ", sleep.Process.Pid)); err != nil {
		t.Errorf("another process of the same user cannot read environ of one that is not hardened: %v, %s", err, out)
	}
	environ, err := os.ReadFile(k.file("environ"))
	if err != nil || !strings.Contains(string(environ), "LATCHKEY_URL=") || strings.Contains(string(environ), k.w.Token[len("lk_w_"):]) {
		t.Errorf("root reads environ of the daemon: %v, %q; want one without the token", err, environ)
	}
	if cmdline, err := os.ReadFile(k.file("cmdline")); err != nil || strings.Contains(string(cmdline), k.w.Token[len("lk_w_"):]) {
		t.Errorf("the daemon's arguments are %q, %v; want no token in them", cmdline, err)
	}
	k.signal(syscall.SIGUSR1)
	k.forgets(t)
	if after := k.lockedMemory(t); after != before {
		t.Errorf("%d bytes are locked after the key was forgotten; want %d, as before", after, before)
	}
}

// A daemon that crashes leaves no core file, whatever limit it was started with.
func TestMemoryIsNotDumped(t *testing.T) {
	needRoot(t, "the workspace has to belong to another user than the test")
	s := startServer(t, nil)
	dumping := []string{"sh", "-c", `ulimit -c unlimited && exec "$@"`, "sh"}
	k := startKeeper(t, s, "ada", ed25519Key(t), append(dumping, program(t, "latchkey"), "agent", "--idle", "24h")...)
	// Here a process that is not hardened does dump core, or this shows nothing.
	control := k.w.Command(t, dumping[0], append(dumping[1:], "sh", "-c", "kill -ABRT $$")...)
	control.Run()
	if !dumpedCore(control) {
		lacks(t, fmt.Sprintf("no process dumps core here: %v", control.ProcessState))
	}
	k.sign(t)
	syscall.Kill(k.pid(), syscall.SIGABRT)
	<-k.exited
	if dumpedCore(k.cmd) {
		t.Errorf("the daemon ended with %v; want no core dumped", k.cmd.ProcessState)
	}
}

func dumpedCore(cmd *exec.Cmd) bool {
	return cmd.ProcessState.Sys().(syscall.WaitStatus).CoreDump()
}

func lines(found []witness.Finding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}
