package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey/latchkey/workspace"
)

// latchkeyRun is "latchkey run" as a process: it becomes another program.
func latchkeyRun(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("latchkey") // this test binary, see TestMain
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(path, append([]string{"run"}, args...)...)
}

// ran runs a command to its end.
func ran(t testing.TB, cmd *exec.Cmd) (result, syscall.WaitStatus) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}, cmd.ProcessState.Sys().(syscall.WaitStatus)
}

func TestRunSetsTheEnvironment(t *testing.T) {
	newHome(t)
	newSecretsDaemon(t, variable("A_TOKEN", nasty), variable("HOME_TOWN", "$HOME/town"), variable("OLD", "new value"))
	t.Setenv("OLD", "inherited")
	t.Setenv("LATCHKEY_TOKEN", "lk_w_x")
	t.Setenv("LATCHKEY_TOKEN_FD", "7")
	env := func(args ...string) []string {
		t.Helper()
		got, _ := ran(t, latchkeyRun(t, append(args, "--", "env", "-0")...))
		got.ok(t)
		if got.stderr != "" {
			t.Errorf("run says\n%s", got.stderr)
		}
		return strings.Split(strings.TrimSuffix(got.stdout, "\x00"), "\x00")
	}
	all := env()
	for _, want := range []string{"A_TOKEN=" + nasty, "HOME_TOWN=$HOME/town", "OLD=new value", "HOME=" + os.Getenv("HOME")} {
		if !slices.Contains(all, want) {
			t.Errorf("the environment lacks %q", want)
		}
	}
	for _, v := range all {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "LATCHKEY_TOKEN") {
			t.Errorf("the environment has %s", name)
		}
	}
	if got, want := env("--pristine"), []string{"A_TOKEN=" + nasty, "HOME_TOWN=$HOME/town", "OLD=new value"}; !slices.Equal(got, want) {
		t.Errorf("--pristine gives %q; want %q", got, want)
	}
	if got, want := env("--pristine", "--only", "secret-OLD,HOME_TOWN"), []string{"HOME_TOWN=$HOME/town", "OLD=new value"}; !slices.Equal(got, want) {
		t.Errorf("--only gives %q; want %q", got, want)
	}
	for _, supervised := range []string{"--watch", "--mask"} {
		if got := env(supervised); len(got) != len(all) {
			t.Errorf("%s gives %d variables; want %d as without", supervised, len(got), len(all))
		}
	}
}

func TestRunRefuses(t *testing.T) {
	newHome(t)
	d := newSecretsDaemon(t, variable("NPM_TOKEN", "abcdefgh"))
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("echo by sh $1"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"--", "no-such-program"}, 127, "latchkey: error: running no-such-program: no such file or directory\n"},
		{[]string{"--", "npm test"}, 127, "latchkey: error: running npm test: no such file or directory\nlatchkey: hint: CMD and its arguments are words of their own; for a line of shell: latchkey run -- sh -c \"...\"\n"},
		{[]string{"--", "/no/such"}, 127, "latchkey: error: running /no/such: no such file or directory\n"},
		{[]string{"--", plain}, 126, "latchkey: error: running " + plain + ": permission denied\n"},
		{[]string{"--mask", "--", plain}, 126, "latchkey: error: running " + plain + ": permission denied\n"},
		{[]string{"--", dir}, 126, "latchkey: error: running " + dir + ": permission denied\n"},
		{[]string{"--only", "NPM_TOKNE", "--", "true"}, 125, "latchkey: error: this workspace is given no variable, and no secret for one, of the name NPM_TOKNE\nlatchkey: hint: there is NPM_TOKEN\n"},
		{[]string{"--only", "X", "--", "true"}, 125, "latchkey: error: this workspace is given no variable, and no secret for one, of the name X\nlatchkey: hint: there is NPM_TOKEN, secret-NPM_TOKEN\n"},
		{[]string{"--signal", "HUP", "--", "true"}, 2, "latchkey: error: run: --signal says what to do when secrets change\nlatchkey: hint: add --watch\n"},
		{nil, 2, "latchkey: error: run: CMD is missing\nlatchkey: hint: usage: latchkey run [FLAG...] -- CMD [ARG...]\n"},
	} {
		if got, _ := ran(t, latchkeyRun(t, test.args...)); got != (result{test.code, "", test.stderr}) {
			t.Errorf("run %q = %d\n%s%swant %d\n%s", test.args, got.code, got.stdout, got.stderr, test.code, test.stderr)
		}
	}
	// What is no program is a script for sh.
	if err := os.Chmod(plain, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--only=NPM_TOKEN", "--watch", "--mask"} {
		if got, _ := ran(t, latchkeyRun(t, flag, "--", plain, "it")); got != (result{0, "by sh it\n", ""}) {
			t.Errorf("run %s of a script without #! = %+v", flag, got)
		}
	}
	// One variable alone, and all together, may be too big.
	big := strings.Repeat("x", 128<<10)
	d.set(workspace.Variable{Name: "BIG", Value: []byte(big), Secret: "big"})
	for _, flag := range []string{"--pristine", "--mask"} {
		got, _ := ran(t, latchkeyRun(t, flag, "--", "true"))
		if want := "latchkey: error: running true: argument list too long: the variable BIG has 131077 bytes, and the kernel takes 131072\nlatchkey: hint: give the secret big a file, or leave it out with --only\n"; got != (result{126, "", want}) {
			t.Errorf("with a big secret run %s = %+v", flag, got)
		}
	}
}

