package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Programs are built once for a run of the tests, when the first test asks for
// them, into a directory that TestMain removes.
var (
	programs string // the directory
	shipped  = sync.OnceValue(func() error { return build("../cmd/latchkey", "../cmd/latchkeyd") })
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "latchkey-test-bin-")
		if err == nil {
			err = os.Chmod(dir, 0o755) // the workspace runs as another user
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		programs = dir
		if canaries.dir, err = os.MkdirTemp("", "latchkey-test-said-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(canaries.dir)
		code := m.Run()
		for _, line := range sweep() {
			fmt.Fprintln(os.Stderr, line)
			code = 1
		}
		return code
	}())
}

// program returns the path of a program of this module, "latchkey" or
// "latchkeyd", built as the Makefile builds it: the tests must see what users
// get, even if they themselves are built with -race.
func program(t testing.TB, name string) string {
	t.Helper()
	if err := shipped(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(programs, name)
}

// build builds programs of this module into the directory of programs.
func build(packages ...string) error {
	args := append([]string{"build", "-trimpath", "-tags=urfave_cli_no_docs", "-ldflags=-s -w", "-o", programs + "/"}, packages...)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOEXPERIMENT=runtimesecret", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// debianPackages names the packages of the programs that the tests run.
var debianPackages = map[string]string{
	"dbclient":    "dropbear-bin",
	"dropbearkey": "dropbear-bin",
	"git":         "git",
	"git-lfs":     "git-lfs",
	"plink":       "putty-tools",
	"pscp":        "putty-tools",
	"psftp":       "putty-tools",
	"puttygen":    "putty-tools",
	"scp":         "openssh-client",
	"setpriv":     "util-linux",
	"sftp":        "openssh-client",
	"ssh":         "openssh-client",
	"ssh-add":     "openssh-client",
	"ssh-agent":   "openssh-client",
	"ssh-keygen":  "openssh-client",
	"sshd":        "openssh-server",
	"strace":      "strace",
	"vi":          "vim-tiny",

	"softhsm2-util":   "softhsm2",
	"systemd-analyze": "systemd",
}

// need returns the path of a program that is not ours. Without it the test is
// skipped, or fails where everything was promised to be installed.
func need(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	// Not on an ordinary user's PATH; sshd must be run by its full path anyway.
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/usr/lib", "/usr/libexec"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	pkg := debianPackages[name]
	if pkg == "" {
		pkg = name
	}
	lacks(t, "there is no "+name+" here: on Debian, apt-get install "+pkg)
	return ""
}

// needRoot skips a test that only root can run, or fails it where everything
// was promised.
func needRoot(t testing.TB, why string) {
	t.Helper()
	if os.Geteuid() != 0 {
		lacks(t, "run this test as root: "+why)
	}
}

// lacks ends a test for which something is missing on this machine. It is an
// error where the environment promises that nothing is: CI or LATCHKEY_TEST_ALL.
func lacks(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("LATCHKEY_TEST_ALL") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}
