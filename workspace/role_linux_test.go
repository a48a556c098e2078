package workspace

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// A role is what the test program does when a test runs it as a process of its
// own, for others to look at.
var roles = map[string]func(){
	"taker":         takeTheToken,
	"holder":        holdAKey,
	"sealed holder": holdAKeySealed,
}

const (
	roleVariable = "WORKSPACE_TEST_ROLE"

	// quickRaceExit spares a process built with -race a second of waiting at its end.
	quickRaceExit = "GORACE=atexit_sleep_ms=0"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		roles[role]()
		return
	}
	os.Exit(m.Run())
}

// roleCommand is this program in a role, of an ordinary user.
func roleCommand(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...) // the directory of the binary is closed to others
	cmd.Env = []string{roleVariable + "=" + role, quickRaceExit}
	cmd.Stderr = os.Stderr
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return cmd
}

// startRole starts a role, which ends with its stdin, at the end of the test.
func startRole(t *testing.T, cmd *exec.Cmd) (stdin io.Writer, stdout *bufio.Reader) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process in the role %s ended with %v", cmd.Env, err)
		}
	})
	return in, bufio.NewReader(out)
}
