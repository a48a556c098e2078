package test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A laptop is where a user sits: with a key, and what ssh must know to log in to
// their workspace as "box".
type laptop struct {
	Dir, Key, Config, Known string
	Port                    string
	Public                  string // the line of Key

	box    *workspace
	daemon *process
}

var servingSSH = regexp.MustCompile(`serving SSH" address=127\.0\.0\.1:(\d+)`)

// newLaptop makes a user with a workspace that serves SSH, and their laptop. What
// ssh knows is what one "latchkey ssh-config" says; Known is for other clients.
func newLaptop(t *testing.T, flags ...string) *laptop {
	t.Helper()
	return newLaptopFor(t, startServer(t, nil).newUser(t, "alice", nil).newWorkspace(t, "dev", nil), flags...)
}

func newLaptopFor(t *testing.T, w *workspace, flags ...string) *laptop {
	t.Helper()
	l := &laptop{Dir: openDir(t), box: w}
	private, public := newKey(t)
	l.Key, l.Public = filepath.Join(l.Dir, "id"), public+" alice@laptop"
	writeFile(t, l.Key, private, 0o600)
	writeFile(t, l.Key+".pub", []byte(l.Public+"\n"), 0o644)
	l.latchkey(t, "login-key", "add", l.Key+".pub")
	l.start(t, "127.0.0.1:0", flags...)
	l.Known = filepath.Join(l.Dir, "known_hosts")
	writeFile(t, l.Known, []byte(l.latchkey(t, "ssh-config", "dev", "--known-hosts")), 0o600)
	l.configure(t)
	return l
}

// start runs the workspace's daemon.
func (l *laptop) start(t *testing.T, address string, flags ...string) {
	t.Helper()
	cmd := l.box.command(context.Background(), t, "latchkey", append([]string{"agent", "--sshd", address}, flags...)...)
	var m []string
	l.daemon, m = start(t, cmd, servingSSH)
	l.Port = m[1]
}

// configure writes ssh's configuration, and no known_hosts file.
func (l *laptop) configure(t *testing.T) {
	t.Helper()
	l.Config = filepath.Join(l.Dir, "config")
	block := l.latchkey(t, "ssh-config", "dev", "--address", "127.0.0.1:"+l.Port, "--host", "box")
	writeFile(t, l.Config, []byte(block+"\tIdentityFile "+l.Key+"\n\tIdentitiesOnly yes\n\tUserKnownHostsFile none\n\tGlobalKnownHostsFile none\n\tBatchMode yes\n"), 0o600)
}

// latchkey runs latchkey as the user who is logged in.
func (l *laptop) latchkey(t *testing.T, args ...string) string {
	t.Helper()
	cmd := l.latchkeyCommand(t, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	keepOutput(cmd.Args, append(out, errs.Bytes()...))
	if err != nil {
		t.Fatalf("latchkey %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return string(out)
}

func (l *laptop) latchkeyCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t, "latchkey"), args...)
	cmd.Env = []string{"HOME=" + l.Dir, "LATCHKEY_URL=" + l.box.user.server.URL, "LATCHKEY_CA_FILE=" + l.box.user.server.CAFile, "LATCHKEY_SESSION_TOKEN=" + l.box.user.Token}
	return cmd
}

// Command is a program of the laptop.
func (l *laptop) Command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, need(t, name), args...)
	cmd.Dir = l.Dir
	cmd.Env = []string{"HOME=" + l.Dir, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "TERM=xterm", "GIT_CONFIG_NOSYSTEM=1", "GIT_SSH_VARIANT=ssh", "GIT_SSH_COMMAND=ssh -F " + l.Config}
	return cmd
}

// Run runs a program that must succeed, and returns what it printed on stdout.
func (l *laptop) Run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := l.Command(t, name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	keepOutput(cmd.Args, append(out, errs.Bytes()...))
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return string(out)
}

// SSH runs a command in the workspace.
func (l *laptop) SSH(t *testing.T, args ...string) string {
	t.Helper()
	return l.Run(t, "ssh", append([]string{"-F", l.Config}, args...)...)
}

