package workspace

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
)

// taker is what the test program prints as a process that takes the token out of
// its environment.
type taker struct {
	Token    string
	Error    string
	Args     []string
	Env      []string
	Dumpable bool
}

const takerVariable = "WORKSPACE_TEST_TAKER"

// quickRaceExit spares a process built with -race a second of waiting at its end.
const quickRaceExit = "GORACE=atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	if os.Getenv(takerVariable) != "" {
		report := harden.Process()
		token, err := TakeToken()
		t := taker{Token: string(token), Args: os.Args, Env: os.Environ(), Dumpable: report.Dumpable}
		if err != nil {
			t.Error = err.Error()
		}
		json.NewEncoder(os.Stdout).Encode(t)
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// take runs a taker, as an ordinary user, until the test ends.
func take(t *testing.T, extra *os.File, env ...string) (pid int, said taker) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "an argument", "-another") // the directory of the binary is closed to others
	cmd.Env = append(env, takerVariable+"=1", quickRaceExit)
	if extra != nil {
		cmd.ExtraFiles = []*os.File{extra}
	}
	cmd.Stderr = os.Stderr
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(line, &said); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, said
}

func TestTakeToken(t *testing.T) {
	token := api.NewToken(api.WorkspaceToken)
	pid, said := take(t, nil, "BEFORE=1", "LATCHKEY_TOKEN="+token, "LATCHKEY_TOKEN_FD=77", "AFTER=2")
	if said.Error != "" || said.Token != token {
		t.Errorf("TakeToken returned %d bytes and the error %q; want the token", len(said.Token), said.Error)
	}
	if want := []string{"/proc/self/exe", "an argument", "-another"}; !slices.Equal(said.Args, want) {
		t.Errorf("the second life has the arguments %q; want %q", said.Args, want)
	}
	if want := []string{"BEFORE=1", "AFTER=2", takerVariable + "=1", quickRaceExit}; !slices.Equal(said.Env, want) {
		t.Errorf("a child of the second life would have the environment %q; want %q", said.Env, want)
	}
	if said.Dumpable {
		t.Error("the second life is dumpable")
	}
	// The same process: who started it waits for this one.
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	switch {
	case os.Geteuid() != 0:
		if err == nil {
			t.Error("a process of the same user reads environ of the second life")
		}
	case err != nil:
		t.Error(err)
	case !strings.Contains(string(environ), "AFTER=2"):
		t.Errorf("environ of the process is %q; want that of the second life", environ)
	case strings.Contains(string(environ), "LATCHKEY_TOKEN=") || strings.Contains(string(environ), token[5:]):
		t.Error("environ of the second life has the token")
	}
}

func TestTakeTokenWithoutOne(t *testing.T) {
	if _, said := take(t, nil, "A=1"); said.Token != "" || said.Error != "" {
		t.Errorf("TakeToken returned %d bytes and the error %q; want nothing", len(said.Token), said.Error)
	}
}

func TestTakeTokenFromSomethingElse(t *testing.T) {
	for _, tt := range []struct {
		fd    string
		extra bool // a file on descriptor 3
		want  string
	}{
		{"", false, "not what an earlier life"},
		{"0", false, "not what an earlier life"},
		{"three", false, "not what an earlier life"},
		{"-3", false, "not what an earlier life"},
		{"999", false, "names no pipe"},
		{"3", true, "names no pipe"},
	} {
		var extra *os.File
		if tt.extra {
			var err error
			if extra, err = os.Open(os.DevNull); err != nil {
				t.Fatal(err)
			}
			defer extra.Close()
		}
		if _, said := take(t, extra, "LATCHKEY_TOKEN_FD="+tt.fd); !strings.Contains(said.Error, tt.want) {
			t.Errorf("with LATCHKEY_TOKEN_FD=%s the error is %q; want one that says %q", tt.fd, said.Error, tt.want)
		}
	}
}

func TestTakeTokenThatIsTooLong(t *testing.T) {
	if _, said := take(t, nil, "LATCHKEY_TOKEN="+strings.Repeat("x", maxToken+1)); !strings.Contains(said.Error, "larger than") {
		t.Errorf("the error is %q; want one that says that it is too large", said.Error)
	}
}
