package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sshagent"
	"github.com/latchkey/latchkey/workspace"
	"github.com/latchkey/latchkey/workspace/sshd"
)

// daemonGCPercent keeps the daemon small: it is there all day and works for
// moments, so collecting more often costs nothing that anyone sees. Who waits for
// it to start would see it.
const daemonGCPercent = 20

// A logForm is how the daemon writes its log.
type logForm string

const (
	logText logForm = "text"
	logJSON logForm = "json"
)

func (p *program) agentCommand() *cli.Command {
	return &cli.Command{
		Name:  "agent",
		Usage: "run the workspace daemon: your keys and your secrets",
		Description: `It stays in the foreground and serves an ssh-agent on one socket, see "latchkey env".
A private key is fetched from the server when something asks for a signature, kept in
locked memory, and forgotten again. SIGUSR1 forgets all keys at once. Keys of your own,
added with ssh-add, are in memory only and gone with the daemon; SSH_ASKPASS asks for those
that were added with -c. With --add-upstream they go to the agent that SSH_AUTH_SOCK named
when the daemon started, which has them then: if that agent was forwarded, so do private keys
and PINs.

It keeps your secrets as the server has them: those with a file are written to it, and
removed when the daemon ends; those with a variable are for "latchkey run". With
--secret-cache it keeps them, encrypted, beside its sockets, for a start without the server.

With --sshd it serves SSH to you: shells, commands, SFTP, forwarding. See "latchkey
login-key" and "latchkey ssh-config".

The workspace token comes from --token-file, else from the file LATCHKEY_TOKEN_FILE, else
from the systemd credential latchkey-token, else from LATCHKEY_TOKEN, out of which the
daemon takes it: /proc/PID/environ does not show it. The server's address and certificate
come from --url and --ca-file, else from the credentials latchkey-url and latchkey-ca, else
from LATCHKEY_URL and LATCHKEY_CA_FILE. The sockets are in LATCHKEY_RUNTIME_DIR, else in
$XDG_RUNTIME_DIR/latchkey, else in /tmp/latchkey-UID. It takes sockets there from systemd
(socket activation).

Behind its own keys it offers those of your own agent, the one of SSH_AUTH_SOCK, and of
each agent that "latchkey agent attach" names.`,
		Subcommands: []*cli.Command{p.agentAttachCommand(), p.agentDetachCommand()},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "url", Usage: "the key server's `URL`"},
			&cli.PathFlag{Name: "token-file", Usage: "read the workspace token from `FILE`, which nobody else may read"},
			&cli.PathFlag{Name: "ca-file", Usage: "trust the certificates in `FILE` only (PEM)"},
			&cli.GenericFlag{Name: "idle", Value: new(preciseDuration(sshagent.DefaultIdle)), Usage: "forget a private key that was not used for `DURATION`; 0: at once"},
			&cli.BoolFlag{Name: "no-add", Usage: "let nobody add keys of their own with ssh-add"},
			durationFlag("add-lifetime", "remove a key that was added without ssh-add -t after `DURATION`, such as 8h; else it stays"),
			&cli.BoolFlag{Name: "add-upstream", Usage: "pass what ssh-add adds and removes, also FIDO keys and smartcards, on to the agent in SSH_AUTH_SOCK"},
			&cli.BoolFlag{Name: "no-secrets", Usage: "take no user secrets: neither variables nor files"},
			&cli.BoolFlag{Name: "files-in-memory", Usage: "keep the files of secrets in memory (tmpfs), with links to where they are wanted"},
			&cli.StringFlag{Name: "sshd", Usage: "serve SSH to you at `ADDRESS`, such as 127.0.0.1:2222, by your login keys"},
			durationFlag("secret-cache", "start without the server with secrets that are at most `DURATION` old, such as 24h; else with none"),
			&cli.BoolFlag{Name: "no-sandbox", Usage: "keep what the daemon gives up once it runs: to start programs, to look into others (seccomp, Landlock)"},
			&cli.GenericFlag{Name: "log", Value: &choice[logForm]{value: logText, choices: []logForm{logText, logJSON}}, Usage: "write the log to stderr as `FORM`: text or json"},
		},
		Action: func(c *cli.Context) error { return explainWorkspace(p.agent(c)) },
	}
}

// agent runs the daemon until a signal ends it.
func (p *program) agent(c *cli.Context) error {
	// First of all: what follows reads the token.
	protect := harden.Process
	if c.String("sshd") != "" { // the sessions may want core files
		protect = harden.HostProcess
	}
	report := protect()
	token, err := workspace.TakeToken(report)
	if err != nil {
		return err
	}
	log := p.logger(chosen[logForm](c, "log"))
	slog.SetDefault(log) // for what packages of others log
	if err := checkAgentFlags(c); err != nil {
		return err
	}
	dir, err := workspace.RuntimeDir(os.Getenv)
	if err != nil {
		return err
	}
	sockets, err := workspace.ActivatedSockets(dir)
	if err != nil {
		return err
	}
	notify := takeNotifier(log)
	credentials, err := workspace.LoadCredentials(workspace.CredentialsConfig{
		URL: c.String("url"), TokenFile: c.Path("token-file"), CAFile: c.Path("ca-file"),
		Token: token, Getenv: os.Getenv,
	})
	if err != nil {
		return err
	}
	defer credentials.Close()
	client, err := credentials.Client()
	if err != nil {
		return err
	}
	config := workspace.Config{
		Dir: dir, Sockets: sockets, Client: client, Idle: time.Duration(*c.Generic("idle").(*preciseDuration)), Upstream: os.Getenv("SSH_AUTH_SOCK"),
		Process: report, Version: version(), Log: log,
		NoAdd: c.Bool("no-add"), AddUpstream: c.Bool("add-upstream"), AddLifetime: time.Duration(seconds(c, "add-lifetime")) * time.Second, Askpass: os.Getenv("SSH_ASKPASS"),
		Confine:   func() harden.Report { return confineAgent(c, report, dir, log) },
		NoSecrets: c.Bool("no-secrets"), FilesInMemory: c.Bool("files-in-memory"),
		SecretCache: time.Duration(seconds(c, "secret-cache")) * time.Second, Credentials: credentials,
		Home: workspace.HomeDir(os.Getenv), StateDir: workspace.StateDir(os.Getenv),
		Ready: func(socket string) {
			debug.SetGCPercent(daemonGCPercent)
			log.Info("ready", "socket", socket, "token", credentials.From)
			notify("READY=1")
		},
	}
	if config.SSHD = c.String("sshd"); config.SSHD != "" {
		if err := serveSSH(&config, chosen[logForm](c, "log")); err != nil {
			return err
		}
	}
	d := workspace.NewDaemon(config)
	ctx, stop := onSignals(c.Context, d.Forget)
	defer stop()
	stopping := context.AfterFunc(ctx, func() { notify("STOPPING=1") })
	defer stopping()
	return d.Run(ctx)
}