func TestSSH(t *testing.T) {
	l := newLaptop(t)
	for name, test := range map[string]func(*testing.T){
		"commands": l.commands, "environment": l.environment, "files": l.files, "rsync": l.rsync, "git": l.git,
		"terminal": l.terminal, "full screen": l.fullScreen, "forwarding": l.forwarding, "sockets": l.sockets, "multiplexed": l.multiplexed,
	} {
		t.Run(name, test)
	}
}

func (l *laptop) commands(t *testing.T) {
	if got := l.SSH(t, "box", "id -u; pwd; echo to stderr >&2"); got != fmt.Sprintf("%d\n%s\n", l.box.uid(), l.box.Home) {
		t.Errorf("the command said %q; want the user and the home of the workspace", got)
	}
	for _, code := range []int{0, 1, 77, 255} {
		cmd := l.Command(t, "ssh", "-F", l.Config, "box", fmt.Sprint("exit ", code))
		err := cmd.Run()
		if cmd.ProcessState.ExitCode() != code {
			t.Errorf("exit %d: %v", code, err)
		}
	}
	cmd := l.Command(t, "ssh", "-F", l.Config, "box", "kill -TERM $$")
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 255 {
		t.Errorf("a command that a signal ended: %v; want 255, as ssh has it", err)
	}
	cmd = l.Command(t, "ssh", "-F", l.Config, "box", "wc -c")
	cmd.Stdin = io.LimitReader(zeros{}, 3<<20)
	if out, err := cmd.Output(); strings.TrimSpace(string(out)) != fmt.Sprint(3<<20) || err != nil {
		t.Errorf("of 3 MiB of input came %q, %v", out, err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func (l *laptop) environment(t *testing.T) {
	if _, err := l.box.user.CreateSecret(t.Context(), api.Me, api.CreateSecretRequest{Name: "npm", EnvName: "NPM_TOKEN", SecretValue: api.NewSecretValue([]byte("a secret of alice"))}); err != nil {
		t.Fatal(err)
	}
	await(t, "the secret reaches sessions", func() bool { return l.SSH(t, "box", "printf %s \"$NPM_TOKEN\"") == "a secret of alice" })
	env := l.SSH(t, "-o", "SendEnv=LANG GIT_PROTOCOL EVIL", "-o", "SetEnv=GIT_PROTOCOL=version=2 EVIL=1", "box", "env")
	for _, want := range []string{"LANG=C.UTF-8", "GIT_PROTOCOL=version=2", "SSH_AUTH_SOCK=" + l.box.AgentSocket(), "GIT_SSH_VARIANT=ssh", "HOME=" + l.box.Home} {
		if !strings.Contains(env, want+"\n") {
			t.Errorf("the environment has no %s", want)
		}
	}
	for _, not := range []string{"EVIL=", "LATCHKEY_TOKEN", l.box.Token} {
		if strings.Contains(env, not) {
			t.Errorf("the environment has %s", not)
		}
	}
	if got := l.SSH(t, "box", "ssh-add -L"); !strings.Contains(got, l.box.user.publicKey(t)) {
		t.Errorf("ssh-add -L in the session said %q; want the managed key", got)
	}
	if got := l.SSH(t, "box", "latchkey status --json"); !strings.Contains(got, `"login_keys": 1`) {
		t.Errorf("latchkey status in the session said %s; want it to find the daemon, and one login key", got)
	}
}

// await waits for what must become true.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !done() {
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func (l *laptop) files(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 100_000)
	local := filepath.Join(l.Dir, "big file")
	writeFile(t, local, content, 0o640)
	check := func(what, path string) {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v; want %d", what, len(got), err, len(content))
		}
		os.Remove(path)
	}
	for what, flags := range map[string][]string{"scp": nil, "scp of old": {"-O"}} {
		at := filepath.Join(l.box.Home, strings.ReplaceAll(what, " ", "-"))
		args := append([]string{"-q", "-p", "-F", l.Config}, flags...)
		l.Run(t, "scp", append(args, local, "box:"+filepath.Base(at))...)
		if info, err := os.Stat(at); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: %v, %v; want the mode kept", what, info, err)
		}
		l.Run(t, "scp", append(args, "box:"+filepath.Base(at), local+" back")...)
		check(what, local+" back")
		check(what, at)
	}
	batch := filepath.Join(l.Dir, "batch")
	writeFile(t, batch, []byte(`mkdir sub
put "`+local+`" sub/up
rename sub/up sub/moved
chmod 600 sub/moved
ln -s moved sub/link
get sub/link "`+local+` down"
ls -l sub
df
rm sub/link
`), 0o600)
	if out := l.Run(t, "sftp", "-F", l.Config, "-b", batch, "box"); !strings.Contains(out, "moved") {
		t.Errorf("sftp said %s; want a list with the file", out)
	}
	check("sftp get", local+" down")
	check("sftp put", filepath.Join(l.box.Home, "sub", "moved"))
	// Who speaks SFTP is a program of the user, not one that serves others as well.
	writeFile(t, batch, []byte("get /proc/self/cmdline \""+local+" who\"\nls -l /proc/self/fd\n"), 0o600)
	l.Run(t, "sftp", "-F", l.Config, "-b", batch, "box")
	if who, err := os.ReadFile(local + " who"); err != nil || string(who) != "latchkey\x00sftp-server\x00" {
		t.Errorf("the process that serves SFTP is %q, %v; want latchkey sftp-server", who, err)
	}
}

