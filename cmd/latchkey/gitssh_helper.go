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
	"github.com/latchkey/latchkey/sshagent"
	"github.com/latchkey/latchkey/workspace"
)

// The names of the agents behind a helper's own.
const (
	fromLatchkey = "latchkey" // a daemon, or the first helper
	fromUser     = "user"     // the user's own agent
)

// A helper is one run of ssh with an agent.
type helper struct {
	*program
	args  gitssh.Args
	ssh   string // its path
	first place  // of the helper that this one is a hop of; this one's if it is none

	runtimeDir     string
	oursConfigured bool   // the user's configuration names an agent of ours for the host
	aside          bool   // the user has an identity of their own for the host
	ownHosts       bool   // the user has a command of their own for known hosts
	own            string // the socket of the user's own agent, or ""

	place  place
	link   string       // by which ssh starts the helpers of its hops
	socket net.Listener // of the agent
	child  child
	keys   ownKeys
	hosts  ownHosts
	asking sync.WaitGroup // of the daemon, while ssh goes on
	seen   witness
}

// open finds out what the user configured and listens where the agent will be
// served. An error means that the Latchkey keys are not to be had at all; close
// is to be called either way.
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
	h.ownHosts = config.KnownHosts != ""
	h.oursConfigured = isOurs(config.Agent, h.runtimeDir)
	h.own = ownAgent(config.Agent, h.runtimeDir)
	if h.place, h.socket, err = newPlace(h.runtimeDir); err != nil {
		return err
	}
	if h.first.name == "" {
		h.first = h.place
	}
	h.seen.first, h.seen.began = h.first, time.Now()
	h.keys.helper, h.hosts.helper = h, h
	// The daemon is left alone until there is something to ask it.
	if _, err := os.Lstat(workspace.AgentSocket(h.runtimeDir)); err != nil && !h.isHop() {
		if err := h.keys.listen(); err != nil {
			return err
		}
	}
	if !h.isHop() {
		if err := h.hosts.listen(); err != nil {
			return err
		}
	}
	h.link, err = h.place.link()
	return err
}

func (h *helper) isHop() bool { return h.first != h.place }

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

// dialLatchkey connects to whoever offers the Latchkey keys: the first helper, if
// this is one of its hops and it does, or a daemon, or else this process.
func (h *helper) dialLatchkey(ctx context.Context) (net.Conn, error) {
	if h.isHop() {
		if c, err := dial(ctx, h.first.keysSocket()); err == nil {
			return c, nil
		}
	}
	if workspace.CheckRuntimeDir(h.runtimeDir) == nil {
		if c, err := dial(ctx, workspace.AgentSocket(h.runtimeDir)); err == nil {
			h.seen.note(func(w *witness) { w.daemon = true })
			return c, nil
		}
	}
	if err := h.keys.listen(); err != nil { // a daemon that died has left its socket
		return nil, err
	}
	return dial(ctx, h.place.keysSocket())
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", path)
}

// serve serves the agent of ssh for as long as this process lives: it only
// passes requests on.
func (h *helper) serve() {
	// A key that ssh adds (AddKeysToAgent) would be gone with this process.
	agent := &sshagent.Server{NoAdd: true, Observe: h.observe, Upstreams: []sshagent.Upstream{{Name: fromLatchkey, Dial: h.dialLatchkey}}}
	if h.own != "" {
		agent.Upstreams = append(agent.Upstreams, sshagent.Upstream{Name: fromUser, Dial: func(ctx context.Context) (net.Conn, error) {
			return dial(ctx, h.own)
		}})
	}
	if err := agent.Serve(&watchedListener{h.socket, &h.seen}); err != nil {
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
	ssh := h.sshVersion()
	if !h.ownHosts && ssh.TakesKnownHosts() && h.anyKnownHosts() {
		r.KnownHosts = h.link + " " + knownHostsArgument + " %I %H %f " + h.place.name
	}
	if err := h.child.start(r.Command(h.args)); err != nil {
		return 0, err
	}
	h.seen.started(h.child.pid)
	// It has a key exchange to do before it needs its agent.
	go h.hosts.serve()
	go h.serve()
	h.place.removeOthers()
	status, err := h.child.wait()
	if err == nil && !h.aside {
		h.afterwards(status)
	}
	if err == nil && !h.ownHosts && !h.refusedHost(status) {
		h.withoutKnownHosts(status, ssh)
	}
	return status, err
}

// close forgets the keys and removes what open made.
func (h *helper) close() {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	h.hosts.close(ctx)
	h.keys.close(ctx)
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
