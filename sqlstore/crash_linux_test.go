package sqlstore_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Killed in the middle of a storm, again and again, a process leaves all that
// it has acknowledged, and nothing half-made.
func TestKill(t *testing.T) {
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	path := filepath.Join(t.TempDir(), "latchkey.db")
	var acknowledged []string
	for round := range rounds {
		c := startChild(t, "storm", path)
		acknowledged = append(acknowledged, c.lines(t, rand.IntN(300))...)
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		acknowledged = append(acknowledged, c.lines(t, -1)...)
		if err := c.Wait(); err == nil || c.err.Len() != 0 {
			t.Fatalf("round %d: the child ended before it was killed (%v):\n%s", round, err, c.err.String())
		}
		s := open(t, path)
		checkKept(t, s, acknowledged)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("in round %d, after %d changes", round, len(acknowledged))
		}
	}
	if len(acknowledged) < rounds {
		t.Errorf("only %d changes in %d rounds: the storm was none", len(acknowledged), rounds)
	}
	checkFile(t, path)
}

// A kill does not show what a power loss takes. That each change was synced
// before it was acknowledged is seen from outside.
func TestSync(t *testing.T) {
	strace := need(t, "strace")
	dir := t.TempDir()
	trace := filepath.Join(dir, "trace")
	c := startChild(t, "calm", filepath.Join(dir, "latchkey.db"),
		strace, "-f", "-y", "-o", trace, "-e", "trace=fdatasync,fsync,write,pwrite64", "-e", "signal=none")
	c.lines(t, 100)
	// To kill strace would leave the child running.
	for _, pid := range children(t, c.Process.Pid) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	c.lines(t, -1)
	c.Wait() // an error: it was killed

	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	logWrite := regexp.MustCompile(`^\d+ +pwrite64\(\d+<[^>]*-wal>`)
	logSync := regexp.MustCompile(`^\d+ +f(data)?sync\(\d+<[^>]*-wal>`)
	ack := regexp.MustCompile(`^\d+ +write\(1<pipe:[^>]*>, "\S+ \d+\\n"`)
	acks, written, synced := 0, false, false // since the acknowledgement before
	for line := range strings.Lines(string(text)) {
		switch {
		case logWrite.MatchString(line):
			written, synced = true, false
		case logSync.MatchString(line):
			synced = written
		case ack.MatchString(line):
			acks++
			if !synced {
				t.Fatalf("acknowledgement %d came before a sync of what was written for it", acks)
			}
			written, synced = false, false
		}
	}
	if acks < 100 {
		t.Fatalf("the trace shows %d acknowledgements; want 100:\n%.2000s", acks, text)
	}
}

// children are the processes that one has started.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range strings.Fields(string(text)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, child)
	}
	return pids
}

// Several processes that open one file at once, a new one too, make one chain.
func TestProcesses(t *testing.T) {
	const processes = 4
	path := filepath.Join(t.TempDir(), "latchkey.db")
	var started []*child
	for range processes {
		started = append(started, startChild(t, "append", path))
	}
	s := open(t, path)
	var all sync.WaitGroup
	all.Go(func() {
		if err := appendEvents(s); err != nil {
			t.Errorf("beside other processes: %v", err)
		}
	})
	for _, c := range started {
		c.wait(t)
	}
	all.Wait()
	checkWhole(t, s)
	last, err := s.LastEvent(t.Context())
	if err != nil || last.Seq != 100*(processes+1) {
		t.Errorf("LastEvent = %d, %v; want %d", last.Seq, err, 100*(processes+1))
	}
}