func (l *laptop) rsync(t *testing.T) {
	tree := filepath.Join(l.Dir, "tree")
	for i := range 50 {
		if err := os.MkdirAll(filepath.Join(tree, fmt.Sprint(i%7)), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(tree, fmt.Sprint(i%7), fmt.Sprint("file", i)), []byte(strings.Repeat("x", i*1000)), 0o644)
	}
	need(t, "rsync")
	l.Run(t, "rsync", "-a", "-e", "ssh -F "+l.Config, tree+"/", "box:tree/")
	l.Run(t, "rsync", "-a", "-e", "ssh -F "+l.Config, "box:tree/", filepath.Join(l.Dir, "back")+"/")
	if out, err := exec.Command("diff", "-r", tree, filepath.Join(l.Dir, "back")).CombinedOutput(); err != nil {
		t.Errorf("what went there and back differs: %s", out)
	}
}

func (l *laptop) git(t *testing.T) {
	l.box.Run(t, "git", "init", "-q", "--bare", "repo.git")
	l.Run(t, "git", "clone", "-q", "box:repo.git", "clone")
	clone := filepath.Join(l.Dir, "clone")
	l.Run(t, "git", "-C", clone, "-c", "user.name=alice", "-c", "user.email=alice@example.com", "commit", "-q", "--allow-empty", "-m", "over ssh")
	l.Run(t, "git", "-C", clone, "push", "-q", "origin", "HEAD:main")
	if got := l.box.Run(t, "git", "-C", "repo.git", "log", "--format=%s", "main"); got != "over ssh\n" {
		t.Errorf("the workspace's repository has %q; want the commit", got)
	}
}

