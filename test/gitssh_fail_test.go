package test

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Where the Latchkey key cannot be had, one line says so and why, and the user's
// own keys get their try.
func TestGitSSHWithoutKey(t *testing.T) {
	var (
		down     = func(t *testing.T, s *stage) { s.server.stop(t) }
		revoked  = func(t *testing.T, s *stage) { s.revoke(t) }
		daemon   = func(t *testing.T, s *stage) { s.StartDaemon(t) }
		noToken  = func(t *testing.T, s *stage) { s.Env = without(s.Env, "LATCHKEY_TOKEN_FILE=") }
		mistyped = func(t *testing.T, s *stage) { s.Write(t, ".latchkey.token", s.Token[:len(s.Token)-1]+"?\n") }
		wide     = func(t *testing.T, s *stage) {
			if err := os.Chmod(filepath.Join(s.Home, ".latchkey.token"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		noRuntime = func(t *testing.T, s *stage) {
			if err := os.Chmod(s.Runtime, 0o777); err != nil {
				t.Fatal(err)
			}
		}
	)
	type steps []func(*testing.T, *stage)
	tests := []struct {
		name  string
		steps steps
		want  string // in the line
	}{
		{"server down", steps{down}, "reaching the key server"},
		{"token revoked", steps{revoked}, "token"},
		{"no token", steps{noToken}, "latchkey agent"},
		{"token mistyped", steps{mistyped}, "checksum"},
		{"token readable by others", steps{wide}, "chmod 600"},
		{"runtime directory open to others", steps{noRuntime}, "chmod 700"},
		{"daemon, server down", steps{daemon, down}, "reaching the key server"},
		{"daemon, server down from the start", steps{down, daemon}, "reaching the key server"},
		{"daemon, token revoked", steps{daemon, revoked}, ` ("latchkey status" says more)`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStage(t)
			own := s.ownAgent(t, 1)
			s.sshd.Authorize(t, s.user.publicKey(t), own[0])
			for _, step := range tt.steps {
				step(t, s)
			}
			out, err := s.Try(t, "git", "ls-remote", s.url())
			if err != nil {
				t.Fatalf("the user's own key did not get its try: %v\n%s", err, out)
			}
			lines := ownLines(out)
			if len(lines) != 1 || !strings.HasPrefix(lines[0], "latchkey: warning: ") || !strings.Contains(lines[0], tt.want) {
				t.Errorf("git ls-remote printed %q; want one warning that names %q", lines, tt.want)
			}
			if strings.Contains(out, s.Token) {
				t.Errorf("the token is printed:\n%s", out)
			}
		})
	}
}

// The server is down, and so are all hops: still one line.
func TestGitSSHOneWarningForAllHops(t *testing.T) {
	s := newStage(t)
	own := s.ownAgent(t, 1)
	hop := startSSHD(t, nil)
	hop.Authorize(t, own...)
	s.sshd.Authorize(t, own...)
	s.Reaches(t, s.sshd.host("forge", "ProxyJump hop"), hop.host("hop"))
	s.server.stop(t)
	if out, err := s.Try(t, "git", "ls-remote", s.url()); err != nil || len(ownLines(out)) != 1 {
		t.Errorf("git ls-remote over a hop, the server down: %v, %q; want success and one line:\n%s", err, ownLines(out), out)
	}
}

// A host that refuses the key is answered with a hint behind ssh's own message.
func TestGitSSHHint(t *testing.T) {
	withAndWithoutDaemon(t, nil, func(t *testing.T, s *stage) {
		s.sshd.Authorize(t)
		s.ownAgent(t, 1) // refused as well
		out, err := s.Try(t, "git", "ls-remote", s.url())
		if err == nil {
			t.Fatalf("git ls-remote without an authorized key succeeded:\n%s", out)
		}
		want := "Permission denied (publickey).\r\nlatchkey: hint: forge does not know your key: add this line to your account there\n" + s.user.publicKey(t) + "\n"
		if !strings.Contains(out, want) {
			t.Errorf("git ls-remote printed\n%s\nwant in it\n%s", out, want)
		}
		if n := s.server.fetches(t); n != 0 {
			t.Errorf("a refused key was fetched %d times; want not at all", n)
		}
	})
}

// No hint where the forge did not refuse the key.
func TestGitSSHNoHint(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	private, _ := newKey(t)
	_, strange := newKey(t)
	nobodys, err := strconv.Atoi(freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	id := s.Write(t, "id", string(private))
	unknown := s.sshd.host("unknown", "StrictHostKeyChecking yes")
	unknown.key = strange
	refusing := host{alias: "refusing", user: "git", key: s.sshd.HostKey, port: nobodys}
	config := s.Reaches(t, s.sshd.host("forge"), unknown, refusing, s.sshd.host("explicit", "IdentityFile "+id))
	s.Write(t, ".ssh/config", readFile(t, config)+"Host nowhere\n\tHostName nowhere.invalid\n")
	own := s.ownAgent(t, 1)
	tests := []struct {
		name, host, command string
		authorized          []string
		want                string // in ssh's own message, or ""
	}{
		{"a command that exits 255", "forge", "exit 255", []string{s.user.publicKey(t)}, ""},
		{"a command that exits 255, with the user's own key", "forge", "exit 255", own, ""},
		{"an unknown host key", "unknown", "true", nil, "Host key verification failed"},
		{"nobody there", "refusing", "true", nil, "Connection refused"},
		{"no such host", "nowhere", "true", nil, "Could not resolve hostname"},
		{"an IdentityFile that is refused", "explicit", "true", []string{s.user.publicKey(t)}, "Permission denied"},
	}
	for _, tt := range tests {
		s.sshd.Authorize(t, tt.authorized...)
		cmd := s.Command(t, "latchkey", "gitssh", "--", "-F", config, tt.host, tt.command)
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 255 {
			t.Errorf("%s: exit status %d, %v; want 255", tt.name, code, err)
		}
		if !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: ssh said\n%s\nwant %q", tt.name, out, tt.want)
		}
		if lines := ownLines(string(out)); len(lines) > 0 {
			t.Errorf("%s: latchkey said %q; want nothing", tt.name, lines)
		}
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// No hint either if the forge has let the user in by other means, and the
// command exits 255. The helper knows because ssh leaves its agent, and so the
// helper the user's, while it goes on.
func TestGitSSHNoHintAfterLogin(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	left := make(chan struct{})
	s.Setenv("SSH_AUTH_SOCK", serveOneClient(t, left))
	config := s.Reaches(t, startDoor(t, left))
	cmd := s.Command(t, "latchkey", "gitssh", "--", "-F", config, "door", "some command")
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 255 || len(ownLines(string(out))) > 0 {
		t.Errorf("a command that exits 255 behind a login without a key: %v, want exit status 255 and no hint:\n%s", err, out)
	}
}

// serveOneClient serves an agent without keys, and closes left when its client
// has left.
func serveOneClient(t testing.TB, left chan<- struct{}) (socket string) {
	t.Helper()
	socket = filepath.Join(openDir(t), "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(socket, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		defer close(left)
		if c, err := l.Accept(); err == nil {
			agent.ServeAgent(agent.NewKeyring(), c)
			c.Close()
		}
	}()
	return socket
}

// startDoor starts a host, "door", that refuses every key and lets everybody in
// who asks otherwise. A command there exits 255 once done is closed.
func startDoor(t testing.TB, done <-chan struct{}) host {
	t.Helper()
	private, public := newKey(t)
	hostKey, err := gossh.ParsePrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	door := &ssh.Server{
		Handler: func(s ssh.Session) {
			<-done
			s.Exit(255)
		},
		PublicKeyHandler:           func(ssh.Context, ssh.PublicKey) bool { return false },
		KeyboardInteractiveHandler: func(ssh.Context, gossh.KeyboardInteractiveChallenge) bool { return true },
	}
	door.AddHostKey(hostKey)
	go door.Serve(l)
	t.Cleanup(func() { door.Close() })
	return host{alias: "door", user: "git", key: public, port: l.Addr().(*net.TCPAddr).Port, lines: []string{"BatchMode no"}}
}
