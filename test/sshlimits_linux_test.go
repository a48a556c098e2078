package test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// What is run in a session has the limits that the daemon was started with, so
// that a program of the user can leave a core file; the daemon itself leaves none.
func TestSSHSessionLimits(t *testing.T) {
	l := newLaptop(t)
	const limited, show = `ulimit -S -c 100 && exec "$@"`, "ulimit -S -c; ulimit -H -c"
	want := l.Run(t, "sh", "-c", limited, "sh", "sh", "-c", show)
	for what, env := range map[string][]string{
		"a file":          nil,
		"the environment": {"LATCHKEY_TOKEN_FILE=", "LATCHKEY_TOKEN=" + l.box.Token}, // it executes itself again
	} {
		l.daemon.stop(t)
		cmd := l.box.command(context.Background(), t, "sh", "-c", limited, "sh", program(t, "latchkey"), "agent", "--sshd", "127.0.0.1:0")
		cmd.Env = append(append(cmd.Env, "GOTRACEBACK=crash"), env...) // else Go ends at SIGABRT without dumping core
		var m []string
		l.daemon, m = start(t, cmd, servingSSH)
		l.Port = m[1]
		l.configure(t)
		if got := l.SSH(t, "box", show); got != want {
			t.Errorf("with the token from %s, a session has the limits %q; want %q, as the daemon was started with", what, got, want)
		}
		if got := l.SSH(t, "-tt", "box", show); strings.ReplaceAll(got, "\r", "") != want {
			t.Errorf("with the token from %s, a session with a terminal has the limits %q; want %q", what, got, want)
		}
		for what, pid := range map[string]int{"the daemon": l.daemon.cmd.Process.Pid, "what serves SSH": l.sshServer(t)} {
			limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
			if err != nil {
				t.Fatal(err)
			}
			if own := regexp.MustCompile(`Max core file size +0 `); !own.Match(limits) {
				t.Errorf("the limits of %s are\n%s\nwant it to leave no core file", what, limits)
			}
		}
	}
	// The test for a daemon without --sshd shows that processes dump core here.
	syscall.Kill(l.daemon.cmd.Process.Pid, syscall.SIGABRT)
	<-l.daemon.exited
	if dumpedCore(l.daemon.cmd) {
		t.Errorf("the daemon ended with %v; want no core dumped", l.daemon.cmd.ProcessState)
	}
}
