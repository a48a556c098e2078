package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A stage is a server, a user with a workspace, and an sshd that lets their
// Latchkey key in and serves one repository.
type stage struct {
	*workspace
	server *server
	user   *user
	sshd   *sshd
	repo   string // its path on the sshd's side
}

// newStage sets a stage, on which the workspace reaches the sshd as "forge".
// lines are added to sshd's configuration.
func newStage(t testing.TB, lines ...string) *stage {
	t.Helper()
	s := &stage{server: startServer(t, nil), sshd: startSSHD(t, nil, lines...)}
	s.user = s.server.newUser(t, "alice", nil)
	s.workspace = s.user.newWorkspace(t, "dev", nil)
	s.sshd.Authorize(t, s.user.publicKey(t))
	s.repo = s.sshd.Repository(t, "app")
	s.Reaches(t, s.sshd.host("forge"))
	return s
}

func (s *stage) url() string { return "forge:" + s.repo }

// A host is a "Host" of ssh_config(5).
type host struct {
	alias, user, key string
	port             int
	lines            []string
}

// host is the sshd by an alias.
func (s *sshd) host(alias string, lines ...string) host {
	return host{alias: alias, user: s.User, key: s.HostKey, port: s.Port, lines: lines}
}

// Reaches lets the workspace's ssh reach hosts, and know their keys. It is Knows
// for several hosts.
func (w *workspace) Reaches(t testing.TB, hosts ...host) (configFile string) {
	t.Helper()
	known, config := "", ""
	for _, h := range hosts {
		known += h.alias + " " + h.key + "\n"
		config += fmt.Sprintf("Host %s\n\tHostName 127.0.0.1\n\tPort %d\n\tUser %s\n\tHostKeyAlias %s\n", h.alias, h.port, h.user, h.alias)
		for _, l := range append(slices.Clone(h.lines), "UserKnownHostsFile "+filepath.Join(w.Home, ".ssh/known_hosts"), "BatchMode yes") {
			config += "\t" + l + "\n"
		}
	}
	w.Write(t, ".ssh/known_hosts", known)
	configFile = w.Write(t, ".ssh/config", config)
	w.Setenv("GIT_SSH_COMMAND", "latchkey gitssh -- -F "+configFile)
	return configFile
}

// fetches counts the private keys that the server has handed out.
func (s *server) fetches(t testing.TB) (n int) {
	t.Helper()
	events, err := s.Admin.Audit(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Action == "key.fetch" && e.Result == "ok" {
			n++
		}
	}
	return n
}

// ownLines are the lines that latchkey itself has printed.
func ownLines(output string) (lines []string) {
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "latchkey: ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// ownAgent starts the user's own ssh-agent with n new keys and makes it the
// workspace's. It returns their public halves.
func (w *workspace) ownAgent(t testing.TB, n int) (public []string) {
	t.Helper()
	w.Setenv("SSH_AUTH_SOCK", w.startAgent(t, "own.sock"))
	for range n {
		private, line := newKey(t)
		file := w.Write(t, "own", string(private))
		w.Run(t, "ssh-add", "-q", file)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		public = append(public, line)
	}
	return public
}

// startAgent starts an ssh-agent of OpenSSH's.
func (w *workspace) startAgent(t testing.TB, name string) (socket string) {
	t.Helper()
	socket = filepath.Join(w.Home, name)
	start(t, w.Command(t, "ssh-agent", "-D", "-a", socket), regexp.MustCompile("SSH_AUTH_SOCK"))
	return socket
}

// withAndWithoutDaemon runs a test on two stages.
func withAndWithoutDaemon(t *testing.T, lines []string, test func(*testing.T, *stage)) {
	t.Helper()
	t.Run("daemon", func(t *testing.T) {
		s := newStage(t, lines...)
		s.StartDaemon(t)
		test(t, s)
	})
	t.Run("no daemon", func(t *testing.T) { test(t, newStage(t, lines...)) })
}

// Clone, commit, push and fetch, with a submodule.
func TestGitSSH(t *testing.T) {
	withAndWithoutDaemon(t, nil, func(t *testing.T, s *stage) {
		s.Run(t, "git", "clone", "-q", s.url(), "app")
		s.Write(t, "app/hello", "hello\n")
		s.Run(t, "git", "-C", "app", "add", "hello")
		s.Run(t, "git", "-C", "app", "commit", "-q", "-m", "second")
		s.Run(t, "git", "-C", "app", "push", "-q")
		part := s.sshd.Repository(t, "part")
		s.Run(t, "git", "-C", "app", "submodule", "--quiet", "add", "forge:"+part, "part")
		s.Run(t, "git", "-C", "app", "commit", "-q", "-m", "third")
		s.Run(t, "git", "-C", "app", "push", "-q")
		s.Run(t, "git", "clone", "-q", "--recurse-submodules", s.url(), "again")
		if got := s.Run(t, "git", "-C", "again", "log", "--format=%s"); got != "third\nsecond\nfirst\n" {
			t.Errorf("the second clone's log is %q; want third, second, first", got)
		}
		if got := s.Run(t, "git", "-C", "again/part", "log", "--format=%s"); got != "first\n" {
			t.Errorf("the submodule's log is %q; want first", got)
		}
		if out := s.Run(t, "git", "-C", "again", "fetch", "--recurse-submodules", "-v"); len(ownLines(out)) > 0 {
			t.Errorf("a fetch printed %q; want nothing of latchkey's", ownLines(out))
		}
		s.leavesNothing(t)
	})
}

// helpersFiles are the files of helpers in the runtime directory, but for the
// links that they share.
func (w *workspace) helpersFiles(t testing.TB) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(w.Runtime, "ssh"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "ssh" && e.Name() != "ssh-version" {
			names = append(names, e.Name())
		}
	}
	return names
}

