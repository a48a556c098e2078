package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace"
)

func (p *program) statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show your login, and the workspace daemon",
		Description: `Asks the server whether the login is good, and the daemon what protects the keys it
holds, and what became of your secrets here. Where no daemon runs it asks the server whether
the workspace's token is good, by which git's helper and "latchkey run" go then. Exits with 1
if something that should work does not.`,
		Flags:  []cli.Flag{jsonFlag()},
		Action: p.status,
	}
}

// statusTimeout is how long the status waits for the server, and for the daemon.
const statusTimeout = 5 * time.Second

// A statusReport is the form of "latchkey status --json".
type statusReport struct {
	Login  *loginStatus     `json:"login"`  // null: not logged in
	Daemon *workspace.State `json:"daemon"` // null: not running
	Token  *tokenStatus     `json:"token"`  // null: none is set, or a daemon runs

	loginErr, daemonErr, tokenErr error
}

type loginStatus struct {
	URL       string   `json:"url"`
	From      string   `json:"from"` // a file or a variable
	Reachable bool     `json:"reachable"`
	User      string   `json:"user,omitempty"`
	Role      api.Role `json:"role,omitempty"`
	Key       *api.Key `json:"key"` // the default one; null if there is none
	Error     string   `json:"error,omitempty"`
}

func (p *program) status(c *cli.Context) error {
	var r statusReport
	r.Login, r.loginErr = p.loginStatus(c.Context)
	r.Daemon, r.daemonErr = daemonStatus(c.Context)
	if workspace.NotRunning(r.daemonErr) {
		r.Token, r.tokenErr = workspaceTokenStatus(c.Context)
	}
	if err := p.showStatus(r, c.Bool("json")); err != nil {
		return err
	}
	return r.problem()
}

func (p *program) showStatus(r statusReport, asJSON bool) error {
	if asJSON {
		return p.json(r)
	}
	return p.details(append(r.loginRows(), r.daemonRows()...))
}

// problem is what does not work, nil if all does. Somebody who only runs a
// daemon need not be logged in, nor the other way round.
func (r statusReport) problem() error {
	loggedOut := errors.Is(r.loginErr, errNoLogin)
	switch {
	case r.loginErr != nil && !loggedOut:
		return r.loginErr
	case r.daemonErr != nil && !workspace.NotRunning(r.daemonErr):
		return explainWorkspace(r.daemonErr)
	case r.tokenErr != nil:
		return r.tokenErr
	case loggedOut && r.Daemon == nil && r.Token == nil:
		return withHint(errors.New("no workspace daemon runs here, and you are not logged in"), "in a workspace: latchkey agent; elsewhere: "+hintOf(r.loginErr))
	case r.Daemon != nil && r.Daemon.Refused:
		return withHint(fmt.Errorf("the workspace daemon: %s", r.Daemon.ServerError), cmp.Or(r.Daemon.ServerHint, refusedHint))
	case r.Daemon != nil && r.Daemon.ServerError != "":
		return withHint(fmt.Errorf("the workspace daemon: %s", r.Daemon.ServerError), serverHint(r.Daemon.Server))
	case r.Daemon != nil && r.Daemon.SSH != nil && r.Daemon.SSH.Error != "":
		return withHint(fmt.Errorf("the workspace daemon: %s", r.Daemon.SSH.Error), "the daemon's log says more; start it anew if SSH is not served any more")
	}
	return nil
}

// serverHint is what to do if the daemon's server gives no answer. Nobody may have
// said where it is.
func serverHint(url string) string {
	hint := fmt.Sprintf("is latchkeyd running at %s, and this workspace in its list (\"latchkey workspace list\")? the daemon's log says more", url)
	if sameURL(url, api.DefaultURL) {
		hint += `; for a server elsewhere: "latchkey agent --url URL"`
	}
	return hint
}

// loginStatus is nil if there is no login.
func (p *program) loginStatus(ctx context.Context) (*loginStatus, error) {
	s, err := p.session()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	st := &loginStatus{URL: s.URL(), From: s.login.from, User: s.login.User}
	u, err := s.User(ctx, api.Me)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("the key server at %s did not answer in %s: %w", s.URL(), span(statusTimeout), api.ErrUnavailable)
	}
	// An answer with an error is an answer.
	st.Reachable = err == nil || errors.As(err, new(*api.Error))
	if err != nil {
		st.Error = err.Error()
		return st, explain(err, s.login)
	}
	st.User, st.Role = u.Name, u.Role
	k, err := s.Key(ctx, api.Me, api.DefaultKey)
	switch {
	case err == nil:
		st.Key = &k
	case !errors.Is(err, api.ErrNotFound):
		st.Error = err.Error()
		return st, explain(err, s.login)
	}
	return st, nil
}

func daemonStatus(ctx context.Context) (*workspace.State, error) {
	dir, err := workspace.RuntimeDir(os.Getenv)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	s, err := workspace.Status(ctx, dir)
	if err != nil {
		return nil, err
	}
	return &s, nil
}

