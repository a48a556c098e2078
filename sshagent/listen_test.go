package sshagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// nobody is an ordinary user.
const nobody = 65534

// The test program plays a client when this names a socket, and a daemon that
// listens there when that does.
const (
	envPlayClient = "SSHAGENT_TEST_CLIENT"
	envPlayDaemon = "SSHAGENT_TEST_DAEMON"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(envPlayClient) != "":
		os.Exit(playClient(os.Getenv(envPlayClient)))
	case os.Getenv(envPlayDaemon) != "":
		os.Exit(playDaemon(os.Getenv(envPlayDaemon)))
	}
	os.Exit(m.Run())
}

// playClient asks for a list and prints the number of the message that came.
func playClient(path string) int {
	conn, err := net.Dial("unix", path)
	if err != nil {
		fmt.Println(err)
		return 0
	}
	answer, err := tryExchange(conn, []byte{agentRequestIdentities})
	if err != nil {
		fmt.Println("no answer")
		return 0
	}
	fmt.Println("message", answer[0])
	return 0
}

// playDaemon serves until its input ends, or until it is killed.
func playDaemon(path string) int {
	l, err := Listen(path)
	switch {
	case errors.Is(err, ErrInUse):
		fmt.Println("in use")
		return 0
	case err != nil:
		fmt.Println(err)
		return 1
	}
	s, served := &Server{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}, make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	fmt.Println("listening")
	io.Copy(io.Discard, os.Stdin)
	if err := s.Shutdown(context.Background()); err != nil || <-served != ErrServerClosed {
		return 1
	}
	return 0
}

