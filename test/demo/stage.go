package main

import (
	"bufio"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/test/forge"
	"golang.org/x/crypto/ssh"
)

// A stage is the temporary directory and all that runs in it.
type stage struct {
	bin, dir string

	once   sync.Once
	shells []*shell
	stop   []func() // what ends the forge
}

func newStage(bin string) (*stage, error) {
	dir, err := os.MkdirTemp("", "latchkey-demo-")
	if err != nil {
		return nil, err
	}
	s := &stage{bin: bin, dir: dir}
	return s, os.Mkdir(s.forgeDir(), 0o700)
}

func (s *stage) say(text string) {
	for _, sh := range s.shells {
		if sh.err != nil {
			return
		}
	}
	fmt.Printf("\n# %s\n", text)
}

// A shell is a real sh of one person, in a home of their own.
type shell struct {
	name, home string
	cmd        *exec.Cmd
	in         io.WriteCloser
	out        *bufio.Reader
	err        error // of the first command that failed; those after it are not run
}

func (s *stage) shell(name string) (*shell, error) {
	sh := &shell{name: name, home: filepath.Join(s.dir, name)}
	if err := os.MkdirAll(filepath.Join(sh.home, "run"), 0o700); err != nil {
		return nil, err
	}
	gitconfig := fmt.Sprintf("[user]\n\tname = %s\n\temail = %s@example.com\n[init]\n\tdefaultBranch = main\n", name, name)
	if err := os.WriteFile(filepath.Join(sh.home, ".gitconfig"), []byte(gitconfig), 0o600); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	sh.cmd = exec.Command("sh")
	sh.cmd.Dir = sh.home
	sh.cmd.Env = []string{
		"HOME=" + sh.home, "XDG_RUNTIME_DIR=" + filepath.Join(sh.home, "run"), "TMPDIR=" + s.dir,
		"PATH=" + s.bin + ":" + os.Getenv("PATH"), "SHELL=/bin/sh", "LANG=C", "GIT_CONFIG_NOSYSTEM=1",
	}
	sh.cmd.Stdout, sh.cmd.Stderr = w, w
	sh.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that what it starts ends with it
	if sh.in, err = sh.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	sh.out = bufio.NewReader(r)
	s.shells = append(s.shells, sh)
	return sh, sh.cmd.Start()
}

// run shows a command and what it prints, which it also returns.
func (sh *shell) run(command string) string {
	if sh.err != nil {
		return ""
	}
	fmt.Printf("%s$ %s\n", sh.name, command)
	const end = "-- demo: command ended:"
	fmt.Fprintf(sh.in, "%s\necho '%s' $?\n", command, end)
	var printed strings.Builder
	for {
		line, err := sh.out.ReadString('\n')
		if err != nil {
			sh.err = fmt.Errorf("%s: the shell ended: %w", command, err)
			return ""
		}
		if before, status, ok := strings.Cut(line, end); ok {
			printed.WriteString(before)
			if before != "" {
				fmt.Println(before)
			}
			if status = strings.TrimSpace(status); status != "0" {
				sh.err = fmt.Errorf("%s: exit status %s", command, status)
			}
			return printed.String()
		}
		fmt.Print(line)
		printed.WriteString(line)
	}
}

// await waits until a program that runs in the background has written what it
// is asked for to a file in the shell's home, and returns the first group.
func (sh *shell) await(file string, re *regexp.Regexp) (string, error) {
	if sh.err != nil {
		return "", sh.err
	}
	path := filepath.Join(sh.home, file)
	var text []byte
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		text, _ = os.ReadFile(path)
		if m := re.FindSubmatch(text); m != nil {
			fmt.Printf("%s$ cat %s\n%s", sh.name, file, text)
			return string(m[1]), nil
		}
	}
	return "", fmt.Errorf("%s: nothing like %s within 20 s; it holds:\n%s", path, re, text)
}

func (s *stage) forgeDir() string       { return filepath.Join(s.dir, "forge") }
func (s *stage) authorizedKeys() string { return filepath.Join(s.forgeDir(), "authorized_keys") }

