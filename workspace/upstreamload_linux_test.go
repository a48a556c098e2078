package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/sys/unix"
)

const (
	loadAgents  = 8
	loadClients = 200
	loadRounds  = 3  // of each agent: it comes, is used, and goes
	loadUses    = 10 // signatures of an agent before it goes
)

// A comer is an agent of OpenSSH's with one key, and the sessions that bring it along.
type comer struct {
	*forwarded
	key     testKey
	program string
	real    string // the agent's own socket
	kill    func()
}

// start runs the agent, which a comer has killed or which never ran.
func (c *comer) start() (err error) {
	os.Remove(c.real)
	if c.kill, err = runOpenSSHAgent(c.program, c.real, nil); err != nil {
		return err
	}
	conn, err := net.Dial("unix", c.real)
	if err != nil {
		return err
	}
	defer conn.Close()
	return agent.NewClient(conn).Add(agent.AddedKey{PrivateKey: c.key.private})
}

// round has the agent come, waits until clients have used it, and has it go in one
// of the ways in which agents do.
func (c *comer) round(t *testing.T, d *Daemon, way int) error {
	d.mustAttach(t, c.path)
	c.used(t)
	switch way % 3 {
	case 0: // taken back, by who has attached it twice
		d.mustAttach(t, c.path)
		if _, err := DetachAgent(t.Context(), d.config.Dir, c.path); err != nil {
			return err
		}
	case 1: // its session ends, and another one has the path
		ended(t, d, c.path, c.end)
		c.begin(t)
	case 2: // it is killed and started anew; its session lasts
		c.kill()
		c.drop()
		if err := c.start(); err != nil {
			return err
		}
		d.mustAttach(t, c.path)
		c.used(t)
		if _, err := DetachAgent(t.Context(), d.config.Dir, c.path); err != nil {
			return err
		}
	}
	conn, err := net.Dial("unix", AgentSocket(d.config.Dir))
	if err != nil {
		return err
	}
	defer conn.Close()
	keys, err := agent.NewClient(conn).List()
	if err == nil && slices.ContainsFunc(keys, func(k *agent.Key) bool { return string(k.Blob) == string(c.key.public.Marshal()) }) {
		err = errors.New("its key is on offer still")
	}
	return err
}

func (c *comer) used(t *testing.T) {
	c.mu.Lock()
	until := c.signed + loadUses
	c.mu.Unlock()
	c.await(t, "clients use the agent", func() bool { return c.signed >= until })
}

// use is what a client does with one link: it lists, and signs with the managed key,
// which never fails, and with the key of one other agent, which may have gone.
func (d *Daemon) use(managed testKey, turn int, known map[string]bool) error {
	conn, err := net.Dial("unix", AgentSocket(d.config.Dir))
	if err != nil {
		return err
	}
	defer conn.Close()
	a := agent.NewClient(conn)
	keys, err := a.List()
	if err != nil {
		return fmt.Errorf("List: %w", err)
	}
	for i, k := range keys {
		if !known[string(k.Blob)] || i == 0 != (string(k.Blob) == string(managed.public.Marshal())) {
			return fmt.Errorf("key %d of %d on offer is %s", i, len(keys), ssh.FingerprintSHA256(k))
		}
	}
	if len(keys) == 0 {
		return errors.New("the managed key is not on offer")
	}
	chosen := []*agent.Key{keys[0]}
	if len(keys) > 1 {
		chosen = append(chosen, keys[1+turn%(len(keys)-1)])
	}
	for i, k := range chosen {
		signature, err := a.Sign(k, []byte(signable))
		if err == nil {
			err = k.Verify([]byte(signable), signature)
		} else if i > 0 {
			continue
		}
		if err != nil {
			return fmt.Errorf("signing with %s: %w", ssh.FingerprintSHA256(k), err)
		}
	}
	return nil
}