func command(env, path string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env+"="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

// startDaemon runs a daemon until the test ends, and returns what it said first.
func startDaemon(t *testing.T, cmd *exec.Cmd) (said string) {
	t.Helper()
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	buf := make([]byte, 100)
	n, err := stdout.Read(buf)
	if err != nil {
		t.Errorf("a daemon said nothing: %v", err)
	}
	return string(bytes.TrimSpace(buf[:n]))
}

// Each agent serves its own user and root.
func TestPeers(t *testing.T) {
	if os.Geteuid() != 0 {
		lacks(t, "run this test as root: it plays other users")
	}
	const somebody = nobody - 1
	program := publicCopy(t)
	as := func(cmd *exec.Cmd, uid uint32) *exec.Cmd {
		cmd.Path, cmd.Dir = program, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return cmd
	}
	for _, owner := range []uint32{0, nobody} {
		dir := privateDir(t)
		path := filepath.Join(dir, "agent.sock")
		if err := errors.Join(os.Chown(dir, int(owner), int(owner)), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
		var logged logBuffer
		daemon := as(command(envPlayDaemon, path), owner)
		daemon.Stderr = &logged
		if said := startDaemon(t, daemon); said != "listening" {
			t.Fatalf("the daemon of user %d says %q; want it to listen", owner, said)
		}
		ask := func(uid uint32) string {
			out, err := as(command(envPlayClient, path), uid).Output()
			if err != nil {
				t.Errorf("the client of user %d: %v: %s", uid, err, out)
			}
			return strings.TrimSpace(string(out))
		}
		if got := ask(somebody); !strings.Contains(got, "permission denied") {
			t.Errorf("another user got %q from the socket of user %d; want permission denied", got, owner)
		}
		// From here on it is the peer's user alone that decides.
		if err := os.Chmod(path, 0o666); err != nil {
			t.Fatal(err)
		}
		const served, refused = "message 12", "no answer"
		for _, tt := range []struct {
			uid  uint32
			want string
		}{{somebody, refused}, {owner, served}, {0, served}} {
			if got := ask(tt.uid); got != tt.want {
				t.Errorf("user %d got %q from the agent of user %d; want %q", tt.uid, got, owner, tt.want)
			}
		}
		daemon.Process.Kill()
		daemon.Wait() // all of the log is here then
		logged.want(t, "client refused", "another user", fmt.Sprint("uid ", somebody))
	}
}

// publicCopy copies the test program to where all users can run it.
func publicCopy(t *testing.T) string {
	t.Helper()
	dir := privateDir(t)
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "program")
	if err := errors.Join(os.WriteFile(path, program, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

// An HTTP server on such a listener goes on after a client of another user, too.
func TestPeerErrorIsTemporary(t *testing.T) {
	l := newMemListener()
	served := make(chan error, 1)
	server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.NotFoundHandler()}
	go func() { served <- server.Serve(l) }()
	l.errs <- &peerError{errors.New("another user")}
	conn := l.dial()
	if conn == nil {
		t.Fatalf("the server ended: %v", <-served)
	}
	conn.Close()
	server.Close()
	if err := <-served; err != http.ErrServerClosed {
		t.Errorf("Serve = %v; want ErrServerClosed", err)
	}
}

func TestListen(t *testing.T) {
	for _, umask := range []int{0o000, 0o022, 0o777} {
		path := filepath.Join(privateDir(t), "agent.sock")
		old := syscall.Umask(umask)
		l, err := Listen(path)
		syscall.Umask(old)
		if err != nil {
			t.Fatalf("umask %04o: %v", umask, err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != fs.ModeSocket|0o600 {
			t.Errorf("umask %04o: the socket's mode is %v, %v; want a socket's 0600", umask, info.Mode(), err)
		}
		for range 2 {
			if err := l.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		left, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(left) > 0 {
			t.Errorf("Close left %v, %v; want an empty directory", left, err)
		}
	}
}

// The mode is right before anybody can connect, whatever the umask.
func TestModeWhenBound(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := filepath.Join(privateDir(t), "socket")
	l, err := listenRestricted(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the mode of a new socket is %v, %v; want 0600", info.Mode(), err)
	}
}

func TestListenRefuses(t *testing.T) {
	for _, tt := range []struct {
		name      string
		prepare   func(t *testing.T, dir string) (path string)
		want      []string // in the message
		hint      string   // in the hint
		untouched bool     // what is there is still there
	}{
		{"a long path", func(t *testing.T, dir string) string {
			return filepath.Join(dir, strings.Repeat("x", maxPath-len(dir)))
		}, []string{fmt.Sprint(maxPath + 1), fmt.Sprint(maxPath)}, "shorter", false},
		{"no directory", func(t *testing.T, dir string) string {
			return filepath.Join(dir, "missing", "agent.sock")
		}, []string{"no directory", "missing"}, "mkdir -m 700", false},
		{"a file for a directory", func(t *testing.T, dir string) string {
			return filepath.Join(write(t, dir, "file"), "agent.sock")
		}, []string{"not a directory"}, "another directory", false},
		{"a directory for all", func(t *testing.T, dir string) string {
			return chmod(t, dir, 0o777)
		}, []string{"others can write", "0777"}, "chmod 700", false},
		{"a directory for a group", func(t *testing.T, dir string) string {
			return chmod(t, dir, 0o770)
		}, []string{"others can write", "0770"}, "chmod 700", false},
		{"a sticky directory for all", func(t *testing.T, dir string) string {
			return chmod(t, dir, 0o777|fs.ModeSticky)
		}, []string{"others can write"}, "of your own", false},
		{"another user's directory", func(t *testing.T, dir string) string {
			if os.Geteuid() != 0 {
				lacks(t, "run this test as root: it gives a directory to another user")
			}
			if err := os.Chown(dir, nobody, nobody); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(dir, "agent.sock")
		}, []string{"another user", fmt.Sprint(nobody)}, "of your own", false},
		{"a file", func(t *testing.T, dir string) string {
			return write(t, dir, "agent.sock")
		}, []string{"not a socket"}, "move it away", true},
		{"a link to a socket", func(t *testing.T, dir string) string {
			if err := os.Symlink(deadSocket(t, dir), filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(dir, "link")
		}, []string{"not a socket"}, "move it away", true},
		{"a directory in its place", func(t *testing.T, dir string) string {
			if err := os.Mkdir(filepath.Join(dir, "agent.sock"), 0o700); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(dir, "agent.sock")
		}, []string{"not a socket"}, "move it away", true},
		{"a socket of another kind", func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "agent.sock")
			conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return path
		}, []string{"seeing whether somebody listens"}, "rm ", true},
		{"a live socket that is not ours", func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "agent.sock")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return path
		}, []string{"another agent listens"}, "choose another path", true},
		{"a live socket of ours", func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "agent.sock")
			l, err := Listen(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return path
		}, []string{"another agent listens"}, "choose another path", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.prepare(t, privateDir(t))
			before, _ := os.Lstat(path)
			l, err := Listen(path)
			if err == nil {
				l.Close()
				t.Fatal("Listen succeeded; want an error")
			}
			var le *ListenError
			if !errors.As(err, &le) || le.Path != path || !strings.Contains(le.Hint, tt.hint) {
				t.Fatalf("Listen = %#v; want a ListenError of %s whose hint says %q", err, path, tt.hint)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("Listen = %q; want it to say %q", err, w)
				}
			}
			if after, _ := os.Lstat(path); tt.untouched && (after == nil || !os.SameFile(before, after)) {
				t.Errorf("%s is not what was there before", path)
			}
		})
	}
}

