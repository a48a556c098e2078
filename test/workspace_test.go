package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// nobody is the ordinary user that the workspace belongs to if the tests run as
// root. ssh wants one that /etc/passwd names; this one is everywhere.
const nobody = 65534

// A workspace is a home with a workspace token and the environment that
// "latchkey env" would give. Commands in it run as an ordinary user.
type workspace struct {
	Dir, Home string // Home is in Dir, as are all that follow
	Runtime   string // LATCHKEY_RUNTIME_DIR: the daemon's sockets
	Token     string
	ID        string

	// Env is the environment of commands, "NAME=VALUE". A test may append to it.
	Env []string

	wrap wrapper
	user *user

	asTester bool // see becomeTester
}

// newWorkspace makes a workspace of the user. Its commands are wrapped.
func (u *user) newWorkspace(t testing.TB, name string, wrap wrapper) *workspace {
	t.Helper()
	created, err := u.CreateWorkspace(t.Context(), api.Me, api.CreateWorkspaceRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	dir := openDir(t)
	w := &workspace{
		Dir: dir, Home: filepath.Join(dir, "home"), Runtime: filepath.Join(dir, "run"),
		Token: created.Token.Token, ID: created.ID, wrap: wrap, user: u,
	}
	tmp := filepath.Join(dir, "tmp")
	for _, d := range []string{w.Home, w.Runtime, tmp} {
		w.mkdir(t, d)
	}
	w.Write(t, ".latchkey.token", w.Token+"\n")
	w.Write(t, ".gitconfig", "[user]\n\tname = "+u.Name+"\n\temail = "+u.Name+"@example.com\n[init]\n\tdefaultBranch = main\n")
	latchkey := program(t, "latchkey")
	w.Env = []string{
		"HOME=" + w.Home,
		"USER=" + u.Name,
		"LANG=C",
		"PATH=" + filepath.Dir(latchkey) + ":" + os.Getenv("PATH"),
		"TMPDIR=" + tmp,
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0",
		"LATCHKEY_URL=" + u.server.URL,
		"LATCHKEY_CA_FILE=" + u.server.CAFile,
		"LATCHKEY_TOKEN_FILE=" + filepath.Join(w.Home, ".latchkey.token"),
		"LATCHKEY_RUNTIME_DIR=" + w.Runtime,
		"SSH_AUTH_SOCK=" + filepath.Join(w.Runtime, "agent.sock"),
		"GIT_SSH_VARIANT=ssh",
		"GIT_SSH_COMMAND=latchkey gitssh --",
	}
	return w
}

// Write makes a file (0600) of the workspace's user, named relative to Home.
func (w *workspace) Write(t testing.TB, name, content string) (path string) {
	t.Helper()
	path = filepath.Join(w.Home, name)
	w.mkdir(t, filepath.Dir(path))
	writeFile(t, path, []byte(content), 0o600)
	w.own(t, path)
	return path
}

func (w *workspace) mkdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.own(t, dir)
}

// becomeTester has the workspace belong to whoever runs the tests: a real sshd lets
// nobody in to an account without a shell.
func (w *workspace) becomeTester(t testing.TB) {
	t.Helper()
	w.asTester = true
	err := filepath.WalkDir(w.Dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, os.Geteuid(), os.Getegid()))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *workspace) own(t testing.TB, path string) {
	t.Helper()
	if os.Geteuid() == 0 && !w.asTester {
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
}

// Setenv sets a variable for the commands that follow.
func (w *workspace) Setenv(name, value string) { w.Env = append(w.Env, name+"="+value) }

// Getenv is what a command sees of a variable: the last one set.
func (w *workspace) Getenv(name string) (value string) {
	for _, v := range w.Env {
		if rest, ok := strings.CutPrefix(v, name+"="); ok {
			value = rest
		}
	}
	return value
}

// Knows lets the workspace's ssh reach an sshd by an alias, and know its host
// key: by a configuration file that is also named on GIT_SSH_COMMAND, because
// ssh looks for its own in the account's home and not in $HOME. lines are added
// to the alias.
func (w *workspace) Knows(t testing.TB, s *sshd, alias string, lines ...string) (configFile string) {
	t.Helper()
	known := w.Write(t, ".ssh/known_hosts", "latchkey-test "+s.HostKey+"\n")
	config := fmt.Sprintf("Host %s\n", alias)
	for _, l := range append([]string{
		"HostName 127.0.0.1", fmt.Sprint("Port ", s.Port), "User " + s.User,
		"HostKeyAlias latchkey-test", "UserKnownHostsFile " + known,
	}, lines...) {
		config += "\t" + l + "\n"
	}
	configFile = w.Write(t, ".ssh/config", config)
	w.Setenv("GIT_SSH_COMMAND", "latchkey gitssh -- -F "+configFile)
	return configFile
}

// Command is a program in the workspace's environment and Home, as its user.
// The name is looked up in the workspace's PATH. It gets [patience] and a process
// group of its own.
func (w *workspace) Command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return w.command(ctx, t, name, args...)
}

func (w *workspace) command(ctx context.Context, t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	argv := append([]string{w.lookup(t, name)}, args...)
	var as *syscall.Credential
	switch {
	case os.Geteuid() != 0 || w.asTester:
		argv = w.wrap.wrap(argv)
	case w.wrap == nil:
		as = &syscall.Credential{Uid: nobody, Gid: nobody}
	default: // strace must be root to look into a process that is not dumpable
		id := strconv.Itoa(nobody)
		argv = w.wrap(append([]string{need(t, "setpriv"), "--reuid", id, "--regid", id, "--clear-groups", "--"}, argv...))
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = w.Home, w.Env
	// What git has started must not outlive a test that gives up on it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = patience
	return cmd
}

func (w *workspace) lookup(t testing.TB, name string) string {
	t.Helper()
	if strings.Contains(name, "/") {
		return name
	}
	for _, dir := range filepath.SplitList(w.Getenv("PATH")) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return need(t, name)
}

// Try runs a command to its end and returns what it printed on both streams.
func (w *workspace) Try(t testing.TB, name string, args ...string) (output string, err error) {
	t.Helper()
	cmd := w.Command(t, name, args...)
	out, err := cmd.CombinedOutput()
	keepOutput(cmd.Args, out)
	return string(out), err
}

// Run is Try for a command that must succeed.
func (w *workspace) Run(t testing.TB, name string, args ...string) (output string) {
	t.Helper()
	out, err := w.Try(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// StartDaemon runs the workspace daemon until the test ends, with further flags.
func (w *workspace) StartDaemon(t testing.TB, flags ...string) *process {
	t.Helper()
	cmd := w.command(context.Background(), t, "latchkey", append([]string{"agent"}, flags...)...)
	p, _ := start(t, cmd, regexp.MustCompile(`msg"?[=:]"?ready`))
	return p
}

// AgentSocket is the daemon's ssh-agent socket.
func (w *workspace) AgentSocket() string { return filepath.Join(w.Runtime, "agent.sock") }
