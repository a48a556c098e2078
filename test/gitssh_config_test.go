package test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/test/forge"
)

// An sshd that takes one key only takes the Latchkey key of a user whose own
// agent has eight others.
func TestGitSSHFirstOfNine(t *testing.T) {
	withAndWithoutDaemon(t, []string{"MaxAuthTries 1"}, func(t *testing.T, s *stage) {
		s.ownAgent(t, 8)
		s.Run(t, "git", "ls-remote", s.url())
	})
}

// What a host was offered, in order, by the name of the key.
type offers struct {
	mu    sync.Mutex
	names map[string]string // from the wire form of a public key
	seen  []string
}

func (o *offers) name(t testing.TB, line, name string) {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	o.names[string(key.Marshal())] = name
}

func (o *offers) offered(key ssh.PublicKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if name := o.names[string(key.Marshal())]; len(o.seen) == 0 || o.seen[len(o.seen)-1] != name {
		o.seen = append(o.seen, name) // asked about first and then signed with: once
	}
}

func (o *offers) take() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer func() { o.seen = nil }()
	return strings.Join(o.seen, " ")
}

// startForge starts a forge that lets nobody in and tells what it was offered.
func startForge(t testing.TB) (host, *offers) {
	t.Helper()
	private, public := newKey(t)
	hostKey, err := ssh.ParsePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir := openDir(t)
	o := &offers{names: map[string]string{}}
	writeFile(t, filepath.Join(dir, "authorized_keys"), nil, 0o600)
	f := &forge.Forge{Root: dir, AuthorizedKeys: filepath.Join(dir, "authorized_keys"), HostKey: hostKey, Offered: o.offered}
	ended := make(chan error, 1)
	go func() { ended <- f.Serve(l) }()
	t.Cleanup(func() {
		f.Close()
		if err := <-ended; err != nil {
			t.Errorf("forge: %v", err)
		}
	})
	return host{alias: "forge", user: "git", key: public, port: l.Addr().(*net.TCPAddr).Port}, o
}

// The order in which a host is offered keys, by what the user configured.
func TestGitSSHOrder(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	forge, offers := startForge(t)
	own := s.ownAgent(t, 2)
	offers.name(t, s.user.publicKey(t), "latchkey")
	offers.name(t, own[0], "own0")
	offers.name(t, own[1], "own1")
	for _, name := range []string{"file", "other"} {
		private, public := newKey(t)
		offers.name(t, public, name)
		s.Write(t, name, string(private))
		s.Write(t, name+".pub", public+"\n")
	}
	s.Write(t, "own1.pub", own[1]+"\n")
	other := s.startAgent(t, "other.sock")
	s.Run(t, "env", "SSH_AUTH_SOCK="+other, "ssh-add", "-q", filepath.Join(s.Home, "other"))
	in := func(name string) string { return filepath.Join(s.Home, name) }
	tests := []struct {
		name  string
		lines []string
		want  string
	}{
		{"nothing", nil, "latchkey own0 own1"},
		{"identities only", []string{"IdentitiesOnly yes"}, "latchkey own0 own1"},
		{"a key file", []string{"IdentityFile " + in("file")}, "own0 own1 file"},
		{"a key file and nothing else", []string{"IdentityFile " + in("file"), "IdentitiesOnly yes"}, "file"},
		{"a key file by tokens", []string{"IdentityFile " + s.Home + "/%n_none", "IdentityFile " + s.Home + "/fi${LE}", "IdentitiesOnly yes"}, "file"},
		{"a key file that is not there", []string{"IdentityFile " + in("gone")}, "latchkey own0 own1"},
		{"no key file", []string{"IdentityFile none"}, "latchkey own0 own1"},
		{"a public key of the own agent", []string{"IdentityFile " + in("own1.pub")}, "own1 latchkey own0"},
		{"the name of a key of the own agent", []string{"IdentityFile " + in("own1"), "IdentitiesOnly yes"}, "own1 latchkey own0"},
		{"another agent", []string{"IdentityAgent " + other}, "latchkey other"},
		{"no agent", []string{"IdentityAgent none"}, "latchkey"},
		{"the agent of the environment", []string{"IdentityAgent SSH_AUTH_SOCK"}, "latchkey own0 own1"},
		{"an agent that is gone", []string{"IdentityAgent " + in("gone.sock")}, "latchkey"},
	}
	s.Setenv("LE", "le")
	for _, tt := range tests {
		h := forge
		h.lines = append(tt.lines, "PreferredAuthentications publickey")
		s.Reaches(t, h)
		s.Try(t, "git", "ls-remote", "forge:app")
		if got := offers.take(); got != tt.want {
			t.Errorf("with %s configured the host was offered %q; want %q", tt.name, got, tt.want)
		}
	}
	// The same by arguments, as in GIT_SSH_COMMAND.
	config := s.Reaches(t, forge)
	for args, want := range map[string]string{
		"-i " + in("file"):                 "own0 own1 file",
		"-oIdentityFile=" + in("file"):     "own0 own1 file",
		"-i " + in("gone"):                 "latchkey own0 own1",
		"-o IdentitiesOnly=yes":            "latchkey own0 own1",
		"-o IdentityAgent=none":            "latchkey",
		"-o IdentityAgent=" + in("gone.s"): "latchkey",
	} {
		s.Setenv("GIT_SSH_COMMAND", "latchkey gitssh -- "+args+" -F "+config)
		s.Try(t, "git", "ls-remote", "forge:app")
		if got := offers.take(); got != want {
			t.Errorf("with %s the host was offered %q; want %q", args, got, want)
		}
	}
}