func write(t *testing.T, dir, name string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func chmod(t *testing.T, dir string, mode fs.FileMode) (path string) {
	t.Helper()
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "agent.sock")
}

// deadSocket leaves a socket on which nobody listens.
func deadSocket(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "agent.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// A longest path works, and names that Go takes for something else are paths.
func TestListenPaths(t *testing.T) {
	dir := privateDir(t)
	t.Chdir(dir)
	for _, path := range []string{
		filepath.Join(dir, strings.Repeat("x", maxPath-len(dir)-1)),
		"relative",
		"@abstract",
	} {
		l, err := Listen(path)
		if err != nil {
			t.Errorf("Listen(%q) = %v", path, err)
			continue
		}
		if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeSocket {
			t.Errorf("Listen(%q) made no socket there: %v", path, err)
		}
		l.Close()
	}
}

func TestStaleSocket(t *testing.T) {
	path := deadSocket(t, privateDir(t))
	l, err := Listen(path)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	serveOn(t, &Server{}, l)
	if _, err := client(t, path).List(); err != nil {
		t.Error(err)
	}
}

// A daemon that is killed leaves its socket and its lock; the next one starts.
func TestKilledDaemon(t *testing.T) {
	path := filepath.Join(privateDir(t), "agent.sock")
	cmd := command(envPlayDaemon, path)
	if said := startDaemon(t, cmd); said != "listening" {
		t.Fatalf("the daemon says %q; want it to listen", said)
	}
	if l, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("Listen = %v, %v beside a live daemon; want ErrInUse", l, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("the killed daemon left no socket: %v", err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatalf("Listen = %v after the daemon was killed", err)
	}
	l.Close()
}

// Of daemons that start together over a stale socket, one wins.
func TestDaemonsRace(t *testing.T) {
	for range 5 {
		path := deadSocket(t, privateDir(t))
		var starting sync.WaitGroup
		var mu sync.Mutex
		said := map[string]int{}
		for range 6 {
			starting.Go(func() {
				s := startDaemon(t, command(envPlayDaemon, path))
				mu.Lock()
				defer mu.Unlock()
				said[s]++
			})
		}
		starting.Wait()
		if said["listening"] != 1 || said["in use"] != 5 {
			t.Errorf("of 6 daemons that started together, %v; want 1 listening, 5 in use", said)
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Errorf("nobody listens after the race: %v", err)
			continue
		}
		conn.Close()
	}
}

// The same within one process, where daemons also end while others start.
func TestListenersRace(t *testing.T) {
	path := filepath.Join(privateDir(t), "agent.sock")
	var racing sync.WaitGroup
	var mu sync.Mutex
	listening, won := 0, 0
	for range 8 {
		racing.Go(func() {
			for range 100 {
				l, err := Listen(path)
				if errors.Is(err, ErrInUse) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				listening, won = listening+1, won+1
				if listening > 1 {
					t.Error("two listen at one path")
				}
				mu.Unlock()
				conn, err := net.Dial("unix", path)
				if err != nil {
					t.Errorf("who listens can't be reached: %v", err)
				} else {
					conn.Close()
				}
				mu.Lock()
				listening--
				mu.Unlock()
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	racing.Wait()
	if won == 0 {
		t.Error("nobody ever listened")
	}
}

// Close removes only the socket that Listen made.
func TestCloseLeavesOthers(t *testing.T) {
	path := filepath.Join(privateDir(t), "agent.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Dir(path), "agent.sock")
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("Close removed what another had put there: %q, %v", b, err)
	}
}
