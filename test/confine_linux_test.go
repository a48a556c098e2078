package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	if !slices.ContainsFunc(threads(t, d), func(thread string) bool { return strings.Contains(thread, "\nSeccomp:\t0\n") }) {
		t.Error("with --no-sandbox, all threads have a filter")
	}
	if out := w.Run(t, "latchkey", "status"); !strings.Contains(out, "not confined: --no-sandbox") || !strings.Contains(d.said(), "not confined: --no-sandbox") {
		t.Errorf("with --no-sandbox, latchkey status says\n%s", out)
	}
}

// confined asks the kernel about each thread.
func confined(t *testing.T, name string, p *process) {
	t.Helper()
	for _, thread := range threads(t, p) {
		for _, want := range []string{"NoNewPrivs:\t1\n", "Seccomp:\t2\n"} {
			if !strings.Contains(thread, "\n"+want) {
				t.Errorf("a thread of %s does not have %q:\n%s", name, want, thread)
			}
		}
	}
}

// threads are what /proc says of each thread, read once: they come and go.
func threads(t *testing.T, p *process) []string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			all = append(all, string(text))
		}
	}
	if len(all) == 0 {
		t.Fatalf("there are no threads of process %d", p.cmd.Process.Pid)
	}
	return all
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
