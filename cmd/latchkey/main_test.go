package main

import (
	"bytes"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts and terminals run this test binary as "latchkey".
func TestMain(m *testing.M) {
	completeTimeout = patience
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or each run of a binary made with -race takes a second
	// What the tests start must not inherit that a signal is ignored, as a hangup is
	// below nohup(1) and an interrupt in the background of a script: some wait for
	// what it does.
	if strings.HasSuffix(os.Args[0], ".test") {
		for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
			if signal.Ignored(sig) {
				signal.Notify(make(chan os.Signal, 1), sig)
			}
		}
	}
	testscript.Main(m, map[string]func(){"latchkey": main, "reporter": reporter})
}

// A result is what one run of latchkey gave.
type result struct {
	code           int
	stdout, stderr string
}

// latchkey runs the program in this process, with an empty stdin.
func latchkey(t *testing.T, args ...string) result {
	t.Helper()
	return latchkeyWith(t, "", args...)
}

// latchkeyWith runs the program with something on its stdin.
func latchkeyWith(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(append([]string{"latchkey"}, args...), strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// expect fails the test if a run of latchkey gave something else.
func (got result) expect(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if got.code != code {
		t.Errorf("exit status %d; want %d", got.code, code)
	}
	if got.stdout != stdout {
		t.Errorf("stdout is\n%s\nwant\n%s", got.stdout, stdout)
	}
	if got.stderr != stderr {
		t.Errorf("stderr is\n%s\nwant\n%s", got.stderr, stderr)
	}
}

// newHome gives the test a home of its own, with no login, no daemon and
// nothing of latchkey's in the environment.
func newHome(t *testing.T) (home string) {
	t.Helper()
	home = t.TempDir()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "LATCHKEY_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
	t.Setenv("LATCHKEY_RUNTIME_DIR", filepath.Join(home, "run"))
	t.Setenv("SSH_AUTH_SOCK", "")
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	return home
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"--version", "-v", "version"} {
		got := latchkey(t, arg)
		if got.code != 0 || !strings.HasPrefix(got.stdout, "latchkey ") || strings.Count(got.stdout, "\n") != 1 || got.stderr != "" {
			t.Errorf("latchkey %s = %+v; want one line with the version", arg, got)
		}
	}
}

// shortDir is a directory whose path leaves room for a unix socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