// sshd is the installed sshd's path, "" if there is none that lets us in.
func sshd() string {
	path, err := exec.LookPath("sshd")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/sshd")
	}
	if err != nil {
		return ""
	}
	// An account that is locked ("!" before the password's hash) cannot log
	// in, not even with a key.
	shadow, _ := os.ReadFile("/etc/shadow")
	if os.Getuid() == 0 && regexp.MustCompile(`(?m)^root:!`).Match(shadow) {
		return ""
	}
	// Nor one whose shell lets nobody in.
	accounts, _ := os.ReadFile("/etc/passwd")
	if regexp.MustCompile(fmt.Sprintf(`(?m)^[^:]*:[^:]*:%d:.*/(nologin|false)$`, os.Getuid())).Match(accounts) {
		return ""
	}
	return path
}

func (s *stage) forgeKind() string {
	if path := sshd(); path != "" {
		return "the sshd of this machine, " + path
	}
	return "a small Git server over SSH, as this machine has no sshd"
}

// startForge serves an empty repository app.git over SSH, and writes the
// ssh_config that knows its host key.
func (s *stage) startForge() error {
	git := exec.Command("git", "init", "--quiet", "--bare", "--initial-branch=main", filepath.Join(s.forgeDir(), "app.git"))
	if out, err := git.CombinedOutput(); err != nil {
		return fmt.Errorf("git init: %w: %s", err, out)
	}
	_, hostKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromKey(hostKey)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	knownHosts := filepath.Join(s.dir, "ada", "known_hosts")
	config := fmt.Sprintf("Host forge\n\tHostName 127.0.0.1\n\tPort %d\n\tUserKnownHostsFile %s\n\tHostKeyAlias forge\n", port, knownHosts)
	err = errors.Join(
		os.WriteFile(knownHosts, append([]byte("forge "), ssh.MarshalAuthorizedKey(signer.PublicKey())...), 0o600),
		os.WriteFile(filepath.Join(s.dir, "ada", "ssh_config"), []byte(config), 0o600))
	if err != nil {
		return err
	}
	if path := sshd(); path != "" {
		l.Close()
		return s.startSSHD(path, port, hostKey)
	}
	f := &forge.Forge{Root: s.forgeDir(), AuthorizedKeys: s.authorizedKeys(), HostKey: signer}
	go f.Serve(l)
	s.stop = append(s.stop, func() { f.Close() })
	return nil
}

func (s *stage) startSSHD(path string, port int, hostKey ed25519.PrivateKey) error {
	block, err := ssh.MarshalPrivateKey(hostKey, "the demo's forge")
	if err != nil {
		return err
	}
	keyFile, configFile := filepath.Join(s.forgeDir(), "host_key"), filepath.Join(s.forgeDir(), "sshd_config")
	config := fmt.Sprintf(`ListenAddress 127.0.0.1:%d
HostKey %s
AuthorizedKeysFile %s
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
AcceptEnv GIT_PROTOCOL
ForceCommand cd %s && git shell -c "$SSH_ORIGINAL_COMMAND"
`, port, keyFile, s.authorizedKeys(), s.forgeDir())
	err = errors.Join(
		os.WriteFile(keyFile, pem.EncodeToMemory(block), 0o600),
		os.WriteFile(configFile, []byte(config), 0o600))
	if err != nil {
		return err
	}
	if os.Getuid() == 0 && os.Mkdir("/run/sshd", 0o755) == nil { // sshd asks for it, and may never have run here
		s.stop = append(s.stop, func() { os.Remove("/run/sshd") })
	}
	cmd := exec.Command(path, "-D", "-e", "-f", configFile)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.stop = append(s.stop, func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(stderr)
	var said []string
	for lines.Scan() {
		if said = append(said, lines.Text()); strings.Contains(lines.Text(), "Server listening") {
			go io.Copy(io.Discard, stderr)
			return nil
		}
	}
	return fmt.Errorf("sshd did not start: %s", strings.Join(said, "; "))
}

// clear ends all that runs and removes the directory.
func (s *stage) clear() (err error) {
	s.once.Do(func() {
		for _, sh := range s.shells {
			// The shell's whole process group: the server and the daemon too.
			syscall.Kill(-sh.cmd.Process.Pid, syscall.SIGTERM)
			sh.in.Close()
			io.Copy(io.Discard, sh.out) // until all of them have ended
			sh.cmd.Wait()
		}
		for i := len(s.stop) - 1; i >= 0; i-- {
			s.stop[i]()
		}
		err = os.RemoveAll(s.dir)
	})
	return err
}
