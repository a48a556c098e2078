package workspace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
	"github.com/latchkey/latchkey/workspace/sshd"
)

const (
	startTimeout    = 5 * time.Second // for the server's first answer
	shutdownTimeout = 5 * time.Second // for signatures under way
)

// A Config is what a [Daemon] runs with.
type Config struct {
	Dir      string        // the runtime directory, made if there is none
	Client   *api.Client   // speaks for the workspace
	Idle     time.Duration // how long a private key is kept after its last use; 0: not at all
	Sockets  Sockets       // opened for it, if any
	Upstream string        // the socket of the user's own agent, if any: its keys come after ours
	NoAdd    bool          // clients may not add keys of their own to the agent
	Askpass  string        // the program that asks whether a key may be used; "": such keys are refused
	Process  harden.Report // what holds of this process, for the status
	Version  string        // of this program, for the status
	Log      *slog.Logger  // nil: no log
	Ready    func(agentSocket string)

	// AddUpstream passes what clients add and remove on to Upstream, which must then
	// be there: also what the daemon's own agent refuses, as FIDO keys and smartcards.
	AddUpstream bool

	AddLifetime time.Duration // of a key that a client adds without one; 0: until it is removed

	// Confine, if not nil, gives up what the daemon does not need once its sockets
	// are open, and returns what then holds, for the status in Process's place.
	Confine func() harden.Report

	NoSecrets     bool          // take no user secrets
	Home          string        // what "~" stands for in the path of a secret's file; "": there is none
	StateDir      string        // of the journal of files; "": the runtime directory
	FilesInMemory bool          // the files of secrets are links to a tmpfs
	SecretCache   time.Duration // how old cached secrets may be with which a daemon starts; 0: none are cached
	Credentials   *Credentials  // with which Client speaks: the cache is encrypted with the token

	SSHD       string       // the address to serve SSH on; "": SSH is not served
	SSHServer  []string     // the program that serves it, in a process of its own: see [ServeSSH]
	SSHAccount sshd.Account // whose programs run
	SSHEnviron []string     // variables of what runs: what has it find the daemon
	SFTP       []string     // the program that serves SFTP; nil: none
}

// A Daemon is the workspace daemon: an ssh-agent on one socket, its status and
// the user's secrets on another.
type Daemon struct {
	config  Config
	log     *slog.Logger
	source  *Source
	agent   *sshagent.Server
	hosts   *KnownHosts
	follow  *follower
	started time.Time
	first   time.Duration // startTimeout, but for tests
	ending  chan struct{} // closed when Run stops
	name    atomic.Value  // of the workspace: a string, once the server has told it

	upstreams *upstreams

	secrets *secretSync // nil: takes none; set by Run
	ssh     *sshService // nil: does not serve SSH
}

// NewDaemon returns a Daemon; Run starts it.
func NewDaemon(c Config) *Daemon {
	d := &Daemon{config: c, log: c.Log, started: time.Now(), first: startTimeout, ending: make(chan struct{})}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.source = NewSource(c.Client, d.log)
	d.hosts = NewKnownHosts(c.Client)
	d.agent = &sshagent.Server{
		Source: d.source, Idle: c.Idle, Log: d.log,
		NoAdd: c.NoAdd, Lifetime: c.AddLifetime, Keep: d.source.eraser.keepAdded, Confirm: Askpass(c.Askpass, d.log),
		AddHint: "start the daemon with --add-upstream to have it added to the agent that SSH_AUTH_SOCK names then",
	}
	d.agent.KeptBack = d.source.refusals.addAdded
	d.upstreams = &upstreams{agent: d.agent, own: AgentSocket(c.Dir), log: d.log, timeout: meetTimeout}
	// A workspace that the server has refused keeps nothing of what it had.
	d.source.refused = func(error) {
		d.agent.Forget()
		d.ssh.ask(spread)
	}
	d.source.withdrawn = d.agent.ForgetSource
	if c.SSHD != "" {
		d.ssh = newSSH(c.Client, d.upstreams, d.sessionSecrets, c, d.log)
	}
	d.follow = newFollower(d.source, d.hosts.refresh, d.ssh.ask)
	return d
}

// Forget wipes every private key; the next signature fetches again.
func (d *Daemon) Forget() { d.agent.Forget() }

