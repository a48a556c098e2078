package test

import (
	"bytes"
	"crypto"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A contender is an agent's process, and the keys in it by their kind.
type contender struct {
	name   string
	socket string
	pid    int
	keys   map[string]ssh.PublicKey
	score
}

// A score is what a contender has done in its turns, for a kind of key and a number
// of links.
type score struct {
	took  []time.Duration // each signature
	rates []float64       // signatures a second, of each turn
	cpu   time.Duration   // of the agent's process
}

// BenchmarkAgent compares the daemon that users get, with keys of the server and
// with keys that ssh-add has added, both sealed in memory, with OpenSSH's agent:
// programs all three, the same client and the same data, in turns, so that
// whatever else the machine does meets all alike.
func BenchmarkAgent(b *testing.B) {
	agents := contenders(b)
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		for _, links := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/links=%d", kind, links), func(b *testing.B) {
				for b.Loop() {
					compete(b, agents, kind, links)
				}
				report(b, agents)
			})
		}
	}
}

// contenders starts a daemon with keys of the server, one with added keys, and
// OpenSSH's agent with the same keys.
func contenders(b *testing.B) []*contender {
	u := startServer(b, nil).newUser(b, "ada", nil)
	managed, own := u.newWorkspace(b, "managed", nil), u.newWorkspace(b, "own", nil)
	ours := newContender("managed", managed.AgentSocket(), managed.StartDaemon(b, "--idle", "24h"))
	added := newContender("added", own.AgentSocket(), own.StartDaemon(b))
	dir := openDir(b)
	socket := filepath.Join(dir, "agent.sock")
	p, _ := start(b, exec.Command(need(b, "ssh-agent"), "-D", "-a", socket), regexp.MustCompile("SSH_AUTH_SOCK"))
	theirs := newContender("openssh", socket, p)
	for kind, key := range map[string]func(testing.TB) crypto.Signer{"ed25519": ed25519Key, "ecdsa": ecdsaKey, "rsa": rsaKey} {
		private, line := encodeKey(b, key(b))
		if _, err := u.CreateKey(b.Context(), api.Me, api.CreateKeyRequest{Name: kind, PrivateKey: string(private)}); err != nil {
			b.Fatal(err)
		}
		ours.keys[kind] = parseLine(b, line)
		private, line = encodeKey(b, key(b))
		added.keys[kind], theirs.keys[kind] = parseLine(b, line), parseLine(b, line)
		own.Run(b, "ssh-add", "-q", own.Write(b, kind, string(private)))
		file := filepath.Join(dir, kind)
		writeFile(b, file, private, 0o600)
		add := exec.Command(need(b, "ssh-add"), "-q", file)
		add.Env = []string{"SSH_AUTH_SOCK=" + socket}
		if out, err := add.CombinedOutput(); err != nil {
			b.Fatalf("ssh-add: %v\n%s", err, out)
		}
	}
	return []*contender{ours, added, theirs}
}

func newContender(name, socket string, p *process) *contender {
	return &contender{
		name: name, socket: socket, pid: p.cmd.Process.Pid, keys: map[string]ssh.PublicKey{},
	}
}

func parseLine(t testing.TB, line string) ssh.PublicKey {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// compete has each agent sign for turns of a fifth of a second. The first turn
// does not count.
func compete(b *testing.B, agents []*contender, kind string, links int) {
	const turns, turn = 10, 200 * time.Millisecond
	clients := map[*contender][]agent.ExtendedAgent{}
	for _, a := range agents {
		a.score = score{}
		for range links {
			clients[a] = append(clients[a], dialAgent(b, a.socket))
		}
	}
	for i := range turns + 1 {
		for _, j := range rand.Perm(len(agents)) {
			a := agents[j]
			cpu, begin := cpuTime(b, a.pid), time.Now()
			took := signFor(b, clients[a], a.keys[kind], begin.Add(turn))
			if i > 0 {
				a.rates = append(a.rates, float64(len(took))/time.Since(begin).Seconds())
				a.took = append(a.took, took...)
				a.cpu += cpuTime(b, a.pid) - cpu
			}
		}
	}
}

func dialAgent(t testing.TB, socket string) agent.ExtendedAgent {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return agent.NewClient(conn)
}

// signFor has all clients log in until then, and returns how long each signature took.
func signFor(b *testing.B, clients []agent.ExtendedAgent, key ssh.PublicKey, until time.Time) (took []time.Duration) {
	data := loginData(key)
	var mu sync.Mutex
	var working sync.WaitGroup
	for _, c := range clients {
		working.Go(func() {
			var mine []time.Duration
			for begin := time.Now(); begin.Before(until); {
				if _, err := c.SignWithFlags(key, data, agent.SignatureFlagRsaSha512); err != nil {
					b.Error(err)
					return
				}
				now := time.Now()
				mine, begin = append(mine, now.Sub(begin)), now
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	working.Wait()
	return took
}

// loginData is what ssh signs to log in to a host that it names (RFC 4252,
// section 7; OpenSSH's PROTOCOL, section 3.1).
func loginData(key ssh.PublicKey) []byte {
	algorithm := key.Type()
	if algorithm == ssh.KeyAlgoRSA {
		algorithm = ssh.KeyAlgoRSASHA512
	}
	type request struct {
		Session               []byte
		Message               byte
		User, Service, Method string
		Signed                bool
		Algorithm             string
		Key, Host             []byte
	}
	return ssh.Marshal(request{bytes.Repeat([]byte{7}, 64), 50, "git", "ssh-connection", "publickey-hostbound-v00@openssh.com", true, algorithm, key.Marshal(), key.Marshal()})
}

// report prints the scores, and how large the processes are by now. The ratio to OpenSSH's agent, which is the last, is the
// median of those of the turns: what had its turn in the same round met the same load.
func report(b *testing.B, agents []*contender) {
	b.ReportMetric(0, "ns/op")
	theirs := agents[len(agents)-1]
	for _, a := range agents {
		ratios := make([]float64, len(a.rates))
		for i := range ratios {
			ratios[i] = a.rates[i] / theirs.rates[i]
		}
		slices.Sort(ratios)
		slices.Sort(a.took)
		at := func(percent int) int64 { return a.took[len(a.took)*percent/100].Microseconds() }
		loaded, file := resident(b, a.pid)
		rss := atRest(b, a.pid)
		b.Logf("%-8s %6.0f/s  p50 %6d us  p99 %6d us  cpu %5d us  %5.2f x openssh  %.1f MiB (%.1f of them its file's), at rest %.1f", a.name,
			mean(a.rates), at(50), at(99), a.cpu.Microseconds()/int64(len(a.took)), ratios[len(ratios)/2], loaded, file, rss)
		if a != theirs {
			b.ReportMetric(ratios[len(ratios)/2], a.name+"-x")
			b.ReportMetric(rss, a.name+"-rss-MiB")
		}
	}
}

func mean(of []float64) (m float64) {
	for _, x := range of {
		m += x / float64(len(of))
	}
	return m
}