func checkAgentFlags(c *cli.Context) error {
	switch {
	case c.Bool("add-upstream") && c.Bool("no-add"):
		return usagef("--add-upstream and --no-add: want one of them, keys are passed on or not taken")
	case c.Bool("add-upstream") && seconds(c, "add-lifetime") > 0:
		return usagef("--add-upstream and --add-lifetime: want one of them, how long keys live is the other agent's affair: ssh-agent -t")
	}
	return nil
}

// confineAgent gives up what the daemon does not need. It starts no programs but
// SSH_ASKPASS, to which it hands all of this down, see [harden.Confinement]; what
// serves SSH, whose sessions must not inherit it, was started before. Files of
// secrets may be anywhere, so only without secrets can it give up writing.
func confineAgent(c *cli.Context, report harden.Report, dir string, log *slog.Logger) harden.Report {
	if c.String("sshd") != "" { // the process that serves SSH has the limits by now
		report = harden.Process()
	}
	keep := harden.Confinement{Dials: true, Programs: os.Getenv("SSH_ASKPASS") != ""}
	if c.Bool("no-secrets") {
		keep.Reads, keep.Writes = []string{"/"}, []string{dir, os.DevNull}
	}
	switch {
	case c.Bool("no-sandbox"):
		report = harden.Unconfined(report, "--no-sandbox")
	default:
		report = harden.Confine(report, keep)
	}
	for _, gap := range report.Gaps {
		log.Warn("not protected", "gap", gap)
	}
	return report
}

// serveSSH sets what a daemon needs to have SSH served.
func serveSSH(config *workspace.Config, log logForm) (err error) {
	if config.SSHServer, err = sshServerCommand(log); err != nil {
		return err
	}
	if config.SFTP, err = sftpCommand(); err != nil {
		return err
	}
	variables, err := daemonVariables(config.Dir)
	if err != nil {
		return err
	}
	for _, v := range append(variables, [2]string{"LATCHKEY_RUNTIME_DIR", config.Dir}) {
		config.SSHEnviron = append(config.SSHEnviron, v[0]+"="+v[1])
	}
	config.SSHAccount = sshd.OwnAccount(os.Getenv)
	return nil
}

func (p *program) logger(form logForm) *slog.Logger {
	if form == logJSON {
		return slog.New(slog.NewJSONHandler(p.stderr, nil))
	}
	return slog.New(slog.NewTextHandler(p.stderr, nil))
}

// onSignals returns a context that the first SIGTERM, SIGINT or SIGHUP ends; the
// second one ends the process at once. SIGUSR1 calls forget.
func onSignals(ctx context.Context, forget func()) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ending, forgetting := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(ending, syscall.SIGTERM, syscall.SIGINT)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(ending, syscall.SIGHUP)
	}
	signal.Notify(forgetting, syscall.SIGUSR1)
	stopped, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-forgetting:
				forget()
			case s := <-ending:
				if ctx.Err() != nil {
					os.Exit(128 + int(s.(syscall.Signal)))
				}
				cancel()
			case <-stopped:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(ending)
		signal.Stop(forgetting)
		close(stopped)
		<-done
		cancel()
	}
}

// refusedHint is for a workspace token that the server does not take, and does not say
// what can be done.
const refusedHint = `was it revoked, or has it expired? "latchkey workspace token create NAME --token-file FILE" makes a new one; if the workspace was deleted, "latchkey workspace create" makes another`

// explainWorkspace adds to an error of package workspace what the user can do.
func explainWorkspace(err error) error {
	var said *hintedError
	var problem *workspace.Problem
	var listen *sshagent.ListenError
	switch {
	case err == nil || errors.As(err, &said):
		return err
	case errors.As(err, &problem):
		return withHint(err, problem.Hint)
	case errors.As(err, &listen) && listen.Hint != "":
		return withHint(err, listen.Hint)
	case errors.Is(err, workspace.ErrNoToken):
		return withHint(err, `"latchkey workspace create NAME --token-file FILE" makes one; give FILE by --token-file or LATCHKEY_TOKEN_FILE`)
	case hintOf(err) == "" && (errors.Is(err, api.ErrUnauthenticated) || errors.Is(err, api.ErrForbidden)):
		return withHint(err, refusedHint)
	}
	return err
}
