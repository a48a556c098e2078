package workspace

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
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

// takeTheToken is the role of a taker.
func takeTheToken() {
	report := harden.Process()
	token, err := TakeToken(report)
	t := taker{Token: string(token), Args: os.Args, Env: os.Environ(), Dumpable: report.Dumpable}
	if err != nil {
		t.Error = err.Error()
	}
	json.NewEncoder(os.Stdout).Encode(t)
	io.Copy(io.Discard, os.Stdin)
}

// take runs a taker, as an ordinary user, until the test ends.
func take(t *testing.T, extra *os.File, env ...string) (pid int, said taker) {
	t.Helper()
	cmd := roleCommand("taker", "an argument", "-another")
	cmd.Env = append(env, cmd.Env...)
	if extra != nil {
		cmd.ExtraFiles = []*os.File{extra}
	}
	_, stdout := startRole(t, cmd)
	line, err := stdout.ReadBytes('\n')
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
	if want := []string{"BEFORE=1", "AFTER=2", roleVariable + "=taker", quickRaceExit}; !slices.Equal(said.Env, want) {
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
