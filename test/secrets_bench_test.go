package test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/keyserver/api"
)

// BenchmarkLiveChange is how long a change of a secret takes until it is in the
// files of 200 workspaces, with a daemon each, all on this machine.
func BenchmarkLiveChange(b *testing.B) {
	const workspaces, rounds = 200, 15
	u := startServer(b, nil).newUser(b, "ada", nil)
	value := func(round int) api.SecretValue { return api.NewSecretValue([]byte(fmt.Sprintf("%064d", round))) }
	if _, err := u.CreateSecret(b.Context(), api.Me, api.CreateSecretRequest{Name: "s", FilePath: "~/s", SecretValue: value(0)}); err != nil {
		b.Fatal(err)
	}
	all := make([]*workspace, workspaces)
	for i := range all {
		all[i] = u.newWorkspace(b, fmt.Sprint("w", i), nil)
	}
	var starting sync.WaitGroup
	for chunk := range slices.Chunk(all, 10) {
		for _, w := range chunk {
			w.StartDaemon(b)
			starting.Go(func() { w.AwaitFile(b, "s", []byte(fmt.Sprintf("%064d", 0))) })
		}
	}
	starting.Wait()
	var took []time.Duration
	round := 0
	for b.Loop() {
		for range rounds {
			round++
			moved := newMoveWatch(b, all)
			begin := time.Now()
			if _, err := u.UpdateSecret(b.Context(), api.Me, "s", api.UpdateSecretRequest{SecretValue: value(round)}); err != nil {
				b.Fatal(err)
			}
			moved.await(b, workspaces)
			took = append(took, time.Since(begin))
			moved.close()
			for _, w := range all {
				if got := readFile(b, filepath.Join(w.Home, "s")); got != fmt.Sprintf("%064d", round) {
					b.Fatalf("round %d: a file holds %q", round, got)
				}
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(milliseconds(median(took)), "ms-until-in-200-files")
	b.Logf("a change is in the files of %d workspaces after %.0f ms (median of %d), %.0f ms at worst",
		workspaces, milliseconds(median(took)), len(took), milliseconds(slices.Max(took)))
}

// A moveWatch sees files take their place in the homes of workspaces.
type moveWatch struct{ fd int }

func newMoveWatch(b *testing.B, all []*workspace) moveWatch {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		b.Fatal(err)
	}
	for _, w := range all {
		if _, err := unix.InotifyAddWatch(fd, w.Home, unix.IN_MOVED_TO); err != nil {
			b.Fatal(err)
		}
	}
	return moveWatch{fd}
}

func (m moveWatch) close() { unix.Close(m.fd) }

// await waits until a file "s" has taken its place in n homes.
func (m moveWatch) await(b *testing.B, n int) {
	b.Helper()
	buf, seen := make([]byte, 64<<10), map[int32]bool{}
	for len(seen) < n {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(m.fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil || ready == 0 {
			b.Fatalf("%d of %d files were written: %v", len(seen), n, err)
		}
		size, err := unix.Read(m.fd, buf)
		if err != nil {
			b.Fatal(err)
		}
		for at := 0; at < size; {
			event := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
			at += unix.SizeofInotifyEvent
			name := strings.TrimRight(string(buf[at:at+int(event.Len)]), "\x00")
			at += int(event.Len)
			if name == "s" {
				seen[event.Wd] = true
			}
		}
	}
}

// BenchmarkRun is what "latchkey run" costs over the same command without it.
func BenchmarkRun(b *testing.B) {
	w := newSecretWorkspace(b, "ada")
	for i := range 20 {
		w.Pipe(b, []byte(strings.Repeat("x", 100)), "latchkey", "secret", "create", fmt.Sprint("s", i), "--env", fmt.Sprint("S_", i))
	}
	w.StartDaemon(b)
	plain := &rival{name: "plain", command: func() *exec.Cmd { return w.Command(b, "/bin/true") }}
	run := &rival{name: "run", command: func() *exec.Cmd { return w.Command(b, "latchkey", "run", "--", "/bin/true") }}
	for b.Loop() {
		plain.times, run.times = nil, nil
		race(b, 300, plain, run)
	}
	b.ReportMetric(0, "ns/op")
	over := func(a, b time.Duration) float64 { return milliseconds(a - b) }
	low, high := interval(run.times, plain.times, over)
	b.ReportMetric(over(median(run.times), median(plain.times)), "ms-over-plain")
	b.Logf("latchkey run: %.2f ms over plain exec (95 %%: %.2f to %.2f); plain %.2f ms",
		over(median(run.times), median(plain.times)), low, high, milliseconds(median(plain.times)))
}
