package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/latchkey/latchkey/gitssh"
	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/sshagent"
	"github.com/latchkey/latchkey/workspace"
)

// The names of the agents behind a helper's own.
const (
	fromLatchkey = "latchkey" // a daemon, or the first helper
	fromUser     = "user"     // the user's own agent
)

// endTimeout is how long a helper that is done waits for clients of its agent
// that its ssh has left behind.
const endTimeout = time.Second

// A helper is one run of ssh with an agent.
type helper struct {
	*program
	args  gitssh.Args
	ssh   string // its path
	first string // the directory of the helper that this one is a hop of, or ""

	runtimeDir string
	aside      bool   // the user has an identity of their own for the host
	own        string // the socket of the user's own agent, or ""
	latchkey   string // the socket of the daemon, or of the first helper; "" if there is neither
	daemon     bool   // latchkey is the daemon's

	dir         *helperDir
	credentials *workspace.Credentials // without latchkey
	source      *offer                 // without latchkey
	servers     []*sshagent.Server
	serving     sync.WaitGroup
	asking      sync.WaitGroup // of the daemon, while ssh goes on
	seen        witness
}

// open finds out what to offer and serves it. An error means that the Latchkey
// keys are not to be had at all; close is to be called either way.
func (h *helper) open() error {
	var err error
	if h.runtimeDir, err = workspace.RuntimeDir(os.Getenv); err != nil {
		return err
	}
	if _, dir := helpersDir(h.runtimeDir); filepath.Dir(h.first) != dir {
		h.first = "" // not a hop: this program is in PATH by the name of ssh
	}
	config, err := h.config()
	if err != nil {
		return err
	}
	h.aside = config.Explicit()
	h.own = ownAgent(config.Agent, h.runtimeDir)
	h.findLatchkey()
	if h.latchkey == "" {
		if err := h.openSource(); err != nil && !h.aside {
			return err
		}
	}
	if h.dir, err = newHelperDir(h.runtimeDir); err != nil {
		return err
	}
	// Without a link, the ssh of a hop runs as the user configured it.
	if self, err := os.Executable(); err == nil && h.first == "" {
		if err := os.Symlink(self, h.dir.file(helperSSH)); err != nil {
			return fmt.Errorf("making the helper's link: %w", err)
		}
	}
	h.seen.dir = h.firstDir()
	return h.serve()
}

// config is what the user configured for the host, asked of ssh only if there
// may be something.
func (h *helper) config() (gitssh.Config, error) {
	home, err := gitssh.HomeDir()
	if err != nil || !h.args.MayName(home, gitssh.SystemDir) {
		return gitssh.Config{}, err
	}
	probe := gitssh.Probe(h.ssh, h.args)
	probe.Env = sshEnv()
	out, err := probe.Output()
	if err != nil {
		return gitssh.Config{}, nil // ssh will say itself what is wrong
	}
	return gitssh.ParseConfig(string(out), home, h.args, os.Getenv), nil
}

// findLatchkey looks for somebody who offers the Latchkey keys: the first
// helper, if this is one of its hops, else a daemon.
func (h *helper) findLatchkey() {
	if h.first != "" {
		if path := filepath.Join(h.first, helperKeys); answers(path) {
			h.latchkey = path
			return
		}
	}
	if path := workspace.AgentSocket(h.runtimeDir); workspace.CheckRuntimeDir(h.runtimeDir) == nil && answers(path) {
		h.latchkey, h.daemon = path, true
	}
}

func answers(path string) bool {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// openSource makes this process the one that fetches keys.
func (h *helper) openSource() error {
	harden.Process()
	var err error
	h.credentials, err = workspace.LoadCredentials(workspace.CredentialsConfig{Getenv: os.Getenv})
	if errors.Is(err, workspace.ErrNoToken) {
		return withHint(errors.New("no workspace daemon runs, and no workspace token is set"),
			`start "latchkey agent", or set LATCHKEY_TOKEN_FILE`)
	}
	if err != nil {
		return err
	}
	client, err := h.credentials.Client()
	if err != nil {
		return err
	}
	h.source = &offer{Source: workspace.NewSource(client, nil)}
	return nil
}

// serve serves the agent of this helper's ssh, and that of its hops.
func (h *helper) serve() error {
	agent := &sshagent.Server{Idle: sshagent.DefaultIdle, Observe: h.observe}
	if h.latchkey != "" {
		agent.Upstreams = append(agent.Upstreams, upstream(fromLatchkey, h.latchkey))
	} else if h.source != nil {
		agent.Source = h.source
		keys := &sshagent.Server{Source: h.source, Idle: sshagent.DefaultIdle, Observe: h.observeHop}
		if err := h.serveOn(helperKeys, keys, nil); err != nil {
			return err
		}
	}
	if h.aside {
		return nil
	}
	if h.own != "" {
		agent.Upstreams = append(agent.Upstreams, upstream(fromUser, h.own))
	}
	return h.serveOn(helperAgent, agent, h.seen.connection)
}

func upstream(name, path string) sshagent.Upstream {
	return sshagent.Upstream{Name: name, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
}

// serveOn serves on a socket in the helper's directory. wrap, if not nil, is put
// around each connection.
func (h *helper) serveOn(name string, s *sshagent.Server, wrap func(net.Conn) net.Conn) error {
	l, err := sshagent.Listen(h.dir.file(name))
	if err != nil {
		return err
	}
	if wrap != nil {
		l = &wrappingListener{l, wrap}
	}
	h.servers = append(h.servers, s)
	h.serving.Go(func() {
		if err := s.Serve(l); !errors.Is(err, sshagent.ErrServerClosed) {
			h.warn(fmt.Sprintf("the helper's agent stopped: %v", err))
		}
	})
	return nil
}

// firstDir is the directory that the helpers of one git command share.
func (h *helper) firstDir() string {
	if h.first != "" {
		return h.first
	}
	return h.dir.path
}

// run runs ssh to its end, and says what the user should know of it.
func (h *helper) run() (*os.ProcessState, error) {
	r := gitssh.Run{SSH: h.ssh, Self: filepath.Join(h.firstDir(), helperSSH), OwnAgent: h.own, Env: sshEnv()}
	if !gitssh.Safe(r.Self) {
		r.Self = ""
	}
	if !h.aside {
		r.Agent = h.dir.file(helperAgent)
	}
	cmd := r.Command(h.args)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = h.stdin, h.stdout, h.stderr
	state, err := runChild(cmd, func(pid int) {
		h.seen.started(pid)
		h.dir.removeOthers()
	})
	if err != nil {
		return nil, err
	}
	if !h.aside {
		h.afterwards(state)
	}
	return state, nil
}

// close ends what open began and forgets the keys.
func (h *helper) close() {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	for _, s := range h.servers {
		if err := s.Shutdown(ctx); err != nil && ctx.Err() == nil {
			h.warn(fmt.Sprintf("ending the helper's agent: %v", err))
		}
	}
	h.serving.Wait()
	h.asking.Wait()
	if h.credentials != nil {
		h.credentials.Close()
	}
	if h.dir != nil {
		if err := h.dir.remove(); err != nil {
			h.warn(err.Error())
		}
	}
}

// warn writes the one line that a git command may have of its helpers, those of
// the hops included.
func (h *helper) warn(text string) {
	if h.seen.mayWarn() {
		h.message("warning", text)
	}
}

type wrappingListener struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (l *wrappingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.wrap(c), nil
}
