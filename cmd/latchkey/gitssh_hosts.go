package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/gitssh"
	"github.com/latchkey/latchkey/workspace"
)

// ownHosts answers what ssh's KnownHostsCommand asks, where no daemon does: for
// the helper's own ssh, and for those of its hops. It asks the server for nothing,
// and knows no token, until somebody asks it.
type ownHosts struct {
	*helper
	socket net.Listener // nil of a hop
	server http.Server

	mu    sync.Mutex
	known *workspace.KnownHosts
}

func (o *ownHosts) listen() (err error) {
	if o.socket, err = o.place.listen(placeHosts); err != nil {
		return fmt.Errorf("serving known hosts: %w", err)
	}
	return nil
}

// serve serves until close.
func (o *ownHosts) serve() {
	if o.socket == nil {
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /known-hosts", o.answer)
	o.server.Handler = mux
	o.server.ReadHeaderTimeout = askTimeout
	if err := o.server.Serve(o.socket); !errors.Is(err, http.ErrServerClosed) {
		o.warn(fmt.Sprintf("the helper knows no hosts any more: %v", err))
	}
}

func (o *ownHosts) answer(w http.ResponseWriter, r *http.Request) {
	known, err := o.open()
	if err != nil {
		http.Error(w, oneLine(explainWorkspace(err)), http.StatusServiceUnavailable)
		return
	}
	known.ServeHTTP(w, r)
}

func (o *ownHosts) open() (*workspace.KnownHosts, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil {
		if _, err := o.keys.open(); err != nil {
			return nil, err
		}
		o.known = workspace.NewKnownHosts(o.keys.client)
	}
	return o.known, nil
}

// close ends serving; it waits for what is under way until ctx ends.
func (o *ownHosts) close(ctx context.Context) {
	if o.socket == nil {
		return
	}
	o.server.Shutdown(ctx) // its only error is that of ctx, or of the socket, which is closed either way
	o.socket.Close()       // if it was never served
}

// anyKnownHosts is false if a daemon says that there are none: ssh would ask
// several times, by a process of milliseconds each. One that does not say it
// quickly is asked by ssh.
func (h *helper) anyKnownHosts() bool {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	return workspace.AnyKnownHosts(ctx, h.runtimeDir)
}

// sshVersionLink is a link in the helpers' directory that leads nowhere: its
// text says which version an ssh has, and of which file. To make and to read one
// takes one call each, and a second ssh for each helper would take milliseconds.
const sshVersionLink = "ssh-version"

// sshVersion is the version of the helper's ssh; zero if it does not say.
func (h *helper) sshVersion() gitssh.Version {
	info, err := os.Stat(h.ssh)
	if err != nil {
		return gitssh.Version{} // running it will fail
	}
	file := fmt.Sprintf("%d %d %s", info.Size(), info.ModTime().UnixNano(), h.ssh)
	path := filepath.Join(h.place.dir, sshVersionLink)
	if text, err := os.Readlink(path); err == nil {
		if version, of, ok := strings.Cut(text, " "); ok && of == file {
			return gitssh.ParseVersion(version)
		}
	}
	ask := gitssh.VersionCommand(h.ssh)
	ask.Env = sshEnv(h.runtimeDir)
	said, err := ask.CombinedOutput()
	if err != nil {
		return gitssh.Version{}
	}
	v := gitssh.ParseVersion(string(said))
	if err := h.place.replaceLink(fmt.Sprintf("OpenSSH_%d.%d %s", v.Major, v.Minor, file), path); err != nil {
		return v // asked again the next time
	}
	return v
}

// withoutKnownHosts says what is wrong if ssh has failed before it asked for keys,
// perhaps at the host's key, and could not be told of known hosts: because they
// are not to be had, or because it is too old.
func (h *helper) withoutKnownHosts(status syscall.WaitStatus, ssh gitssh.Version) {
	w := h.seen.now()
	if ssh == (gitssh.Version{}) || !status.Exited() || status.ExitStatus() != exitSSH || w.asked || w.loggedIn {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), knownHostsTimeout)
	defer cancel()
	lines, err := h.program.knownHostLines(ctx, h.first, "")
	switch {
	case err != nil:
		h.warn(fmt.Sprintf("known hosts can't be had: %s", oneLine(explainWorkspace(err))))
	case len(lines) > 0 && !ssh.TakesKnownHosts():
		h.message("hint", fmt.Sprintf("this is %s, which can't be told of known hosts: add them to your own, latchkey %s >> ~/.ssh/known_hosts", ssh, knownHostsArgument))
	}
}

const knownHostsTimeout = 5 * time.Second