// Run serves until ctx ends. It fails if another daemon lives, if the directory
// cannot be trusted, and if the server refuses the token; a server that is away
// is no failure, for a workspace must start without it. On return all private
// keys are wiped, the files of secrets are removed, and its own sockets are gone. Run
// may be called once.
func (d *Daemon) Run(ctx context.Context) error {
	if err := MakeRuntimeDir(d.config.Dir); err != nil {
		return err
	}
	agent, err := listen(d.config.Sockets.Agent, AgentSocket(d.config.Dir))
	if err != nil {
		return namingDaemon(ctx, d.config.Dir, err)
	}
	defer agent.Close()
	control, err := listen(d.config.Sockets.Control, ControlSocket(d.config.Dir))
	if err != nil {
		return err
	}
	defer control.Close()
	sshProcess, err := d.startSSH(ctx)
	if err != nil {
		return err
	}
	defer sshProcess.stop()
	if err := d.addOwnAgent(); err != nil {
		return err
	}
	defer d.upstreams.close()
	// Files and the cache belong to whoever has the sockets.
	closeSecrets, err := d.openSecrets()
	if err != nil {
		return err
	}
	defer closeSecrets()
	if d.config.Confine != nil {
		d.config.Process = d.config.Confine()
	}
	// Who asks for keys need not wait for secrets, or for who is asked at first.
	ended := make(chan error, 2)
	go func() { ended <- d.agent.Serve(agent) }()
	if err := d.begin(ctx); err != nil {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		return errors.Join(err, d.agent.Shutdown(stopping), serveError(<-ended))
	}
	following := d.followServer(ctx)
	defer following()
	stopSSH := d.serveSSH(ctx, sshProcess)
	defer stopSSH()
	return d.serve(ctx, ended, control, func() {
		following()
		stopSSH()
		d.upstreams.close()
	})
}

// begin meets the server and delivers secrets for the first time.
func (d *Daemon) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, d.first)
	defer cancel()
	err := d.meetServer(ctx)
	if d.secrets == nil {
		return err
	}
	if err != nil {
		d.secrets.drop(err)
		return err
	}
	d.secrets.start(ctx)
	return nil
}

// serve serves both sockets until ctx ends or one of them fails. The agent's is
// served already: ended says when it is not any more.
func (d *Daemon) serve(ctx context.Context, ended chan error, control net.Listener, stop func()) (err error) {
	status := &http.Server{
		Handler:           d.control(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelWarn),
	}
	go func() { ended <- status.Serve(control) }()
	if d.config.Ready != nil {
		d.config.Ready(AgentSocket(d.config.Dir))
	}
	harden.Collect() // what the start has needed: it is there all day, and works for moments
	running := 2
	select {
	case <-ctx.Done():
		d.log.Info("stopping")
	case err = <-ended:
		running--
	}
	close(d.ending)
	// First of all, for that secrets are removed must not be left undone.
	stop()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	errs := []error{serveError(err), d.agent.Shutdown(stopping), status.Shutdown(stopping)}
	for range running {
		errs = append(errs, serveError(<-ended))
	}
	d.config.Client.Close()
	return errors.Join(errs...)
}

// meetServer asks whom the token speaks for, and which keys there are to offer.
func (d *Daemon) meetServer(ctx context.Context) error {
	// The keys first: a client may be waiting for them.
	keys, err := d.source.Keys(ctx)
	var self api.WorkspaceSelf
	if err == nil {
		self, err = d.config.Client.Self(ctx)
	}
	switch {
	case isRefusal(err):
		return fmt.Errorf("%s refuses the workspace token: %w", d.config.Client.URL(), err)
	case err != nil:
		d.log.Warn("starting without the server: keys will be there when it is", "url", d.config.Client.URL(), "err", err)
	default:
		d.name.Store(self.Workspace.Name)
		d.log.Info("the server knows this workspace", "url", d.config.Client.URL(), "user", self.User.Name, "workspace", self.Workspace.Name, "keys", len(keys))
		// Now, for a time when the server is away.
		if _, err := d.hosts.Lines(ctx, ""); err != nil {
			d.log.Warn("the known hosts were not to be had", "err", err)
		}
	}
	return nil
}

func serveError(err error) error {
	if errors.Is(err, sshagent.ErrServerClosed) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// addOwnAgent offers the user's own agent, unless it is this one: who starts a daemon
// may have the environment of an earlier one. It has it take what clients add if that is
// wanted.
func (d *Daemon) addOwnAgent() error {
	socket, add := d.config.Upstream, d.config.AddUpstream
	this := sameFile(socket, AgentSocket(d.config.Dir))
	switch {
	case add && socket == "":
		return &Problem{errors.New("--add-upstream: there is no agent to add keys to, SSH_AUTH_SOCK is not set"), addUpstreamHint}
	case add && this:
		return &Problem{fmt.Errorf("--add-upstream: there is no agent to add keys to, SSH_AUTH_SOCK is %s, this daemon's own", socket), addUpstreamHint}
	case socket == "" || this:
		return nil
	}
	switch err := servedByOther(socket); {
	case err != nil && add:
		return &Problem{fmt.Errorf("--add-upstream: no keys are added to the agent at %s: %w", socket, err), otherUserHint}
	case err != nil:
		d.log.Warn("your own agent is not asked for its keys", "socket", socket, "err", err, "hint", otherUserHint)
	case add:
		d.log.Info("what clients add and remove is passed on", "to", socket)
	}
	d.upstreams.addOwn(socket, d.started, add)
	return nil
}

const otherUserHint = `run the daemon as the user whose agent it is, in a container with "docker run --user", or bring that agent along with "ssh -A"`

const addUpstreamHint = "set SSH_AUTH_SOCK to the socket of an agent of yours, or leave out --add-upstream: the daemon keeps what is added then"
