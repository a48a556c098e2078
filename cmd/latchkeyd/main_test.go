package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// asProgram makes this test program latchkeyd: so the processes that the tests
// start are built as the tests are, with -race and all.
const asProgram = "LATCHKEYD_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// patience ends a test that hangs; it is never what a test waits for.
const patience = time.Minute

// A site is a home directory in which latchkeyd runs.
type site struct {
	home string
	env  []string // further variables
}

func newSite(t testing.TB) *site { return &site{home: t.TempDir()} }

// data is where a server without configuration keeps everything.
func (s *site) data(name ...string) string {
	return filepath.Join(append([]string{s.home, ".local", "share", "latchkeyd"}, name...)...)
}

// command is latchkeyd with arguments. Nothing of the test's environment
// reaches it.
func (s *site) command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Args[0] = "latchkeyd"
	cmd.Env = append([]string{asProgram + "=1", "HOME=" + s.home, "PATH=" + os.Getenv("PATH"), "GORACE=exitcode=66 atexit_sleep_ms=0"}, s.env...)
	return cmd
}

// run runs latchkeyd to its end.
func (s *site) run(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := s.command(t, args...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must runs latchkeyd, which must succeed, and returns its stdout.
func (s *site) must(t testing.TB, args ...string) string {
	t.Helper()
	stdout, stderr, code := s.run(t, args...)
	if code != 0 {
		t.Fatalf("latchkeyd %s: exit status %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// refused runs latchkeyd, which must refuse, and checks what it says.
func (s *site) refused(t testing.TB, code int, problem, hint string, args ...string) {
	t.Helper()
	stdout, stderr, got := s.run(t, args...)
	if got != code || stdout != "" {
		t.Errorf("latchkeyd %s: exit status %d, stdout %q; want %d and nothing", strings.Join(args, " "), got, stdout, code)
	}
	if !regexp.MustCompile(`(?m)^latchkeyd: error: .*` + problem).MatchString(stderr) {
		t.Errorf("latchkeyd %s says\n%swant an error like %q", strings.Join(args, " "), stderr, problem)
	}
	if hint != "" && !regexp.MustCompile(`(?m)^latchkeyd: hint: .*`+hint).MatchString(stderr) {
		t.Errorf("latchkeyd %s says\n%swant a hint like %q", strings.Join(args, " "), stderr, hint)
	}
}

// A logLine is one line of a server's log.
type logLine struct {
	Level string `json:"level"`
	Msg   string `json:"msg"`
	URL   string `json:"url"`
	text  string
}

// A running is a latchkeyd that serves.
type running struct {
	t      testing.TB
	cmd    *exec.Cmd
	url    string
	stdout *bytes.Buffer // to be read when it has ended; the first login line before that
	first  chan string   // the line that logs in the first admin, if there is one
	lines  chan logLine  // of the log, behind the ready line
	ended  chan struct{}

	mu  sync.Mutex
	log strings.Builder
}

// serve starts a server on a free port and waits until it is ready.
func (s *site) serve(t testing.TB, args ...string) *running {
	t.Helper()
	r := s.start(t, append([]string{"serve", "--log", "json", "--listen", "127.0.0.1:0"}, args...)...)
	ready := r.await("ready")
	r.url = ready.URL
	return r
}

// start starts a server and does not wait.
func (s *site) start(t testing.TB, args ...string) *running {
	t.Helper()
	r := &running{t: t, cmd: s.command(t, args...), stdout: new(bytes.Buffer), first: make(chan string, 1), lines: make(chan logLine, 10000), ended: make(chan struct{})}
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { r.readOutput(stdout) })
	reading.Go(func() { r.readLog(stderr) })
	go func() {
		reading.Wait()
		r.cmd.Wait()
		close(r.ended)
	}()
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		<-r.ended
		if t.Failed() {
			t.Logf("latchkeyd %s\n%s", strings.Join(r.cmd.Args[1:], " "), r.said())
		}
	})
	return r
}

func (r *running) readOutput(stdout io.Reader) {
	defer close(r.first)
	for scan := bufio.NewScanner(io.TeeReader(stdout, r.stdout)); scan.Scan(); {
		if strings.HasPrefix(scan.Text(), "echo ") {
			select {
			case r.first <- scan.Text():
			default: // a second one: tests look at stdout
			}
		}
	}
}

func (r *running) readLog(stderr io.Reader) {
	defer close(r.lines)
	for scan := bufio.NewScanner(stderr); scan.Scan(); {
		line := logLine{text: scan.Text()}
		json.Unmarshal(scan.Bytes(), &line)
		r.mu.Lock()
		r.log.WriteString(line.text + "\n")
		r.mu.Unlock()
		r.lines <- line
	}
}

// said is what the server has written to stderr so far.
func (r *running) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// await waits for a line of the log.
func (r *running) await(msg string) logLine {
	r.t.Helper()
	for line := range r.lines {
		if line.Msg == msg {
			return line
		}
	}
	r.t.Fatalf("latchkeyd ended and did not log %q:\n%s", msg, r.said())
	return logLine{}
}

var loginLine = regexp.MustCompile(`^echo (lk_s_[0-9A-Za-z]{49}) \| latchkey login (\S+)( --ca-file \S+)?$`)

// firstToken is the token of the line that was printed for the first admin.
func (r *running) firstToken() string {
	r.t.Helper()
	line, ok := <-r.first
	m := loginLine.FindStringSubmatch(line)
	if !ok || m == nil {
		r.t.Fatalf("latchkeyd printed %q; want a line that logs in the first admin", line)
	}
	if m[2] != r.url {
		r.t.Errorf("the first admin is to log in to %s; want %s", m[2], r.url)
	}
	return m[1]
}

// client speaks to the server with a token.
func (r *running) client(token string) *api.Client {
	r.t.Helper()
	c, err := api.NewClient(r.url, nil, func() string { return token })
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

func (r *running) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// wait waits for the end and returns the exit status, -1 for a signal.
func (r *running) wait() int {
	<-r.ended
	return r.cmd.ProcessState.ExitCode()
}

// stop ends the server in order.
func (r *running) stop() {
	r.t.Helper()
	r.signal(syscall.SIGTERM)
	if code := r.wait(); code != 0 {
		r.t.Errorf("after SIGTERM latchkeyd ended with status %d; want 0:\n%s", code, r.said())
	}
}

// lacks ends a test for which something is missing on this machine. It is an
// error where the environment promises that nothing is.
func lacks(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("LATCHKEY_TEST_ALL") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

func itoa(n int) string { return strconv.Itoa(n) }

func writeFile(t testing.TB, path string, content []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
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
