package test

import (
	"crypto"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
)

// An sshd is a real sshd that serves Git repositories. It is started per
// connection, as inetd did it ("sshd -i"), so that it is ready at once and its
// port is never another's.
type sshd struct {
	Dir     string // repositories, configuration, authorized_keys
	Port    int
	User    string // the account to log in as
	HostKey string // its public key, "ssh-ed25519 …"

	argv  []string
	wrap  wrapper
	l     net.Listener
	conns sync.WaitGroup
	mu    sync.Mutex
	open  int // clients that have come and not gone
	log   strings.Builder
}

// startSSHD serves until the test ends. lines are added in front of its
// configuration, where they win. wrap may be nil.
func startSSHD(t testing.TB, wrap wrapper, lines ...string) *sshd {
	t.Helper()
	path := need(t, "sshd")
	me, err := osuser.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{Dir: openDir(t), User: me.Username}
	hostKey := s.makeHostKey(t)
	s.Authorize(t)
	config := filepath.Join(s.Dir, "sshd_config")
	writeFile(t, config, []byte(strings.Join(append(lines,
		"HostKey "+hostKey,
		"ListenAddress 127.0.0.1", // unused, but without it sshd looks for all addresses of the machine
		"AuthorizedKeysFile "+s.authorizedKeys(),
		"AcceptEnv GIT_PROTOCOL",
		"PidFile none",
		"UsePAM no",
		"StrictModes no",
		"PermitRootLogin yes",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"LogLevel VERBOSE",
		"",
	), "\n")), 0o600)
	if os.Geteuid() == 0 {
		unlocked(t)
		privilegeSeparation(t)
	}
	s.argv, s.wrap = []string{path, "-i", "-e", "-f", config}, wrap

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Port = l.Addr().(*net.TCPAddr).Port
	s.l = l
	s.conns.Go(s.serve)
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("sshd said:\n%s", s.Log(t))
		}
	})
	return s
}

// unlocked ends the test if root's account is locked ("!" before the hash of
// its password): sshd then lets nobody in, not even with a key.
func unlocked(t testing.TB) {
	t.Helper()
	shadow, err := os.ReadFile("/etc/shadow")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(shadow)) {
		if strings.HasPrefix(line, "root:!") {
			lacks(t, "sshd lets nobody log in to root's account, which is locked: usermod -p '*' root")
		}
	}
}

// privilegeSeparation makes the empty directory that sshd asks for if root
// starts it. It stays: an sshd of the machine or of another test may be using it.
func privilegeSeparation(t testing.TB) {
	t.Helper()
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
}

func (s *sshd) makeHostKey(t testing.TB) (file string) {
	t.Helper()
	private, public := newKey(t)
	s.HostKey = public
	file = filepath.Join(s.Dir, "host_key")
	writeFile(t, file, private, 0o600)
	return file
}

// newKey makes an ed25519 key: an OpenSSH private key file, and the line for
// authorized_keys.
func newKey(t testing.TB) (privatePEM []byte, public string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return encodeKey(t, key)
}

// encodeKey writes a private key of the standard library as newKey does.
func encodeKey(t testing.TB, key crypto.Signer) (privatePEM []byte, public string) {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p)))
}

// stop ends the sshd when its clients have ended. A second call does nothing.
func (s *sshd) stop() {
	s.l.Close()
	s.conns.Wait()
}

// serve starts an sshd for each connection.
func (s *sshd) serve() {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		f, err := c.(*net.TCPConn).File()
		c.Close()
		if err != nil {
			continue
		}
		s.count(1)
		s.conns.Go(func() { s.session(f); s.count(-1) })
	}
}

func (s *sshd) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
}

func (s *sshd) session(conn *os.File) {
	defer conn.Close()
	argv := s.wrap.wrap(s.argv)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = conn, conn, s
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(s, err)
		return
	}
	conn.Close() // or the client would not see the end of it
	cmd.Wait()
}

// Write takes what the sshds print.
func (s *sshd) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

// Log is what the sshds have said, at LogLevel VERBOSE. It waits until their clients
// have gone: what one was told is in the log by the time that its sshd has ended, and
// not always when the client has.
func (s *sshd) Log(t testing.TB) (log string) {
	t.Helper()
	await(t, "the clients of an sshd have gone", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		log = s.log.String()
		return s.open == 0
	})
	return log
}

func (s *sshd) authorizedKeys() string { return filepath.Join(s.Dir, "authorized_keys") }

// Authorize lets exactly these public keys in.
func (s *sshd) Authorize(t testing.TB, publicKeys ...string) {
	t.Helper()
	writeFile(t, s.authorizedKeys(), []byte(strings.Join(append(publicKeys, ""), "\n")), 0o600)
}

// Repository makes a bare repository with one commit on main, and returns its
// path: "ALIAS:PATH" is its URL.
func (s *sshd) Repository(t testing.TB, name string) (path string) {
	t.Helper()
	path = filepath.Join(s.Dir, name+".git")
	script := `set -e
git init -q --bare --initial-branch=main "$0"
tree=$(git -C "$0" hash-object -t tree -w --stdin </dev/null)
git -C "$0" update-ref refs/heads/main "$(git -C "$0" commit-tree -m first "$tree")"`
	cmd := exec.Command("sh", "-c", script, path)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=forge", "GIT_AUTHOR_EMAIL=forge@example.com", "GIT_COMMITTER_NAME=forge", "GIT_COMMITTER_EMAIL=forge@example.com"}
	need(t, "git")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("making the repository %s: %v\n%s", path, err, out)
	}
	return path
}