func (r statusReport) loginRows() [][]string {
	if r.Login == nil {
		return [][]string{{"login", "none"}}
	}
	l := r.Login
	rows := [][]string{{"server", l.URL + ", " + reachability(l.Reachable, l.Error)}}
	switch {
	case l.Role != "":
		rows = append(rows, []string{"user", fmt.Sprintf("%s (%s), by %s", l.User, l.Role, l.From)})
	case l.User != "":
		rows = append(rows, []string{"user", fmt.Sprintf("%s, by %s", l.User, l.From)})
	}
	if l.Key != nil {
		rows = append(rows, []string{"key", fmt.Sprintf("%s %s, generation %d", l.Key.Name, l.Key.Fingerprint, l.Key.Generation)})
	} else if l.Error == "" {
		rows = append(rows, []string{"key", "there is none of the name " + api.DefaultKey})
	}
	return rows
}

func reachability(reachable bool, problem string) string {
	switch {
	case !reachable:
		return "not reachable"
	case problem != "":
		return "refuses the login"
	}
	return "reachable"
}

func daemonReachability(d *workspace.State) string {
	if d.Refused {
		return "refuses this workspace"
	}
	return reachability(d.ServerError == "" || d.User != "", d.ServerError)
}

func (r statusReport) daemonRows() [][]string {
	d := r.Daemon
	if d == nil {
		return append([][]string{{"daemon", "not running"}}, r.Token.rows()...)
	}
	rows := [][]string{
		{"daemon", fmt.Sprintf("running since %s, process %d", d.Started.Local().Format("2006-01-02 15:04"), d.PID)},
		{"  socket", d.Socket + used(d.Socket)},
		{"  server", d.Server + ", " + daemonReachability(d)},
	}
	if d.User != "" {
		rows = append(rows, []string{"  workspace", fmt.Sprintf("%s of %s", d.Workspace, d.User)})
	}
	for _, k := range d.Keys {
		rows = append(rows, []string{"  key", strings.TrimSpace(k.Fingerprint + " " + k.Comment)})
		rows = append(rows, []string{"", strings.Join(policyWords(k.Mode, k.Policy), "; ")})
	}
	for _, a := range d.Agents {
		rows = append(rows, []string{"  agent", agentName(a) + ", since " + a.Since.Local().Format("2006-01-02 15:04")})
		if a.TakesAdded {
			rows = append(rows, []string{"", "has what ssh-add adds here, and not the daemon (--add-upstream)"})
		}
	}
	if d.Locked {
		rows = append(rows, []string{"  locked", `no key is offered: "ssh-add -X" unlocks the agent`})
	}
	held := fmt.Sprintf("%s, forgotten after %gs", plural(d.Held, "private key"), d.IdleSeconds)
	if d.Added > 0 {
		held += fmt.Sprintf("; %d added", d.Added)
	}
	rows = append(rows, []string{"  held", held})
	for _, r := range d.Refusals {
		rows = append(rows, []string{"  kept back", fmt.Sprintf("%s, %s: %s", humane(r.At, time.Now()), strings.TrimSpace(r.Key+" "+r.Comment), r.Why)})
	}
	rows = append(rows, sshRows(d.SSH)...)
	rows = append(rows, secretRows(d.Secrets, time.Now())...)
	rows = append(rows, []string{"  memory", d.Process.Memory}, []string{"  confined", confinedBy(d.Process)})
	for _, gap := range d.Process.Gaps {
		rows = append(rows, []string{"  unprotected", gap})
	}
	return rows
}

// agentName says which of the user's own agents one is.
func agentName(a workspace.StateAgent) string {
	if a.Socket == "" || a.Socket == a.Name {
		return printable(a.Name)
	}
	return printable(a.Name + ", " + a.Socket)
}

// confinedBy lists what confines the daemon.
func confinedBy(r harden.Report) string {
	var by []string
	if r.NoNewPrivs {
		by = append(by, "no new privileges")
	}
	if r.SystemCalls {
		by = append(by, "seccomp")
	}
	if r.Landlock > 0 {
		by = append(by, fmt.Sprintf("Landlock %d", r.Landlock))
	}
	return strings.Join(by, ", ")
}

// sshRows say what the daemon's SSH server does.
func sshRows(s *workspace.StateSSH) [][]string {
	if s == nil {
		return nil
	}
	what := "waiting for its host key"
	switch {
	case s.Ended:
		what = "not served any more"
	case s.HostKey != "":
		what = fmt.Sprintf("for %s, by %s", cmp.Or(strings.Join(s.Users, " or "), "nobody"), plural(s.LoginKeys, "login key"))
	}
	rows := [][]string{{"  ssh", s.Address + ", " + what}}
	if s.HostKey != "" && !s.Ended {
		rows = append(rows, []string{"  host key", s.HostKey})
	}
	if r := s.Refusal; r != nil {
		rows = append(rows, []string{"  ssh refused", printable(fmt.Sprintf("%s, %s from %s with %s: %s", humane(r.At, time.Now()), r.User, r.Remote, strings.Join(r.Keys, " "), r.Why))})
	}
	if s.Error != "" {
		rows = append(rows, []string{"  ssh trouble", s.Error})
	}
	return rows
}

// used says whether programs that are started here will find the socket.
func used(socket string) string {
	if os.Getenv("SSH_AUTH_SOCK") == socket || strings.Contains(os.Getenv("GIT_SSH_COMMAND"), "gitssh") {
		return ""
	}
	return ` (not in use here: eval "$(latchkey env)")`
}
