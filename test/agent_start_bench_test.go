package test

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"
)

// cpuTime is how long a process has run (proc(5), schedstat).
func cpuTime(t testing.TB, pid int) (d time.Duration) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("process %d does not say how long it has run: %v", pid, err)
	}
	for _, task := range tasks {
		var one time.Duration
		fmt.Sscan(readFile(t, task), &one)
		d += one
	}
	return d
}

// BenchmarkAgentStart is how long it takes from the start of an agent's process
// to its first answer: a list, of the keys of a server for ours, which it asks.
func BenchmarkAgentStart(b *testing.B) {
	w := startServer(b, nil).newUser(b, "ada", nil).newWorkspace(b, "box", nil)
	dir := openDir(b)
	theirs := filepath.Join(dir, "agent.sock")
	starts := []struct {
		name   string
		socket string
		cmd    func() *exec.Cmd
		took   []time.Duration
		cpu    []time.Duration
	}{
		{"ours", w.AgentSocket(), func() *exec.Cmd { return w.Command(b, "latchkey", "agent") }, nil, nil},
		{"openssh", theirs, func() *exec.Cmd { return exec.Command(need(b, "ssh-agent"), "-D", "-a", theirs) }, nil, nil},
	}
	for b.Loop() {
		for range 40 {
			for i := range starts {
				s := &starts[i]
				cmd := s.cmd()
				begin := time.Now()
				if err := cmd.Start(); err != nil {
					b.Fatal(err)
				}
				firstList(b, s.socket)
				s.took = append(s.took, time.Since(begin))
				s.cpu = append(s.cpu, cpuTime(b, cmd.Process.Pid))
				cmd.Process.Signal(syscall.SIGTERM)
				cmd.Wait()
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, s := range starts {
		b.ReportMetric(milliseconds(median(s.took)), s.name+"-ms")
		b.Logf("%s: the first answer %.1f ms after the start (median of %d; at best %.1f), and %.1f ms of CPU time", s.name,
			milliseconds(median(s.took)), len(s.took), milliseconds(slices.Min(s.took)), milliseconds(median(s.cpu)))
	}
}

// firstList asks for a list until an agent is there to give it.
func firstList(b *testing.B, socket string) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); runtime.Gosched() {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			continue
		}
		defer conn.Close()
		if _, err := agent.NewClient(conn).List(); err != nil {
			b.Fatal(err)
		}
		return
	}
	b.Fatalf("nobody listens at %s", socket)
}

// atRest is how much memory of a process is in RAM after its load, in MiB: the least
// of some seconds, for ours gives back what it does not need when it has rested.
func atRest(t testing.TB, pid int) float64 {
	t.Helper()
	least, _ := resident(t, pid)
	for range 30 {
		time.Sleep(100 * time.Millisecond)
		now, _ := resident(t, pid)
		least = min(least, now)
	}
	return least
}

// resident is how much memory of a process is in RAM, in MiB, and how much of that
// is of files, which is its program (proc(5)).
func resident(t testing.TB, pid int) (all, file float64) {
	t.Helper()
	for line := range strings.Lines(readFile(t, fmt.Sprintf("/proc/%d/status", pid))) {
		fmt.Sscanf(line, "VmRSS: %f kB", &all)
		fmt.Sscanf(line, "RssFile: %f kB", &file)
	}
	if all == 0 {
		t.Fatalf("process %d does not say how large it is", pid)
	}
	return all / 1024, file / 1024
}
