package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
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
	child       child
	credentials *workspace.Credentials // without latchkey
	source      *offer                 // without latchkey
	agents      []helperAgent
	asking      sync.WaitGroup // of the daemon, while ssh goes on
	seen        witness
}

// A helperAgent is an agent in a helper's directory.
type helperAgent struct {
	*sshagent.Server
	listener net.Listener
}

// open finds out what to offer and listens where it will be served. An error means that the Latchkey
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
	return h.listen()
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
	h.source = &offer{open: sync.OnceValues(func() (sshagent.Source, error) {
		client, err := h.credentials.Client()
		if err != nil {
			return nil, err
		}
		return workspace.NewSource(client, nil), nil
	})}
	return nil
}

// listen makes the sockets of the agent for this helper's ssh, and of that for
// its hops. The agents are served once ssh runs, which has a key exchange to do
// before it needs them.
func (h *helper) listen() error {
	agent := &sshagent.Server{Idle: sshagent.DefaultIdle, Observe: h.observe}
	if h.latchkey != "" {
		agent.Upstreams = append(agent.Upstreams, upstream(fromLatchkey, h.latchkey))
	} else if h.source != nil {
		agent.Source = h.source
		keys := &sshagent.Server{Source: h.source, Idle: sshagent.DefaultIdle, Observe: h.observeHop}
		l, err := h.listenAt(helperKeys)
		if err != nil {
			return err
		}
		h.agents = append(h.agents, helperAgent{keys, l})
	}
	if h.aside {
		return nil
	}
	if h.own != "" {
		agent.Upstreams = append(agent.Upstreams, upstream(fromUser, h.own))
	}
	l, err := h.listenAt(helperAgentSocket)
	if err != nil {
		return err
	}
	h.agents = append(h.agents, helperAgent{agent, &watchedListener{l, &h.seen}})
	return nil
}

func upstream(name, path string) sshagent.Upstream {
	return sshagent.Upstream{Name: name, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
}

// listenAt listens in the helper's directory, which keeps other users out and is
// no other's: it needs nothing of what sshagent.Listen does.
func (h *helper) listenAt(name string) (net.Listener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: h.dir.file(name), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("serving the helper's agent: %w", err)
	}
	return l, nil
}

func (h *helper) serve(a helperAgent) {
	if err := a.Serve(a.listener); !errors.Is(err, sshagent.ErrServerClosed) {
		h.warn(fmt.Sprintf("the helper's agent stopped: %v", err))
	}
}

// firstDir is the directory that the helpers of one git command share.
func (h *helper) firstDir() string {
	if h.first != "" {
		return h.first
	}
	return h.dir.path
}

// run runs ssh to its end, and says what the user should know of it.
func (h *helper) run() (syscall.WaitStatus, error) {
	r := gitssh.Run{SSH: h.ssh, Self: filepath.Join(h.firstDir(), helperSSH), OwnAgent: h.own, Env: sshEnv()}
	if !gitssh.Safe(r.Self) {
		r.Self = ""
	}
	if !h.aside {
		r.Agent = h.dir.file(helperAgentSocket)
	}
	if err := h.child.start(r.Command(h.args)); err != nil {
		return 0, err
	}
	h.seen.started(h.child.pid)
	for _, a := range h.agents {
		go h.serve(a)
	}
	h.dir.removeOthers()
	status, err := h.child.wait()
	if err == nil && !h.aside {
		h.afterwards(status)
	}
	return status, err
}

// close forgets the keys, ends what open began, and removes what it made. What
// only passes requests on ends with this process.
func (h *helper) close() {
	if h.source != nil {
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		for _, a := range h.agents {
			if err := a.Shutdown(ctx); err != nil && ctx.Err() == nil {
				h.warn(fmt.Sprintf("ending the helper's agent: %v", err))
			}
		}
	}
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