// Eight agents come and go, are killed and started anew, while two hundred clients
// list and sign: nobody is asked for a key that is not theirs, every signature is
// that of the key that was asked for, the managed key serves all the time, and when
// all is over nothing is left of it.
func TestAgentsComeAndGo(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 8<<10 {
		t.Skipf("a process may have %d descriptors open here; this test takes some 5000", limit.Cur)
	}
	program := needSSHAgent(t)
	before := takeStock(t)
	d, managed, _, stop := startAttached(t, "")
	known := map[string]bool{string(managed.public.Marshal()): true}
	var comers []*comer
	for range loadAgents {
		c := &comer{key: newEd25519(t), program: program, real: filepath.Join(socketDir(t), "real"), kill: func() {}}
		c.forwarded = forward(t, func() (net.Conn, error) { return dialOpenSSHAgent(c.real) }, c.key)
		if err := c.start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.kill() })
		c.begin(t)
		known[string(c.key.public.Marshal())] = true
		comers = append(comers, c)
	}
	if err := d.use(managed, 0, known); err != nil { // fetches the key
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	files := treeOf(t, d.config.Dir)
	idle := awaitStock(t, "before the first agent comes", func(stock) bool { return true })

	var uses atomic.Int64
	var coming, using sync.WaitGroup
	done := make(chan struct{})
	for _, c := range comers {
		coming.Go(func() {
			for way := range loadRounds {
				if err := c.round(t, d, way); err != nil {
					t.Errorf("round %d of an agent: %v", way, err)
					return
				}
			}
		})
	}
	for i := range loadClients {
		using.Go(func() {
			for turn := i; ; turn++ {
				if err := d.use(managed, turn, known); err != nil {
					t.Error(err)
					return
				}
				uses.Add(1)
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	coming.Wait()
	close(done)
	using.Wait()

	signed := 0
	for i, c := range comers {
		c.mu.Lock()
		if signed += c.signed; c.wrong > 0 {
			t.Errorf("agent %d was asked %d times for keys that it has not", i, c.wrong)
		}
		c.mu.Unlock()
	}
	t.Logf("%d links of clients, %d signatures of agents that came and went", uses.Load(), signed)
	if list := mustStatus(t, d.config.Dir).Agents; len(list) != 0 {
		t.Errorf("the agents %v are left attached; want none", list)
	}
	awaitStock(t, "when all agents are gone", func(s stock) bool { return s.within(idle) })
	if got := treeOf(t, d.config.Dir); !slices.Equal(got, files) {
		t.Errorf("the runtime directory has %q; before the agents came it had %q", got, files)
	}
	if got := treeOf(t, os.Getenv("TMPDIR")); len(got) != 1 {
		t.Errorf("there is %q for temporary files; want nothing in it", got)
	}
	for _, c := range comers {
		c.end()
		c.kill()
	}
	stop()
	before.others = idle.others // those of the runtime's own, which open when first used
	awaitStock(t, "when the daemon has ended", func(s stock) bool { return s.within(before) })
}

// A stock is what a process has, as far as agents and their clients cost it.
type stock struct {
	goroutines int // of the agent and of what watches the others
	sockets    int // unix(7)
	others     int // descriptors that are no sockets
	stacks     string
}

func (s stock) within(other stock) bool {
	return s.goroutines <= other.goroutines && s.sockets <= other.sockets && s.others <= other.others
}

func takeStock(t *testing.T) (s stock) {
	t.Helper()
	buf := make([]byte, 16<<20)
	for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "latchkey/sshagent.") || strings.Contains(stack, "workspace.(*upstreams)") {
			s.goroutines++
			s.stacks += stack + "\n\n"
		}
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		n, _ := strconv.Atoi(fd.Name())
		link, err := os.Readlink("/proc/self/fd/" + fd.Name())
		switch address, _ := unix.Getsockname(n); address.(type) {
		case *unix.SockaddrUnix:
			s.sockets++
		case nil:
			if err == nil && !strings.HasPrefix(link, "/proc/") { // that is the directory being read
				s.others++
			}
		}
	}
	return s
}

// awaitStock waits until what there is, is as wanted: what has been closed goes when
// those goroutines have been scheduled that have closed it.
func awaitStock(t *testing.T, when string, ok func(stock) bool) stock {
	t.Helper()
	deadline, look := time.After(time.Minute), time.NewTicker(10*time.Millisecond)
	defer look.Stop()
	for {
		s := takeStock(t)
		if ok(s) {
			return s
		}
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("%s there are %d goroutines, %d unix sockets, %d other descriptors, more than before:\n%s", when, s.goroutines, s.sockets, s.others, s.stacks)
		}
	}
}

func treeOf(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
