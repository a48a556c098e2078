package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The programs as they are shipped are confined on every thread, say so, and say
// what is missing if they are not.
func TestProgramsAreConfined(t *testing.T) {
	if _, err := os.Stat("/proc/sys/kernel/seccomp"); err != nil {
		lacks(t, "this kernel has no seccomp")
	}
	s := startServer(t, nil)
	w := s.newUser(t, "ada", nil).newWorkspace(t, "main", nil)
	d := w.StartDaemon(t)
	confined(t, "latchkeyd", s.process)
	confined(t, "latchkey agent", d)
	for _, p := range []*process{s.process, d} {
		if said := p.said(); strings.Contains(said, "Landlock") || strings.Contains(said, "seccomp") {
			t.Errorf("the log has gaps:\n%s", said)
		}
	}
	var status struct {
		Daemon struct{ Process struct{ Confined bool } }
	}
	cmd := w.Command(t, "latchkey", "status", "--json")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &status); err != nil || !status.Daemon.Process.Confined {
		t.Errorf("latchkey status --json: %v\n%s", err, out)
	}
	if out := w.Run(t, "latchkey", "status"); !strings.Contains(out, "no new privileges, seccomp, Landlock ") {
		t.Errorf("latchkey status says\n%s", out)
	}
	d.stop(t)

	d = w.StartDaemon(t, "--no-sandbox")
	if threads := threadsWith(t, d, "Seccomp:\t0"); threads == 0 {
		t.Error("with --no-sandbox, all threads have a filter")
	}
	if out := w.Run(t, "latchkey", "status"); !strings.Contains(out, "not confined: --no-sandbox") || !strings.Contains(d.said(), "not confined: --no-sandbox") {
		t.Errorf("with --no-sandbox, latchkey status says\n%s", out)
	}
}

// confined asks the kernel about each thread.
func confined(t *testing.T, name string, p *process) {
	t.Helper()
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2"} {
		all := threadsWith(t, p, "Pid:\t")
		if n := threadsWith(t, p, want); n != all {
			t.Errorf("%d of %d threads of %s have %q; want all", n, all, name, want)
		}
	}
}

func threadsWith(t *testing.T, p *process, line string) (n int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no threads of process %d: %v", p.cmd.Process.Pid, err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && bytes.Contains(text, []byte("\n"+line)) {
			n++
		}
	}
	return n
}

// A daemon without secrets writes to its runtime directory only; it signs.
func TestConfinedWithoutSecrets(t *testing.T) {
	s := startServer(t, nil)
	w := s.newUser(t, "ada", nil).newWorkspace(t, "main", nil)
	d := w.StartDaemon(t, "--no-secrets")
	confined(t, "latchkey agent --no-secrets", d)
	need(t, "ssh-keygen")
	public := w.Write(t, "key.pub", w.Run(t, "latchkey", "publickey"))
	message := w.Write(t, "message", "to sign")
	w.Run(t, "ssh-keygen", "-Y", "sign", "-n", "git", "-f", public, message)
	d.stop(t)
	if left, err := filepath.Glob(filepath.Join(w.Runtime, "*.sock")); err != nil || len(left) > 0 {
		t.Errorf("the daemon has left %q, %v", left, err)
	}
}