// leavesNothing checks that no helper has left anything.
func (w *workspace) leavesNothing(t testing.TB) {
	t.Helper()
	if left := w.helpersFiles(t); len(left) > 0 {
		t.Errorf("the helpers left %v in the runtime directory; want nothing", left)
	}
}

// The ways in which git calls ssh.
func TestGitSSHArguments(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	port := fmt.Sprint(s.sshd.Port)
	known := s.Write(t, ".ssh/known_hosts", "[127.0.0.1]:"+port+" "+s.sshd.HostKey+"\n")
	config := s.Write(t, ".ssh/config", "UserKnownHostsFile "+known+"\nBatchMode yes\n")
	s.Setenv("GIT_SSH_COMMAND", "latchkey gitssh -- -F "+config)
	url := "ssh://" + s.sshd.User + "@127.0.0.1:" + port + s.repo
	for _, args := range []string{"ls-remote URL", "ls-remote -4 URL", "-c protocol.version=0 ls-remote URL", "clone -4 -q URL four"} {
		args := strings.Fields(strings.ReplaceAll(args, "URL", url))
		if args[0] == "ls-remote" && args[1] == "-4" {
			args = []string{"fetch", "-4", url} // ls-remote has no -4
			s.Run(t, "git", "init", "-q", "here")
			args = append([]string{"-C", "here"}, args...)
		}
		s.Run(t, "git", args...)
	}
	s.Setenv("GIT_TRACE_PACKET", "1")
	if out := s.Run(t, "git", "-c", "protocol.version=2", "ls-remote", url); !strings.Contains(out, "< version 2") {
		t.Errorf("the server did not answer with protocol version 2: GIT_PROTOCOL did not reach it:\n%s", out)
	}
	// -6 reaches ssh: it finds no IPv6 address for 127.0.0.1, and says so.
	if out, err := s.Try(t, "git", "clone", "-6", url, "six"); err == nil || !strings.Contains(out, "Address family for hostname not supported") {
		t.Errorf("git clone -6 of an IPv4 address: %v, want ssh's own refusal:\n%s", err, out)
	}
}

// git asks a helper that it does not know for its dialect, and gets ssh's answer
// without a fetch, daemon or not, server or not.
func TestGitSSHProbe(t *testing.T) {
	s := newStage(t)
	config := s.Reaches(t, s.sshd.host("forge"))
	out := s.Run(t, "latchkey", "gitssh", "--", "-G", "-F", config, "forge")
	if !strings.Contains(out, "hostname 127.0.0.1\n") {
		t.Errorf("latchkey gitssh -- -G printed %q; want ssh's configuration for the host", out)
	}
	if n := s.server.fetches(t); n != 0 {
		t.Errorf("-G fetched %d private keys; want none", n)
	}
	s.Setenv("GIT_SSH_VARIANT", "auto")
	s.Setenv("GIT_TRACE", "1")
	out = s.Run(t, "git", "-c", "protocol.version=2", "ls-remote", "ssh://forge"+s.repo)
	if !strings.Contains(out, " -G ") || !strings.Contains(out, "SendEnv=GIT_PROTOCOL") {
		t.Errorf("git did not ask with -G, or did not take the answer for ssh's:\n%s", out)
	}
	if n := s.server.fetches(t); n != 1 {
		t.Errorf("git ls-remote with its -G fetched %d private keys; want 1", n)
	}
	s.server.stop(t)
	s.Run(t, "latchkey", "gitssh", "--", "-G", "-F", config, "forge")
}

