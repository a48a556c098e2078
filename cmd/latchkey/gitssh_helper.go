package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
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
	first place  // of the helper that this one is a hop of, if it is

	runtimeDir     string
	oursConfigured bool   // the user's configuration names an agent of ours for the host
	aside          bool   // the user has an identity of their own for the host
	own            string // the socket of the user's own agent, or ""
	hop            bool   // the first helper offers the Latchkey keys
	daemon         atomic.Bool // a daemon does; else this process fetches them

	place  place
	link   string // by which ssh starts the helpers of its hops
	child  child
	source *offer // of the keys that this process fetches
	agents []helperAgent
	asking sync.WaitGroup // of the daemon, while ssh goes on
	seen   witness
}

// A helperAgent is an agent with its socket.
type helperAgent struct {
	*sshagent.Server
	listener net.Listener
}

// open finds out what to offer and listens where it will be served. An error
// means that the Latchkey keys are not to be had at all; close is to be called
// either way.
func (h *helper) open() error {
	var err error
	if h.runtimeDir, err = workspace.RuntimeDir(os.Getenv); err != nil {
		return err
	}
	if err := workspace.CheckRuntimeDir(h.runtimeDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	config, err := h.config()
	if err != nil {
		return err
	}
	h.aside = config.Explicit()
	h.oursConfigured = isOurs(config.Agent, h.runtimeDir)
	h.own = ownAgent(config.Agent, h.runtimeDir)
	h.findLatchkey()
	if h.latchkey == "" {
		if err := h.openSource(); err != nil && !h.aside {
			return err
		}
	}
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
	probe.Env = sshEnv(h.runtimeDir)
	out, err := probe.Output()
	if err != nil {
		return gitssh.Config{}, nil // ssh will say itself what is wrong
	}
	return gitssh.ParseConfig(string(out), home, h.args, os.Getenv), nil
}

// findLatchkey looks for somebody who offers the Latchkey keys: the first
// helper, if this is one of its hops, else a daemon.
func (h *helper) findLatchkey() {
	if h.first.name != "" && answers(h.first.keysSocket()) {
		h.latchkey = h.first.keysSocket()
		return
	}
	if path := workspace.AgentSocket(h.runtimeDir); answers(path) {
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
	var agentListener, keysListener net.Listener
	var err error
	if h.place, agentListener, err = newPlace(h.runtimeDir); err != nil {
		return err
	}
	if h.first.name == "" {
		h.first = h.place
	}
	h.seen.first = h.first
	if h.link, err = h.place.link(); err != nil {
		return err
	}
	agent := &sshagent.Server{Idle: sshagent.DefaultIdle, Observe: h.observe}
	h.agents = append(h.agents, helperAgent{agent, &watchedListener{agentListener, &h.seen}})
	if h.latchkey != "" {
		agent.Upstreams = append(agent.Upstreams, upstream(fromLatchkey, h.latchkey))
	} else if h.source != nil {
		agent.Source = h.source
		if keysListener, err = h.place.listen(placeKeys); err != nil {
			return fmt.Errorf("serving the agent of the hops: %w", err)
		}
		h.agents = append(h.agents, helperAgent{
			&sshagent.Server{Source: h.source, Idle: sshagent.DefaultIdle, Observe: h.observeHop}, keysListener})
	}
	if h.own != "" {
		agent.Upstreams = append(agent.Upstreams, upstream(fromUser, h.own))
	}
	return nil
}

func upstream(name, path string) sshagent.Upstream {
	return sshagent.Upstream{Name: name, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
}

func (h *helper) serve(a helperAgent) {
	if err := a.Serve(a.listener); !errors.Is(err, sshagent.ErrServerClosed) {
		h.warn(fmt.Sprintf("the helper's agent stopped: %v", err))
	}
}

// run runs ssh to its end, and says what the user should know of it.
func (h *helper) run() (syscall.WaitStatus, error) {
	r := gitssh.Run{SSH: h.ssh, Self: h.link, OwnAgent: h.own, Env: hopEnv(h.runtimeDir, h.first)}
	switch {
	case !h.aside:
		r.Agent = h.place.agentSocket()
	case h.oursConfigured:
		r.Agent = "none"
	}
	if err := h.child.start(r.Command(h.args)); err != nil {
		return 0, err
	}
	h.seen.started(h.child.pid)
	for _, a := range h.agents {
		go h.serve(a)
	}
	h.place.removeOthers()
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
	if h.place.name != "" {
		if err := h.place.remove(); err != nil {
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