func TestRunTellsOfShortValues(t *testing.T) {
	newHome(t)
	newSecretsDaemon(t, variable("PIN", "1234"), variable("A", "abcdefgh"))
	got, _ := ran(t, latchkeyRun(t, "--mask", "--", "sh", "-c", "echo $PIN $A; echo $A >&2"))
	if want := (result{0, "1234 [secret A]\n", "latchkey: warning: PIN is not hidden: a value below 6 bytes is found everywhere\n[secret A]\n"}); got != want {
		t.Errorf("run --mask = %+v; want %+v", got, want)
	}
}

func TestRunWithoutDaemon(t *testing.T) {
	newHome(t)
	got, _ := ran(t, latchkeyRun(t, "--", "true"))
	if want := "latchkey: error: no workspace daemon runs, and no workspace token is set\nlatchkey: hint: start it: \"latchkey agent &\"; or set LATCHKEY_TOKEN_FILE\n"; got != (result{125, "", want}) {
		t.Errorf("run without a daemon = %+v", got)
	}
}

func TestRunTellsOfMissing(t *testing.T) {
	newHome(t)
	d := newSecretsDaemon(t, variable("A", "abcdefgh"))
	d.change(func(s *workspace.SecretState) {
		s.Missing = append(s.Missing, needs("NPM_TOKEN", "from npmjs.com"), needs("X", ""))
		s.Notice = "the server is away since 10:31: these are the secrets of then"
	})
	got, _ := ran(t, latchkeyRun(t, "--", "echo", "ran"))
	notice := "latchkey: warning: the server is away since 10:31: these are the secrets of then\n"
	if want := notice + "latchkey: warning: 2 secrets that this workspace needs are missing: NPM_TOKEN: from npmjs.com; X\n"; got != (result{0, "ran\n", want}) {
		t.Errorf("run = %+v; want\n%s", got, want)
	}
	got, _ = ran(t, latchkeyRun(t, "--strict", "--", "echo", "ran"))
	if want := notice + "latchkey: missing: NPM_TOKEN: from npmjs.com\nlatchkey: missing: X\nlatchkey: error: 2 secrets that this workspace needs are missing\nlatchkey: hint: store them on the key server; they arrive here within a second\n"; got != (result{125, "", want}) {
		t.Errorf("run --strict = %+v; want\n%s", got, want)
	}
	if got, _ := ran(t, latchkeyRun(t, "--strict", "--only", "A", "--", "echo", "ran")); got != (result{0, "ran\n", notice}) {
		t.Errorf("run --strict --only of what is there = %+v", got)
	}
	if got, _ := ran(t, latchkeyRun(t, "--strict", "--only", "A,NPM_TOKEN", "--", "echo", "ran")); got.code != 125 {
		t.Errorf("run --strict --only of what is missing = %+v", got)
	}
}

// What a cache is for is said where one would help.
func TestRunWithoutKnownSecretsHint(t *testing.T) {
	newHome(t)
	d := newSecretsDaemon(t)
	const more = `"latchkey status" says more`
	for refused, want := range map[bool]string{
		true:  more,
		false: more + "; a daemon that is run with --secret-cache has them from a start without the server, too",
	} {
		d.change(func(s *workspace.SecretState) { s.Known, s.Refused, s.Notice = false, refused, "there are none" })
		if got := latchkey(t, "run", "--", "true"); !strings.HasSuffix(got.stderr, "\nlatchkey: hint: "+want+"\n") {
			t.Errorf("of a workspace that is refused (%t) run says\n%s\nwant the hint\n%s", refused, got.stderr, want)
		}
	}
}

// That nobody knows what there is is no reason to start without it.
func TestRunWithoutKnownSecrets(t *testing.T) {
	newHome(t)
	d := newSecretsDaemon(t)
	d.change(func(s *workspace.SecretState) { s.Known, s.Notice = false, "the key server is away" })
	for _, args := range [][]string{
		{"run", "--", "true"}, {"run", "--strict", "--", "true"}, {"run", "--watch", "--", "true"}, {"export"}, {"env", "--secrets", "--shell", "sh"},
	} {
		got := latchkey(t, args...)
		want := 1
		if args[0] == "run" {
			want = exitRun
		}
		if got.code != want || got.stdout != "" || !strings.Contains(got.stderr, "the secrets are not to be had: the key server is away") {
			t.Errorf("latchkey %s = %+v; want status %d, and why", strings.Join(args, " "), got, want)
		}
	}
}
