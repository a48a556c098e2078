package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/sshagent"
	"github.com/latchkey/latchkey/workspace"
)

// exitSSH is ssh's status for a failure of its own. It is also a command's, if
// the command exits so.
const exitSSH = 255

// askTimeout is how long a daemon may take to say what it last heard.
const askTimeout = time.Second

// A witness remembers what the helper's agent saw of one ssh.
type witness struct {
	first place     // of the first of the helpers of one git command
	began time.Time // before ssh did

	mu       sync.Mutex
	pid      int  // of ssh
	daemon   bool // the Latchkey keys come from a daemon
	asked    bool // ssh has asked for keys: it has accepted the host
	listed   bool // ssh was given Latchkey keys
	signed   bool // some agent has signed for it
	failed   bool // the Latchkey key was wanted, and could not sign
	loggedIn bool // ssh closed its agent and went on
	warned   bool
}

// observe is what the agent of this helper's ssh reports. ssh waits meanwhile,
// so what is said here stands before what ssh says of it.
func (h *helper) observe(a sshagent.Activity) {
	latchkey := a.Upstream != fromUser
	h.seen.note(func(w *witness) { w.asked = true })
	switch a.Kind {
	case sshagent.Listed:
		if latchkey && a.Err == nil && a.Keys > 0 {
			h.seen.note(func(w *witness) { w.listed = true })
		}
	case sshagent.Signed:
		h.seen.note(func(w *witness) {
			w.signed = w.signed || a.Err == nil
			w.failed = w.failed || a.Err != nil && latchkey
		})
	}
	switch daemon := h.seen.now().daemon; {
	case latchkey && (a.Err != nil || daemon && a.Kind == sshagent.Listed && a.Keys == 0):
		h.explain(a.Err)
	case latchkey && daemon && a.Kind == sshagent.Listed:
		// All is well, as far as the list shows: ssh need not wait.
		h.asking.Go(func() { h.explain(nil) })
	}
}

// explain warns the user if the Latchkey keys are not on offer, or if one could
// not sign.
func (h *helper) explain(err error) {
	if h.seen.now().daemon {
		// It lists what it has, which may be nothing, or another agent's keys.
		last, askErr := h.lastOffer()
		switch {
		case askErr == nil && last.Locked:
			err = errAgentLocked
		case askErr == nil && err != nil && h.refusal(last) != "":
			err = errors.New(h.refusal(last))
		case askErr == nil && last.Error != "" && (err != nil || len(last.Keys) == 0):
			err = withHint(errors.New(last.Error), `"latchkey status" says more`)
		case askErr == nil && len(last.Keys) == 0:
			h.seen.note(func(w *witness) { w.listed = false })
		}
	}
	if err != nil {
		h.warn(fmt.Sprintf("your key cannot be had, ssh goes on with your own: %s", oneLine(explainWorkspace(err))))
	}
}

// lastOffer is what the daemon has last heard of the server, or else this process.
func (h *helper) lastOffer() (workspace.Offer, error) {
	if !h.seen.now().daemon {
		return h.keys.lastOffer(), nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	return workspace.LastOffer(ctx, h.runtimeDir)
}

// refusal says why a key's policy has kept it from ssh, "" if it has not.
func (h *helper) refusal(last workspace.Offer) string {
	return lastRefusal(last, h.seen.began, func(r workspace.StateRefusal) bool { return !r.Added }).Why
}

// lastRefusal is the last one since a time that is one of those asked for: zero if there
// is none.
func lastRefusal(last workspace.Offer, since time.Time, is func(workspace.StateRefusal) bool) (refusal workspace.StateRefusal) {
	for _, r := range last.Refusals {
		if r.At.After(since) && is(r) {
			refusal = r
		}
	}
	return refusal
}

// notKeptBack are the lines of the keys that their policy has not kept from ssh.
func (h *helper) notKeptBack(last workspace.Offer) []string {
	return slices.DeleteFunc(slices.Clone(last.Keys), func(line string) bool {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		return err == nil && slices.ContainsFunc(last.Refusals, func(r workspace.StateRefusal) bool {
			return r.At.After(h.seen.began) && r.Key == ssh.FingerprintSHA256(key)
		})
	})
}

// afterwards says what to do if the host was not offered the key, or has refused
// it, and only then.
func (h *helper) afterwards(status syscall.WaitStatus) {
	h.asking.Wait()
	w := h.seen.now()
	if !status.Exited() || status.ExitStatus() != exitSSH || !w.asked || w.signed || w.failed || w.loggedIn {
		return
	}
	last, err := h.lastOffer()
	if r := lastRefusal(last, h.seen.began, func(r workspace.StateRefusal) bool { return r.Added }); r.Key != "" {
		h.message("hint", fmt.Sprintf("%s was not offered %s, which was added: %s", h.args.Address(), strings.TrimSpace(r.Key+" "+r.Comment), r.Why))
	}
	lines := h.notKeptBack(last)
	if err == nil && len(lines) == 0 && h.refusal(last) != "" {
		h.message("hint", fmt.Sprintf("%s was not offered your key: %s", h.args.Address(), h.refusal(last)))
		return
	}
	if !w.listed {
		return
	}
	if len(lines) == 0 {
		lines = h.publicKeys(w.daemon)
	}
	if len(lines) == 0 {
		return
	}
	h.message("hint", h.args.Address()+" does not know your key: add this line to your account there")
	fmt.Fprintln(h.stderr, printable(lines[0]))
}

// publicKeys are the lines of the Latchkey keys that were offered.
func (h *helper) publicKeys(daemon bool) []string {
	if lines := h.keys.lines(); len(lines) > 0 {
		return lines
	}
	if daemon {
		last, err := h.lastOffer()
		if err != nil {
			return nil // it has just gone; ssh's own message must do
		}
		return last.Keys
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	return agentKeys(ctx, h.first.keysSocket())
}

// agentKeys lists what an agent offers.
func agentKeys(ctx context.Context, path string) (lines []string) {
	c, err := dial(ctx, path)
	if err != nil {
		return nil
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	keys, err := agent.NewClient(c).List()
	if err != nil {
		return nil
	}
	for _, k := range keys {
		lines = append(lines, k.String())
	}
	return lines
}

func (w *witness) note(f func(*witness)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

// A saw is what a witness has seen by now.
type saw struct{ daemon, asked, listed, signed, failed, loggedIn bool }

func (w *witness) now() saw {
	w.mu.Lock()
	defer w.mu.Unlock()
	return saw{w.daemon, w.asked, w.listed, w.signed, w.failed, w.loggedIn}
}

func (w *witness) started(pid int) { w.note(func(w *witness) { w.pid = pid }) }

// mayWarn reports whether nobody has warned yet: one line is enough of the
// helpers of one git command.
func (w *witness) mayWarn() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.warned {
		return false
	}
	w.warned = true
	if w.first.name == "" {
		return true
	}
	f, err := os.OpenFile(w.first.warned(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return !os.IsExist(err)
	}
	f.Close()
	return true
}

// A watchedListener watches how clients leave. ssh closes its connection to the
// agent once it has logged in; if it is refused, it just exits.
type watchedListener struct {
	net.Listener
	witness *witness
}

func (l *watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &watchedConn{c, l.witness}, nil
}

type watchedConn struct {
	net.Conn
	witness *witness
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, io.EOF) {
		c.witness.note(func(w *witness) {
			w.loggedIn = w.loggedIn || w.listed && w.pid != 0 && !exiting(w.pid)
		})
	}
	return n, err
}
