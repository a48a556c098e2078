package harden

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A role is what the test program does when a test runs it as a process of its
// own: hardening cannot be taken back, and another process must look at it. It
// prints one line and ends with its stdin.
var roles = map[string]func() any{
	"hardened": func() any { return Process() },
	"host":     func() any { return startAsHost() },
	"no locked memory": func() any {
		limitLockedMemory(0)
		return Process()
	},
	"confined": func() any { return tryEverything(Confinement{Dials: true}) },
	"confined to a directory": func() any {
		dir := os.Getenv(directoryVariable)
		return tryEverything(Confinement{Writes: []string{filepath.Join(dir, "in")}, Reads: []string{"/"}})
	},
	"confined with programs": func() any { return tryEverything(Confinement{Programs: true, Dials: true}) },
	"dropped secret": func() any {
		Do(func() { useSecret(8) })
		Collect()
		return "dropped"
	},
	"sealed at rest": sealAndRest,
	"plain at rest":  plainAtRest,
}

const roleVariable = "HARDEN_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		answer := roles[role]()
		if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play starts a process in a role, decodes what it prints into answer and
// returns its PID. It ends with the test.
func play(t *testing.T, role string, answer any) int {
	t.Helper()
	cmd := exec.Command("/proc/self/exe") // the directory of the binary is closed to others
	cmd.Env = append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = ordinaryUser()
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
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process in the role %q ended with %v", role, err)
		}
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatalf("reading what the role %q printed: %v", role, err)
	}
	if err := json.Unmarshal(line, answer); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}
