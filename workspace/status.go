package workspace

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
)

// A State is what a workspace daemon says of itself.
type State struct {
	PID         int        `json:"pid"`
	Version     string     `json:"version"`
	Started     time.Time  `json:"started"`
	Socket      string     `json:"socket"` // the ssh-agent's
	Server      string     `json:"server"` // its URL
	ServerError string     `json:"server_error,omitempty"`
	ServerHint  string     `json:"server_hint,omitempty"` // what the server says can be done about that
	Refused     bool       `json:"refused"`               // the server says that the workspace may not have keys
	User        string     `json:"user,omitempty"`        // "" if the server could not be asked
	Workspace   string     `json:"workspace,omitempty"`   // as the server said last; "" if it never has
	Keys        []StateKey `json:"keys"`                  // on offer now
	Held        int        `json:"held"`                  // private keys of the server in memory now
	Added       int        `json:"added"`                 // keys that clients added, in memory now
	Locked      bool       `json:"locked"`                // by ssh-add -x: no keys are offered
	Readable    int        `json:"readable"`              // of both, those that root could read: they signed a moment ago
	IdleSeconds float64    `json:"idle_seconds"`

	Agents []StateAgent `json:"agents"` // others whose keys it offers, in the order of the keys

	Refusals []StateRefusal `json:"refusals"` // the last ones, newest last

	Secrets StateSecrets `json:"secrets"`
	SSH     *StateSSH    `json:"ssh,omitempty"` // nil: SSH is not served

	// Process is what protects the daemon's memory, and what does not.
	Process harden.Report `json:"process"`
}

// A StateKey is a public key on offer.
type StateKey struct {
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint"`
	Type        string `json:"type"` // as on the wire: "ssh-ed25519"
	Comment     string `json:"comment"`

	Mode   api.KeyMode   `json:"mode"` // how it serves
	Policy api.KeyPolicy `json:"policy"`
}

// A StateRefusal is a signature that a key has not made, or that it was not shown
// to a client who had no use for it.
type StateRefusal struct {
	Key     string    `json:"key"`               // its fingerprint
	Comment string    `json:"comment,omitempty"` // its comment, which has its name; "" if it is not listed any more
	At      time.Time `json:"at"`
	Why     string    `json:"why"`

	Added bool `json:"added,omitempty"` // a client had added the key
}

const (
	probeTimeout = 3 * time.Second // for the server, while a status is asked for
	maxState     = 8 << 20         // bytes of an answer: secrets have long paths
)

// Status asks the daemon of a runtime directory for its state. The error is
// fs.ErrNotExist or syscall.ECONNREFUSED if none runs there.
func Status(ctx context.Context, dir string) (s State, err error) {
	c, err := dialControl(dir)
	if err != nil {
		return s, err
	}
	defer c.close()
	return s, c.ask(ctx, "GET", "/status", nil, maxState, &s)
}

// NotRunning reports whether an error of [Status] says that no daemon runs.
func NotRunning(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// control serves the control socket. Who may connect is the listener's affair.
func (d *Daemon) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) { d.tell(w, d.state(r.Context())) })
	mux.HandleFunc("GET /offer", func(w http.ResponseWriter, _ *http.Request) { d.tell(w, d.offer()) })
	mux.Handle("GET /known-hosts", d.hosts)
	mux.HandleFunc("POST /agents", d.serveAttach)
	mux.HandleFunc("DELETE /agents", d.serveDetach)
	mux.HandleFunc("GET /secrets", d.serveSecrets)
	mux.HandleFunc("GET /secrets/wait", d.serveWait)
	mux.HandleFunc("GET /secrets/files", d.serveFileValues)
	mux.HandleFunc("POST /scan", d.serveScan)
	mux.HandleFunc("POST /scan/hashes", d.serveScanHashes)
	return mux
}

func (d *Daemon) tell(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		d.log.Warn("an answer on the control socket was not delivered", "err", err)
	}
}

func (d *Daemon) offer() Offer {
	d.source.refusals.dropRemoved(d.agent.AddedAt)
	o := d.source.LastOffer()
	o.Locked = d.agent.Locked()
	return o
}

// state asks the server, so that what it says of it holds now.
func (d *Daemon) state(ctx context.Context) State {
	s := State{
		PID:         os.Getpid(),
		Version:     d.config.Version,
		Started:     d.started,
		Socket:      AgentSocket(d.config.Dir),
		Server:      d.config.Client.URL(),
		Keys:        []StateKey{},
		Held:        d.source.Held(),
		Added:       d.agent.HeldAdded(),
		Locked:      d.agent.Locked(),
		Readable:    d.source.eraser.readable(),
		IdleSeconds: d.config.Idle.Seconds(),
		Agents:      d.upstreams.state(),
		Secrets:     StateSecrets{Off: true, Items: []api.DeliveryItem{}, Missing: []api.Requirement{}, Notice: noticeOff},
		Process:     d.config.Process,
	}
	if d.secrets != nil {
		s.Secrets = d.secrets.summary()
		s.Secrets.FilesInMemory = d.config.FilesInMemory
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	self, err := d.config.Client.Self(ctx)
	if err == nil {
		s.User = self.User.Name
		d.name.Store(self.Workspace.Name)
	}
	if d.ssh != nil {
		s.SSH = d.ssh.stateNow(err == nil)
	}
	s.Workspace, _ = d.name.Load().(string)
	keys, keysErr := d.source.Keys(ctx)
	d.source.refusals.dropRemoved(d.agent.AddedAt)
	s.Refusals = d.source.refusals.last() // of those before, this has dropped what is over
	for _, k := range keys {
		t, _ := d.source.listed(k.Public)
		s.Keys = append(s.Keys, StateKey{t.name, ssh.FingerprintSHA256(k.Public), k.Public.Type(), k.Comment, api.Strictest(t.mode), t.policy})
	}
	if err = cmp.Or(err, keysErr); err != nil {
		s.ServerError, s.Refused = err.Error(), isRefusal(err)
		var answer *api.Error
		if errors.As(err, &answer) {
			s.ServerHint = answer.Detail
		}
	}
	return s
}