// A daemon that was killed leaves a socket, behind which is nobody.
func TestGitSSHDeadDaemon(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t).kill()
	hop := startSSHD(t, nil)
	hop.Authorize(t, s.user.publicKey(t))
	s.Reaches(t, s.sshd.host("forge"), s.sshd.host("behind", "ProxyJump hop"), hop.host("hop"))
	for _, alias := range []string{"forge", "behind"} {
		if out := s.Run(t, "git", "ls-remote", alias+":"+s.repo); len(ownLines(out)) > 0 {
			t.Errorf("git ls-remote of %s after the daemon was killed printed %q; want nothing of latchkey's", alias, ownLines(out))
		}
	}
	s.leavesNothing(t)
}

// A master connection of the user's own is not used: what the helper's ssh does
// is done with the Latchkey key, or not at all.
func TestGitSSHOwnMaster(t *testing.T) {
	s := newStage(t)
	private, public := newKey(t)
	s.sshd.Authorize(t, s.user.publicKey(t), public)
	config := s.Reaches(t, s.sshd.host("forge", "ControlPath "+filepath.Join(s.Home, "master")))
	s.Run(t, "ssh", "-F", config, "-i", s.Write(t, "id", string(private)), "-M", "-N", "-f", "forge")
	defer s.Run(t, "ssh", "-F", config, "-O", "exit", "forge")
	s.Run(t, "git", "ls-remote", s.url())
	if n := s.server.fetches(t); n != 1 {
		t.Errorf("beside a master connection of the user's own, the Latchkey key was fetched %d times; want once", n)
	}
}

// A runtime directory that ssh would not take in its options, for its length or
// its characters, and this program in PATH by the name of ssh.
func TestGitSSHOddPaths(t *testing.T) {
	s := newStage(t)
	t.Cleanup(func() { // where the helpers went instead, if nobody else is there
		dir := fmt.Sprintf("/tmp/latchkey-%d", s.uid())
		os.Remove(dir + "/ssh")
		os.Remove(dir)
	})
	hop := startSSHD(t, nil)
	hop.Authorize(t, s.user.publicKey(t))
	s.Reaches(t, s.sshd.host("forge", "ProxyJump hop"), hop.host("hop"))
	for _, name := range []string{"a b", "100%", "$HOME", strings.Repeat("long", 30)} {
		dir := filepath.Join(s.Dir, name)
		s.mkdir(t, dir)
		s.Setenv("LATCHKEY_RUNTIME_DIR", dir)
		if out, err := s.Try(t, "git", "ls-remote", s.url()); err != nil || len(ownLines(out)) > 0 {
			t.Errorf("git ls-remote over a hop with the runtime directory %q: %v\n%s", dir, err, out)
		}
	}
	bin := filepath.Join(s.Dir, "bin")
	s.mkdir(t, bin)
	if err := os.Symlink(program(t, "latchkey"), filepath.Join(bin, "ssh")); err != nil {
		t.Fatal(err)
	}
	s.Setenv("PATH", bin+":"+s.Getenv("PATH"))
	s.Setenv("GIT_SSH_COMMAND", "ssh -F "+filepath.Join(s.Home, ".ssh/config"))
	s.Run(t, "git", "ls-remote", s.url())
	if files, err := os.ReadDir(bin); err != nil || len(files) != 1 {
		t.Errorf("beside the link there is %v, %v; want nothing", files, err)
	}
}

// uid is the user that commands run as.
func (w *workspace) uid() int {
	if os.Geteuid() == 0 {
		return nobody
	}
	return os.Geteuid()
}

// Fifty at once share one daemon, which fetches once.
func TestGitSSHFifty(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	const n = 50
	failures := make(chan string, n)
	for range n {
		cmd := s.Command(t, "git", "ls-remote", s.url())
		go func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				failures <- fmt.Sprintf("%v\n%s", err, out)
				return
			}
			failures <- ""
		}()
	}
	for range n {
		if f := <-failures; f != "" {
			t.Errorf("git ls-remote, one of %d at once: %s", n, f)
		}
	}
	if got := s.server.fetches(t); got != 1 {
		t.Errorf("%d git ls-remote at once fetched the private key %d times; want once", n, got)
	}
	s.leavesNothing(t)
}

// revoke revokes the workspace's tokens.
func (s *stage) revoke(t testing.TB) {
	t.Helper()
	tokens, err := s.user.WorkspaceTokens(t.Context(), api.Me, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens {
		if err := s.user.RevokeWorkspaceToken(t.Context(), api.Me, s.ID, token.ID); err != nil {
			t.Fatal(err)
		}
	}
}
