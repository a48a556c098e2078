package test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A rival is one of the commands that a benchmark runs in turns.
type rival struct {
	name    string
	command func() *exec.Cmd
	times   []time.Duration
}

// race runs the rivals in turns, each time in another order, so that what else
// the machine does hits all alike. The first round does not count.
func race(b *testing.B, rounds int, rivals ...*rival) {
	b.Helper()
	// A file: a pipe would have to be read meanwhile, which takes its time too.
	said, err := os.Create(filepath.Join(b.TempDir(), "said"))
	if err != nil {
		b.Fatal(err)
	}
	defer said.Close()
	for round := range rounds + 1 {
		for _, i := range rand.Perm(len(rivals)) {
			r := rivals[i]
			cmd := r.command()
			cmd.Stdout, cmd.Stderr = said, said
			start := time.Now()
			err := cmd.Run()
			took := time.Since(start)
			if err != nil {
				b.Fatalf("%s: %v\n%s", r.name, err, readFile(b, said.Name()))
			}
			if round > 0 {
				r.times = append(r.times, took)
			}
		}
	}
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}

// interval is the 95 % confidence interval of a figure of two medians, by
// bootstrap over the rounds.
func interval(a, b []time.Duration, figure func(a, b time.Duration) float64) (low, high float64) {
	const draws = 2000
	figures := make([]float64, draws)
	as, bs := make([]time.Duration, len(a)), make([]time.Duration, len(b))
	for i := range figures {
		for j := range as {
			k := rand.IntN(len(a))
			as[j], bs[j] = a[k], b[k]
		}
		figures[i] = figure(median(as), median(bs))
	}
	slices.Sort(figures)
	return figures[draws*25/1000], figures[draws*975/1000]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// BenchmarkGitSSHStart is what the helper itself costs, from its start to the
// end of an ssh that does nothing, over /bin/true in its place.
func BenchmarkGitSSHStart(b *testing.B) {
	s := newStage(b)
	const nothing = "/bin/true"
	s.Setenv("LATCHKEY_SSH", nothing)
	helper := func() *exec.Cmd {
		return s.Command(b, "latchkey", "gitssh", "--", "-F", s.Home+"/.ssh/config", "forge", "true")
	}
	base := &rival{name: "true", command: func() *exec.Cmd { return s.Command(b, nothing) }}
	cold := &rival{name: "cold", command: helper}
	coldBase := &rival{name: "true", command: base.command}
	warm := &rival{name: "warm", command: helper}
	for b.Loop() {
		base.times, cold.times, coldBase.times, warm.times = nil, nil, nil, nil
		race(b, 300, coldBase, cold)
		daemon := s.StartDaemon(b)
		race(b, 300, base, warm)
		daemon.stop(b)
	}
	b.ReportMetric(0, "ns/op")
	over := func(a, b time.Duration) float64 { return milliseconds(a - b) }
	for _, r := range []struct{ base, rival *rival }{{base, warm}, {coldBase, cold}} {
		low, high := interval(r.rival.times, r.base.times, over)
		b.ReportMetric(over(median(r.rival.times), median(r.base.times)), r.rival.name+"-ms-over-true")
		b.Logf("%s: %.2f ms over /bin/true (95 %%: %.2f to %.2f); /bin/true %.2f ms", r.rival.name,
			over(median(r.rival.times), median(r.base.times)), low, high, milliseconds(median(r.base.times)))
	}
}

// BenchmarkGitLsRemote is git ls-remote through the helper, with a daemon that
// has the key and without any, against plain ssh with the key in a file.
func BenchmarkGitLsRemote(b *testing.B) {
	private, _ := newKey(b)
	s := newStage(b)
	file := s.Write(b, "id", string(private))
	if _, err := s.user.RotateKey(b.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{PrivateKey: string(private)}); err != nil {
		b.Fatal(err)
	}
	s.sshd.Authorize(b, s.user.publicKey(b))
	config := s.Home + "/.ssh/config"
	through := func(sshCommand string, env ...string) func() *exec.Cmd {
		return func() *exec.Cmd {
			cmd := s.Command(b, "git", "ls-remote", s.url())
			cmd.Env = append(slices.Clone(cmd.Env), append(env, "GIT_SSH_COMMAND="+sshCommand)...)
			return cmd
		}
	}
	plain := &rival{name: "plain", command: through("ssh -F " + config + " -i " + file)}
	warm := &rival{name: "warm", command: through("latchkey gitssh -- -F " + config)}
	other := s.Dir + "/cold"
	s.mkdir(b, other)
	cold := &rival{name: "cold", command: through("latchkey gitssh -- -F "+config, "LATCHKEY_RUNTIME_DIR="+other)}
	s.StartDaemon(b)
	for b.Loop() {
		plain.times, warm.times, cold.times = nil, nil, nil
		race(b, 60, plain, warm, cold)
	}
	b.ReportMetric(0, "ns/op")
	ratio := func(a, b time.Duration) float64 { return float64(a) / float64(b) }
	for _, r := range []*rival{warm, cold} {
		low, high := interval(r.times, plain.times, ratio)
		b.ReportMetric(ratio(median(r.times), median(plain.times)), r.name+"/plain")
		b.Logf("%s: %.3f of plain ssh (95 %%: %.3f to %.3f); plain ssh %.0f ms", r.name,
			ratio(median(r.times), median(plain.times)), low, high, milliseconds(median(plain.times)))
	}
}
