package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver/api"
)

// newSecretWorkspace is a workspace of a new user on a new server, in which the
// user is logged in too.
func newSecretWorkspace(t testing.TB, name string) *workspace {
	t.Helper()
	w := startServer(t, nil).newUser(t, name, nil).newWorkspace(t, "dev", nil)
	w.Setenv("LATCHKEY_SESSION_TOKEN", w.user.Token)
	return w
}

// Pipe runs a command with something on its stdin, which must succeed.
func (w *workspace) Pipe(t testing.TB, stdin []byte, name string, args ...string) (output string) {
	t.Helper()
	cmd := w.Command(t, name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	keepOutput(cmd.Args, out)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

// AwaitFile waits until a file, named relative to Home, has a content, or is
// gone if that is nil.
func (w *workspace) AwaitFile(t testing.TB, name string, want []byte) {
	t.Helper()
	path := filepath.Join(w.Home, name)
	deadline, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for {
		got, err := os.ReadFile(path)
		if want == nil && errors.Is(err, fs.ErrNotExist) || want != nil && err == nil && bytes.Equal(got, want) {
			return
		}
		select {
		case <-look.C:
		case <-deadline.Done():
			t.Fatalf("~/%s has %d bytes, %v; want %d bytes (none: no file); status:\n%s", name, len(got), err, len(want), w.Run(t, "latchkey", "secret", "status"))
		}
	}
}

// environ is what a child of "latchkey run" sees of a variable.
func (w *workspace) environ(t testing.TB, name string) (value string, set bool) {
	t.Helper()
	cmd := w.Command(t, "latchkey", "run", "--", "cat", "/proc/self/environ")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("latchkey run: %v\n%s", err, &said)
	}
	for v := range strings.SplitSeq(string(out), "\x00") {
		if value, set := strings.CutPrefix(v, name+"="); set {
			return value, true
		}
	}
	return "", false
}

// A secret is stored once and is in a running workspace's files and in what is
// run there; each change of it is too, and when it goes, so do they.
func TestSecretsAreLive(t *testing.T) {
	w := newSecretWorkspace(t, "ada")
	daemon := w.StartDaemon(t)
	first, second := newCanary(t, "first"), newCanary(t, "second")

	w.Pipe(t, []byte(first), "latchkey", "secret", "create", "config", "--env", "TOOL_CONFIG", "--file", w.Home+"/.config/tool/config")
	const file = ".config/tool/config"
	w.AwaitFile(t, file, []byte(first))
	if got, _ := w.environ(t, "TOOL_CONFIG"); got != first {
		t.Error("what is run does not see the secret's value")
	}
	info, err := os.Stat(filepath.Join(w.Home, file))
	if err != nil || info.Mode().Perm() != 0o600 || int(info.Sys().(*syscall.Stat_t).Uid) != w.uid() {
		t.Errorf("the file: %v, %v; want mode 0600, the workspace's user's", info, err)
	}
	if info, err := os.Stat(filepath.Join(w.Home, ".config")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its directory: %v, %v; want mode 0700", info, err)
	}

	w.Pipe(t, []byte(second), "latchkey", "secret", "update", "config")
	w.AwaitFile(t, file, []byte(second))
	if got, _ := w.environ(t, "TOOL_CONFIG"); got != second {
		t.Error("what is run does not see the new value")
	}
	w.Run(t, "latchkey", "secret", "rollback", "config", "--yes")
	w.AwaitFile(t, file, []byte(first))

	w.Run(t, "latchkey", "secret", "update", "config", "--file", "~/elsewhere")
	w.AwaitFile(t, "elsewhere", []byte(first))
	w.AwaitFile(t, ".config", nil) // with the directories that were made for it

	w.Run(t, "latchkey", "secret", "disable", "config")
	w.AwaitFile(t, "elsewhere", nil)
	if _, set := w.environ(t, "TOOL_CONFIG"); set {
		t.Error("what is run sees a secret that is disabled")
	}
	w.Run(t, "latchkey", "secret", "enable", "config")
	w.AwaitFile(t, "elsewhere", []byte(first))
	w.Run(t, "latchkey", "secret", "delete", "config", "-y")
	w.AwaitFile(t, "elsewhere", nil)

	w.Pipe(t, []byte(first), "latchkey", "secret", "create", "again", "--file", "~/again")
	w.AwaitFile(t, "again", []byte(first))
	daemon.stop(t)
	w.AwaitFile(t, "again", nil)
	w.leavesNoTemporary(t)
}

// leavesNoTemporary checks that no temporary file of ours is in the home.
func (w *workspace) leavesNoTemporary(t testing.TB) {
	t.Helper()
	err := filepath.WalkDir(w.Home, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), ".latchkey") && d.Name() != ".latchkey.token" {
			t.Errorf("%s was left behind", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A workspace whose token is revoked, or that is deleted, keeps nothing.
func TestRevokedWorkspaceKeepsNothing(t *testing.T) {
	w := newSecretWorkspace(t, "ada")
	w.StartDaemon(t)
	value := newCanary(t, "value")
	w.Pipe(t, []byte(value), "latchkey", "secret", "create", "s", "--env", "S", "--file", "~/s")
	w.AwaitFile(t, "s", []byte(value))
	w.Run(t, "latchkey", "workspace", "delete", "dev", "-y")
	w.AwaitFile(t, "s", nil)
	if out, err := w.Try(t, "latchkey", "run", "--", "printenv", "S"); err == nil || strings.Contains(out, value) {
		t.Errorf("latchkey run in a workspace that was deleted still has the secret, or says nothing: %v", err)
	}
	w.leavesNoTemporary(t)
}

// What a user stores is, byte for byte, what is in the file and, where it can
// be, in the environment.
func TestSecretsAreVerbatim(t *testing.T) {
	w := newSecretWorkspace(t, "ada")
	w.StartDaemon(t)
	values := [][]byte{{}, {0}, []byte("\n"), []byte("no newline"), []byte("a\r\nb\r\n"), []byte(" $HOME `x` '\"\\ "), []byte("\xff\xfe\x00"), bytes.Repeat([]byte("x\n"), 1<<19)}
	for range 8 {
		b := make([]byte, mathrand.IntN(60<<10))
		rand.Read(b)
		if mathrand.IntN(2) == 0 { // fit for the environment
			b = bytes.ReplaceAll(b, []byte{0}, []byte{1})
		}
		values = append(values, b)
	}
	for i, value := range values {
		name := fmt.Sprint("s", i)
		args := []string{"secret", "create", name, "--file", "~/files/" + name}
		legal := !bytes.Contains(value, []byte{0}) && len(value) <= 64<<10
		if legal {
			args = append(args, "--env", "V_"+name)
		}
		if len(value) == 0 {
			args = append(args, "--value", "")
		}
		w.Pipe(t, value, "latchkey", args...)
		w.AwaitFile(t, "files/"+name, value)
		if !legal {
			continue
		}
		if got, set := w.environ(t, "V_"+name); !set || got != string(value) {
			t.Errorf("a value of %d bytes comes out of the environment as %d bytes (set: %t)", len(value), len(got), set)
		}
	}
}

// A daemon that is killed at any moment leaves nothing that the next one does
// not put right: no half file, no orphan.
func TestKilledDaemonLeavesNoOrphan(t *testing.T) {
	w := newSecretWorkspace(t, "ada")
	const rounds = 12
	for round := range rounds {
		daemon := w.StartDaemon(t)
		keep, gone := newCanary(t, "keep"), newCanary(t, "gone")
		if round == 0 {
			w.Pipe(t, []byte(keep), "latchkey", "secret", "create", "keep", "--file", "~/d/keep")
		} else {
			w.Pipe(t, []byte(keep), "latchkey", "secret", "update", "keep")
		}
		w.AwaitFile(t, "d/keep", []byte(keep))
		w.Pipe(t, []byte(gone), "latchkey", "secret", "create", "gone", "--file", "~/d/e/gone")
		killed := make(chan struct{})
		go func() { // while it is delivering that, or has
			defer close(killed)
			for range mathrand.IntN(200) {
				syscall.Getppid()
			}
			daemon.kill()
		}()
		w.Run(t, "latchkey", "secret", "delete", "gone", "-y")
		<-killed
		next := w.StartDaemon(t)
		w.AwaitFile(t, "d/e", nil)
		w.AwaitFile(t, "d/keep", []byte(keep))
		next.stop(t)
		w.AwaitFile(t, "d", nil)
		w.leavesNoTemporary(t)
	}
}

// The control socket answers the workspace's user and nobody else, and is no
// agent socket that ssh could forward.
func TestControlSocketIsPrivate(t *testing.T) {
	w := newSecretWorkspace(t, "ada")
	w.StartDaemon(t)
	control := filepath.Join(w.Runtime, "control.sock")
	info, err := os.Stat(control)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the control socket: %v, %v; want mode 0600", info, err)
	}
	if w.Getenv("SSH_AUTH_SOCK") == control {
		t.Error("ssh forwards the control socket")
	}
	if out, err := w.Try(t, "sh", "-c", "SSH_AUTH_SOCK="+control+" ssh-add -l"); err == nil {
		t.Errorf("the control socket speaks the agent protocol: %s", out)
	}
	needRoot(t, "another user must try the control socket")
	other := w.Command(t, "curl", "-sS", "--max-time", "10", "--unix-socket", control, "http://daemon/secrets")
	other.SysProcAttr.Credential = &syscall.Credential{Uid: 65533, Gid: 65533}
	// Even a user who could reach the socket is refused by who they are.
	for _, path := range []string{w.Dir, w.Runtime, control} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := other.CombinedOutput(); err == nil {
		t.Errorf("another user asked the control socket and got %s", out)
	}
}

// deliveries is what the server knows of the user's workspaces.
func (u *user) deliveries(t testing.TB) []api.WorkspaceDelivery {
	t.Helper()
	all, err := u.Deliveries(t.Context(), api.Me)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What can't be delivered is said with its reason, and the rest is delivered.
func TestSecretStatusSaysWhy(t *testing.T) {
	w := newSecretWorkspace(t, "ada")
	w.Write(t, "mine", "my own words")
	if err := os.Symlink("/etc/passwd", filepath.Join(w.Home, "link")); err != nil {
		t.Fatal(err)
	}
	w.mkdir(t, filepath.Join(w.Home, "dir"))
	value := newCanary(t, "value")
	for _, name := range []string{"mine", "link", "dir", "fine"} {
		w.Pipe(t, []byte(value+name), "latchkey", "secret", "create", name, "--file", "~/"+name)
	}
	w.StartDaemon(t)
	w.AwaitFile(t, "fine", []byte(value+"fine"))
	want := map[string]api.DeliveryState{"fine": api.Delivered, "mine": api.Blocked, "link": api.Blocked, "dir": api.Blocked}
	deadline := time.Now().Add(patience)
	var got map[string]api.DeliveryState
	for current := false; !current && time.Now().Before(deadline); {
		got = map[string]api.DeliveryState{}
		for _, d := range w.user.deliveries(t) {
			current = d.Current && d.ReportedAt != nil
			for _, item := range d.Items {
				got[item.Secret] = item.State
				if item.State != api.Delivered && item.Detail == "" {
					t.Errorf("secret %s is %s for no reason", item.Secret, item.State)
				}
			}
		}
	}
	for name, state := range want {
		if got[name] != state {
			t.Errorf("secret %s is %q; want %q", name, got[name], state)
		}
	}
	if out := w.Run(t, "latchkey", "secret", "status"); !strings.Contains(out, "blocked") {
		t.Errorf("latchkey secret status does not say what is blocked:\n%s", out)
	}
	if got := readFile(t, filepath.Join(w.Home, "mine")); got != "my own words" {
		t.Errorf("the user's own file now holds %d other bytes", len(got))
	}
	var listed []api.Secret
	if err := json.Unmarshal([]byte(w.Run(t, "latchkey", "secret", "list", "--json")), &listed); err != nil || len(listed) != 4 {
		t.Errorf("latchkey secret list --json: %d secrets, %v; want 4", len(listed), err)
	}
}

// A workspace says which of the secrets it needs are missing, and "latchkey run
// --strict" does not start without them.
func TestMissingSecretsAreSaid(t *testing.T) {
	w := newSecretWorkspace(t, "ada")
	w.Run(t, "latchkey", "workspace", "update", "dev", "--require-env", "NPM_TOKEN=make one at npm.example", "--require-file", "~/.netrc=for the mirror")
	w.StartDaemon(t)
	for _, args := range [][]string{{"workspace", "check"}, {"workspace", "check", "dev"}, {"run", "--strict", "--", "true"}} {
		out, err := w.Try(t, "latchkey", args...)
		if err == nil || !strings.Contains(out, "NPM_TOKEN") || !strings.Contains(out, "make one at npm.example") {
			t.Errorf("latchkey %s: %v\n%s; want that NPM_TOKEN is missing, and its help", strings.Join(args, " "), err, out)
		}
	}
	// Nor is it said that nothing is missing while nobody knows.
	away := w.user.newWorkspace(t, "away", nil)
	away.Setenv("LATCHKEY_URL", "https://127.0.0.1:1")
	away.StartDaemon(t)
	for _, args := range [][]string{{"workspace", "check"}, {"run", "--strict", "--", "true"}, {"run", "--", "true"}} {
		if out, err := away.Try(t, "latchkey", args...); err == nil || !strings.Contains(out, "not to be had") {
			t.Errorf("without a server, latchkey %s: %v\n%s; want that nothing is known", strings.Join(args, " "), err, out)
		}
	}
	token, netrc := newCanary(t, "token"), newCanary(t, "netrc")
	w.Pipe(t, []byte(token), "latchkey", "secret", "create", "npm", "--env", "NPM_TOKEN")
	w.Pipe(t, []byte(netrc), "latchkey", "secret", "create", "netrc", "--file", "~/.netrc")
	w.AwaitFile(t, ".netrc", []byte(netrc))
	for _, args := range [][]string{{"workspace", "check"}, {"workspace", "check", "dev"}, {"run", "--strict", "--", "true"}} {
		// A file is there before the daemon says so.
		await(t, "latchkey "+strings.Join(args, " ")+" finds nothing missing", func() bool {
			_, err := w.Try(t, "latchkey", args...)
			return err == nil
		})
	}
}

// A server or a daemon that crashes while it has secrets dumps no core, even
// where everything is told to.
func TestSecretsAreNotDumped(t *testing.T) {
	dumping := wrapper(func(argv []string) []string {
		return append([]string{"sh", "-c", `ulimit -c unlimited && exec "$@"`, "sh"}, argv...)
	})
	control := exec.Command(dumping([]string{"sh"})[0], dumping([]string{"sh", "-c", "kill -ABRT $$"})[1:]...)
	control.Dir = t.TempDir()
	control.Run()
	if !dumpedCore(control) {
		lacks(t, fmt.Sprintf("no process dumps core here: %v", control.ProcessState))
	}
	s := startServer(t, dumping)
	w := s.newUser(t, "ada", nil).newWorkspace(t, "dev", dumping)
	daemon := w.StartDaemon(t)
	value := newCanary(t, "value")
	if _, err := w.user.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "s", FilePath: "~/s", EnvName: "S", SecretValue: api.NewSecretValue([]byte(value))}); err != nil {
		t.Fatal(err)
	}
	w.AwaitFile(t, "s", []byte(value))
	for name, p := range map[string]*process{"the daemon": daemon, "the server": s.process} {
		p.signal(syscall.SIGABRT)
		<-p.exited
		if dumpedCore(p.cmd) {
			t.Errorf("%s ended with %v; want no core dumped", name, p.cmd.ProcessState)
		}
	}
}

// Files in memory are on a tmpfs, with a link at the target, and two daemons of
// one user do not take each other's away.
func TestFilesInMemory(t *testing.T) {
	u := startServer(t, nil).newUser(t, "ada", nil)
	value := newCanary(t, "value")
	if _, err := u.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "s", FilePath: "~/d/s", SecretValue: api.NewSecretValue([]byte(value))}); err != nil {
		t.Fatal(err)
	}
	a, b := u.newWorkspace(t, "a", nil), u.newWorkspace(t, "b", nil)
	a.StartDaemon(t, "--files-in-memory")
	a.AwaitFile(t, "d/s", []byte(value))
	second := b.StartDaemon(t, "--files-in-memory")
	b.AwaitFile(t, "d/s", []byte(value))
	for _, w := range []*workspace{a, b} {
		info, err := os.Lstat(filepath.Join(w.Home, "d/s"))
		if err != nil || info.Mode().Type() != fs.ModeSymlink {
			t.Errorf("at the target: %v, %v; want a link", info, err)
		}
		to, err := filepath.EvalSymlinks(filepath.Join(w.Home, "d/s"))
		var system unix.Statfs_t
		if err != nil || unix.Statfs(to, &system) != nil || system.Type != unix.TMPFS_MAGIC {
			t.Errorf("the content is in %s, %v; want it on a tmpfs", to, err)
		}
	}
	content, err := filepath.EvalSymlinks(filepath.Join(b.Home, "d/s"))
	if err != nil {
		t.Fatal(err)
	}
	second.stop(t)
	b.AwaitFile(t, "d", nil)
	if _, err := os.Stat(filepath.Dir(content)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory of the content: %v; want it gone", err)
	}
	a.AwaitFile(t, "d/s", []byte(value))
}
