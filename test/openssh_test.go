package test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// opensshTests are OpenSSH's own tests of its ssh-agent, and one made from them,
// those that take longest first. See openssh/run.sh.
var opensshTests = []string{
	"agent-restrict", "agent-timeout", "sshsig", "agent", "agent-subprocess", "hostkey-agent", "cert-file",
	"agent-ptrace", "agent-getpeereid", "agent-getpeereid-open",
}

// longPatience is how long one may take: agent-restrict logs in hundreds of times.
const longPatience = 15 * time.Minute

// atOnce is how many of them run at a time: they sleep most of the time.
const atOnce = 4

// OpenSSH's tests pass with our agent, but for DSA and SHA-1, and without
// exception with OpenSSH's own when ours stands before it: so what ours refuses,
// security keys and smartcards among it, passes through it whole.
func TestOpenSSHTests(t *testing.T) {
	needOpenSSHTests(t)
	var runs []*opensshRun
	slots := make(chan struct{}, atOnce)
	ours, through := []string{}, []string{"THROUGH=1"}
	for _, name := range opensshTests {
		runs = append(runs, startOpenSSHTest(t, slots, "ours", name, ours), startOpenSSHTest(t, slots, "through ours", name, through))
	}
	runs = append(runs, startOpenSSHTest(t, slots, "through ours", "agent-pkcs11", through))
	for _, r := range runs {
		t.Run(r.agent+"/"+r.name, func(t *testing.T) {
			<-r.done
			if r.err != nil {
				t.Errorf("openssh/run.sh %s: %v\n%s", r.name, r.err, r.output)
			}
		})
	}
}

// Those of OpenSSH's tests that ask whether others are kept out find it out when
// they are not.
func TestOpenSSHTestsSee(t *testing.T) {
	needOpenSSHTests(t)
	slots := make(chan struct{}, 1)
	for name, words := range map[string]string{"agent-ptrace": "ptrace succeeded?", "agent-getpeereid-open": "ssh-add did not fail for nobody"} {
		r := startOpenSSHTest(t, slots, "a weak agent", name, []string{"SSHAGENT_WEAK=1"})
		<-r.done
		if r.err == nil || !strings.Contains(string(r.output), words) {
			t.Errorf("%s with an agent that anyone may use and look into: %v; want it to say %q:\n%s", name, r.err, words, r.output)
		}
	}
}

// needOpenSSHTests builds the program that is put to OpenSSH's tests, and ends
// the test where they can't be run.
func needOpenSSHTests(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/usr/lib/openssh/regress/test-exec.sh"); err != nil {
		lacks(t, "there are no tests of OpenSSH here: on Debian, apt-get install openssh-tests")
	}
	needRoot(t, "the tests play two ordinary users")
	for _, name := range []string{"ssh-agent", "sshd", "setpriv", "gdb", "softhsm2-util", "openssl", "perl"} {
		need(t, name)
	}
	if err := build("./sshagent"); err != nil {
		t.Fatal(err)
	}
}

// An opensshRun is one of OpenSSH's tests, under way or done with.
type opensshRun struct {
	agent, name string

	done   chan struct{} // closed when the others are set
	output []byte
	err    error
}

// startOpenSSHTest runs one when there is a slot, and ends it with the test.
func startOpenSSHTest(t *testing.T, slots chan struct{}, agent, name string, env []string) *opensshRun {
	t.Helper()
	r := &opensshRun{agent: agent, name: name, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		<-r.done
	})
	go func() {
		defer close(r.done)
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			r.err = context.Cause(ctx)
			return
		}
		defer func() { <-slots }()
		ctx, cancel := context.WithTimeout(ctx, longPatience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "openssh/run.sh", name)
		cmd.Env = append(append(os.Environ(), "SSHAGENT=", "PROGRAM="+filepath.Join(programs, "sshagent")), env...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
		cmd.WaitDelay = patience
		r.output, r.err = cmd.CombinedOutput()
	}()
	return r
}