// onTerminal runs ssh on a terminal of the laptop.
func (l *laptop) onTerminal(t *testing.T, rows, columns uint16, args ...string) *os.File {
	t.Helper()
	screen, err := pty.StartWithSize(l.Command(t, "ssh", append([]string{"-F", l.Config}, args...)...), &pty.Winsize{Rows: rows, Cols: columns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	return screen
}

// readUntil reads until what was read holds a text.
func readUntil(t *testing.T, from io.Reader, text string) string {
	t.Helper()
	var all strings.Builder
	b := make([]byte, 4096)
	for !strings.Contains(all.String(), text) {
		n, err := from.Read(b)
		all.Write(b[:n])
		if err != nil {
			t.Fatalf("%v before %q; so far: %q", err, text, all.String())
		}
	}
	return all.String()
}

func (l *laptop) terminal(t *testing.T) {
	screen := l.onTerminal(t, 37, 111, "-t", "box", `trap 'echo now $(stty size)' WINCH; echo size $(stty size) $TERM; while :; do sleep 0.01; done`)
	readUntil(t, screen, "size 37 111 xterm")
	if err := pty.Setsize(screen, &pty.Winsize{Rows: 20, Cols: 60}); err != nil {
		t.Fatal(err)
	}
	readUntil(t, screen, "now 20 60")
	io.WriteString(screen, "\x03") // ends it
	for b := make([]byte, 4096); ; {
		if _, err := screen.Read(b); err != nil {
			break
		}
	}
}

func (l *laptop) fullScreen(t *testing.T) {
	need(t, "vi")
	screen := l.onTerminal(t, 30, 90, "-t", "box", "vi letter.txt")
	readUntil(t, screen, "letter.txt")
	io.WriteString(screen, "ihello\rworld\x1b:wq\r")
	for b := make([]byte, 4096); ; {
		if _, err := screen.Read(b); err != nil { // ssh has ended
			break
		}
	}
	if got, err := os.ReadFile(filepath.Join(l.box.Home, "letter.txt")); string(got) != "hello\nworld\n" || err != nil {
		t.Errorf("vi wrote %q, %v; want what was typed", got, err)
	}
}

// background runs ssh until the test ends; it is ready when what it runs there
// says so.
func (l *laptop) background(t *testing.T, args ...string) {
	t.Helper()
	cmd := l.Command(t, "ssh", append([]string{"-F", l.Config, "-o", "ExitOnForwardFailure=yes"}, args...)...)
	start(t, cmd, regexp.MustCompile("ready"))
}

// freePort is a port for a program that must be told one. It is none of those that
// the kernel gives out (ip(7), ip_local_port_range): nobody gets it by chance while
// the program starts.
func freePort(t *testing.T) string {
	t.Helper()
	for {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
}

// serveHello answers every connection with a page.
func serveHello(t *testing.T, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.ReadAtLeast(c, make([]byte, 4096), 1)
				io.WriteString(c, "HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
			}()
		}
	}()
	return l.Addr().String()
}

func (l *laptop) forwarding(t *testing.T) {
	need(t, "curl")
	page := serveHello(t, "tcp", "127.0.0.1:0")
	local, remote, dynamic := freePort(t), freePort(t), freePort(t)
	l.background(t, "-L", local+":"+page, "-R", remote+":"+page, "-D", dynamic, "box", "echo ready; cat >/dev/null; sleep 1000")
	if got := l.Run(t, "curl", "-sS", "http://127.0.0.1:"+local); got != "hello\n" {
		t.Errorf("through -L: %q", got)
	}
	if got := l.SSH(t, "box", "curl -sS http://127.0.0.1:"+remote); got != "hello\n" {
		t.Errorf("through -R: %q", got)
	}
	if got := l.Run(t, "curl", "-sS", "--socks5-hostname", "127.0.0.1:"+dynamic, "http://"+page); got != "hello\n" {
		t.Errorf("through -D: %q", got)
	}
	cmd := l.Command(t, "ssh", "-F", l.Config, "-W", page, "box")
	cmd.Stdin = strings.NewReader("GET / HTTP/1.0\r\n\r\n")
	if out, err := cmd.Output(); !strings.HasSuffix(string(out), "hello\n") || err != nil {
		t.Errorf("through -W: %q, %v", out, err)
	}
}

func (l *laptop) sockets(t *testing.T) {
	need(t, "curl")
	there, here := filepath.Join(l.box.Home, "there.sock"), filepath.Join(l.Dir, "here.sock")
	serveHello(t, "unix", filepath.Join(l.Dir, "page.sock"))
	l.background(t, "-R", there+":"+filepath.Join(l.Dir, "page.sock"), "box", "echo ready; sleep 1000")
	if got := l.SSH(t, "box", "curl -sS --unix-socket "+there+" http://page"); got != "hello\n" {
		t.Errorf("through -R of a socket: %q", got)
	}
	l.background(t, "-L", here+":"+there, "box", "echo ready; sleep 1000")
	if got := l.Run(t, "curl", "-sS", "--unix-socket", here, "http://page"); got != "hello\n" {
		t.Errorf("through -L of a socket: %q", got)
	}
}

// As IDEs do it: one connection, many sessions.
func (l *laptop) multiplexed(t *testing.T) {
	control := filepath.Join(l.Dir, "ctl")
	l.background(t, "-M", "-S", control, "box", "echo ready; sleep 1000")
	for range 15 {
		if got := l.SSH(t, "-S", control, "box", "echo in"); got != "in\n" {
			t.Errorf("a session of a shared connection said %q", got)
		}
	}
}