// The user's own key file logs in, and the Latchkey key is not even fetched.
func TestGitSSHExplicitIdentity(t *testing.T) {
	withAndWithoutDaemon(t, nil, func(t *testing.T, s *stage) {
		private, public := newKey(t)
		s.sshd.Authorize(t, public)
		s.Reaches(t, s.sshd.host("forge", "IdentityFile "+s.Write(t, "id", string(private))))
		s.Run(t, "git", "ls-remote", s.url())
		if n := s.server.fetches(t); n != 0 {
			t.Errorf("the Latchkey key was fetched %d times for a host with an IdentityFile; want not at all", n)
		}
		if log := s.sshd.Log(t); strings.Contains(log, "Failed publickey") {
			t.Errorf("another key was offered to a host with an IdentityFile:\n%s", log)
		}
	})
}

// Our agent is not forwarded, whatever the user configured; with -A their own is.
func TestGitSSHForwarding(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	config := s.Reaches(t, s.sshd.host("forge", "ForwardAgent yes"))
	const ask = `if [ -n "$SSH_AUTH_SOCK" ]; then ssh-add -L; else echo none; fi`
	run := func(args ...string) string {
		out, err := s.Try(t, "latchkey", append(append([]string{"gitssh", "--", "-F", config}, args...), "forge", ask)...)
		return fmt.Sprint(out, err)
	}
	if got := run(); !strings.HasPrefix(got, "none\n") {
		t.Errorf("with ForwardAgent yes the host sees an agent: %s", got)
	}
	ours := strings.Fields(s.user.publicKey(t))[1]
	if got := run("-A"); strings.Contains(got, ours) {
		t.Errorf("with -A, and no agent of the user's own, the host sees the Latchkey key: %s", got)
	}
	own := s.ownAgent(t, 1)
	if got := run("-A"); strings.Contains(got, ours) || !strings.Contains(got, strings.Fields(own[0])[1]) {
		t.Errorf("with -A the host sees %s; want the own agent's key and not the Latchkey key", got)
	}
}

// A host with a key of the user's own gets that, and nothing of ours, even where
// SSH_AUTH_SOCK is the daemon's.
func TestGitSSHAside(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	private, public := newKey(t)
	s.sshd.Authorize(t, public)
	own := "IdentityFile " + s.Write(t, "id", string(private))
	for _, lines := range [][]string{
		{own, "ForwardAgent yes"},
		{own, "ForwardAgent yes", "IdentityAgent " + s.AgentSocket()},
	} {
		config := s.Reaches(t, s.sshd.host("forge", lines...))
		out := s.Run(t, "latchkey", "gitssh", "--", "-F", config, "forge", "ssh-add -L; true")
		if strings.Contains(out, strings.Fields(s.user.publicKey(t))[1]) {
			t.Errorf("with %q the host sees our agent: %s", lines, out)
		}
	}
	if n := s.server.fetches(t); n != 0 {
		t.Errorf("the Latchkey key was fetched %d times for a host with an IdentityFile; want not at all", n)
	}
}

// If the helper can't serve an agent, the daemon's is not forwarded either.
func TestGitSSHWithoutRuntimeDir(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	private, public := newKey(t)
	s.sshd.Authorize(t, public)
	config := s.Reaches(t, s.sshd.host("forge", "ForwardAgent yes"))
	id := s.Write(t, "id", string(private))
	if err := os.Chmod(s.Runtime, 0o755); err != nil {
		t.Fatal(err)
	}
	out := s.Run(t, "latchkey", "gitssh", "--", "-F", config, "-i", id, "forge", "ssh-add -L; true")
	if strings.Contains(out, strings.Fields(s.user.publicKey(t))[1]) {
		t.Errorf("the host sees our agent: %s", out)
	}
}

// No master connection is left that would log in after the key is gone.
func TestGitSSHNoMaster(t *testing.T) {
	withAndWithoutDaemon(t, nil, func(t *testing.T, s *stage) {
		socket := filepath.Join(s.Home, "master-%C")
		config := s.Reaches(t, s.sshd.host("forge", "ControlMaster auto", "ControlPersist yes", "ControlPath "+socket))
		s.Run(t, "git", "ls-remote", s.url())
		s.Run(t, "latchkey", "gitssh", "--", "-F", config, "-M", "-S", socket, "forge", "true")
		if masters, _ := filepath.Glob(filepath.Join(s.Home, "master-*")); len(masters) > 0 {
			t.Errorf("there is a master connection, %v; want none", masters)
		}
		s.revoke(t)
		if _, err := s.user.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{}); err != nil {
			t.Fatal(err)
		}
		s.sshd.Authorize(t, s.user.publicKey(t)) // as the user would at the forge
		if out, err := s.Try(t, "git", "ls-remote", s.url()); err == nil {
			t.Errorf("a connection still logs in after the token is revoked and the key rotated:\n%s", out)
		}
	})
}

// The hops of a ProxyJump get the key as well, and leave no master connection.
func TestGitSSHProxyJump(t *testing.T) {
	withAndWithoutDaemon(t, nil, func(t *testing.T, s *stage) {
		hops := []*sshd{startSSHD(t, nil), startSSHD(t, nil)}
		for _, h := range hops {
			h.Authorize(t, s.user.publicKey(t))
		}
		master := []string{"ControlMaster auto", "ControlPersist yes", "ControlPath " + filepath.Join(s.Home, "master-%C"), "ForwardAgent yes"}
		config := s.Reaches(t,
			s.sshd.host("forge", append(master, "ProxyJump one,two")...),
			s.sshd.host("direct", master...),
			hops[0].host("one", master...), hops[1].host("two", master...))
		if s.Getenv("LATCHKEY_TOKEN_FILE") != "" && !s.daemonRuns() {
			// A token that the hops' helpers cannot see.
			s.Setenv("LATCHKEY_TOKEN", s.Token)
			s.Env = without(s.Env, "LATCHKEY_TOKEN_FILE=")
		}
		s.Run(t, "git", "ls-remote", s.url())
		if n := s.server.fetches(t); n != 1 {
			t.Errorf("three logins of one git command fetched the private key %d times; want once", n)
		}
		s.Setenv("GIT_SSH_COMMAND", "latchkey gitssh -- -J two -F "+config)
		s.Run(t, "git", "ls-remote", "direct:"+s.repo)
		for i, want := range []int{1, 2} {
			if n := strings.Count(hops[i].Log(t), "Accepted publickey"); n != want {
				t.Errorf("hop %d was logged in to %d times; want %d", i+1, n, want)
			}
		}
		if masters, _ := filepath.Glob(filepath.Join(s.Home, "master-*")); len(masters) > 0 {
			t.Errorf("there is a master connection, %v; want none", masters)
		}
		s.leavesNothing(t)
	})
}

// The ssh that a user's ProxyCommand runs is a hop like any other.
func TestGitSSHProxyCommand(t *testing.T) {
	withAndWithoutDaemon(t, nil, func(t *testing.T, s *stage) {
		hop := startSSHD(t, nil)
		hop.Authorize(t, s.user.publicKey(t))
		master := []string{"ControlMaster auto", "ControlPersist yes", "ControlPath " + filepath.Join(s.Home, "master-%C"), "ForwardAgent yes"}
		config := filepath.Join(s.Home, ".ssh/config")
		s.Reaches(t,
			s.sshd.host("forge", append(master, "ProxyCommand ssh -F "+config+" -W %h:%p hop")...),
			hop.host("hop", master...))
		s.Run(t, "git", "ls-remote", s.url())
		if n := strings.Count(hop.Log(t), "Accepted publickey"); n != 1 {
			t.Errorf("the hop was logged in to %d times; want once", n)
		}
		if masters, _ := filepath.Glob(filepath.Join(s.Home, "master-*")); len(masters) > 0 {
			t.Errorf("there is a master connection, %v; want none", masters)
		}
		s.leavesNothing(t)
	})
}

func (w *workspace) daemonRuns() bool {
	_, err := os.Stat(w.AgentSocket())
	return err == nil
}

func without(env []string, prefix string) (out []string) {
	for _, v := range env {
		if !strings.HasPrefix(v, prefix) {
			out = append(out, v)
		}
	}
	return out
}
