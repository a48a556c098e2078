package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/knownhost"
	"github.com/latchkey/latchkey/workspace"
)

// knownHostsArgument makes this program ssh's KnownHostsCommand (ssh_config(5)).
const knownHostsArgument = "known-hosts-command"

// What %I says that ssh looks for. It asks with the host's name last, and with
// the other two for the order of kinds of keys and for the address: what is wrong is
// said once.
const (
	orderReason    = "ORDER"
	addressReason  = "ADDRESS"
	hostnameReason = "HOSTNAME"
)

// knownHostsCommand describes what run has dealt with before there are commands.
func knownHostsCommand() *cli.Command {
	return &cli.Command{
		Name:      knownHostsArgument,
		Usage:     "print known hosts for ssh",
		ArgsUsage: "[REASON HOST [FINGERPRINT|LINE]]",
		Description: `ssh runs it, told to by "latchkey gitssh" or in ~/.ssh/config:

  KnownHostsCommand /usr/local/bin/latchkey known-hosts-command %I %H %f

With the fingerprint of the key that the host shows, it says so if a line revokes that
key, and which: ssh only says that one does. Without arguments it prints all known hosts, for an ssh before 8.5:

  latchkey known-hosts-command >> ~/.ssh/known_hosts

With a line of known_hosts as three further arguments, as "latchkey ssh-config" prints
them, it prints that line, and of the others those that revoke a key.`,
		SkipFlagParsing: true,
	}
}

// A hostQuestion is what ssh asks about a host: %I and %H. All is empty where
// somebody wants all known hosts.
type hostQuestion struct {
	reason, host string
	fingerprint  string // of the key that the host shows: %f
	helper       string // whose ssh asks
	pinned       string // the line of the one key that the host can have
}

// parseHostQuestion reads it from arguments, of which a line of known_hosts is three.
func parseHostQuestion(args []string) (q hostQuestion, ok bool) {
	switch len(args) {
	case 0:
		return q, true
	case 2:
	case 3:
		q.fingerprint = args[2]
	case 4:
		q.fingerprint, q.helper = args[2], args[3]
	case 5:
		q.pinned = strings.Join(args[2:], " ")
	default:
		return q, false
	}
	q.reason, q.host = args[0], args[1]
	return q, true
}

// printKnownHosts prints what is known of a host. To ssh it does not fail: that
// would end the connection, also to a host that the user's own files know.
func (p *program) printKnownHosts(args []string) int {
	q, ok := parseHostQuestion(args)
	if !ok {
		return p.fail(withHint(usagef("%s: want a reason and a host, or nothing", knownHostsArgument),
			"KnownHostsCommand /usr/local/bin/latchkey "+knownHostsArgument+" %I %H %f"))
	}
	if q.pinned != "" {
		return p.printPinned(q)
	}
	ctx, cancel := context.WithTimeout(context.Background(), knownHostsTimeout)
	defer cancel()
	first := firstHelper()
	lines, err := p.knownHostLines(ctx, first, q.host)
	switch {
	case err != nil && len(args) == 0:
		return p.fail(explainWorkspace(err))
	case err != nil && first.name == "" && q.reason != orderReason && q.reason != addressReason: // a helper says it if it matters
		p.message("warning", fmt.Sprintf("the known hosts can't be had, ssh goes on with your own: %s", oneLine(explainWorkspace(err))))
	}
	if q.fingerprint != "" && q.reason == hostnameReason {
		p.sayRevoked(lines, q.host, q.fingerprint)
		if err == nil && first.name != "" && q.helper != "" && q.helper == filepath.Base(q.helper) {
			noteHost(place{first.dir, q.helper}, lines, q.host, q.fingerprint)
		}
	}
	if _, err := p.stdout.Write(lines); err != nil {
		return p.fail(outputError(err))
	}
	return 0
}

// sayRevoked says which line revokes the key that a host shows. ssh says that one
// does, but not whose: the user would look for it in their own files.
func (p *program) sayRevoked(lines []byte, host, fingerprint string) {
	for line := range bytes.Lines(revocations(lines)) {
		parsed, err := knownhost.Parse(line)
		if err != nil || len(parsed) != 1 {
			continue // of a server that knows more
		}
		if l := parsed[0]; l.Fingerprint() == fingerprint && knownhost.Matches(l.Hosts, host) {
			p.message("hint", fmt.Sprintf("the key that %s shows is revoked by the server's known hosts: %s", printable(host), lineWords(l)))
			return
		}
	}
}

// revocations are those of known_hosts lines that revoke a key.
func revocations(lines []byte) (revoked []byte) {
	for line := range bytes.Lines(lines) {
		if bytes.HasPrefix(line, []byte(knownhost.Revoked+" ")) {
			revoked = append(revoked, line...)
		}
	}
	return revoked
}

// lineWords is a line as messages have it: by the fingerprint, which can be compared.
func lineWords(l knownhost.Line) string {
	return printable(strings.TrimSpace(l.Marker + " " + l.Hosts + " " + l.Type + " " + l.Fingerprint()))
}

// printPinned prints the one key that a host can have, which does not depend on
// any server, and what a server has revoked: a key that it has added for the host
// does not count.
func (p *program) printPinned(q hostQuestion) int {
	pinned, err := knownhost.Parse([]byte(q.pinned))
	if err != nil || len(pinned) != 1 || pinned[0].Marker != "" {
		return p.fail(withHint(usagef("%s: %q is no line of known_hosts", knownHostsArgument, printable(q.pinned)), "print the Host block anew: latchkey ssh-config"))
	}
	var lines []byte
	if q.reason != orderReason { // for which ssh wants to know kinds of keys only
		ctx, cancel := context.WithTimeout(context.Background(), knownHostsTimeout)
		defer cancel()
		all, err := p.knownHostLines(ctx, place{}, q.host)
		if err != nil && !errors.Is(err, errNoWorkspace) { // and no login: there is no server to ask
			p.message("warning", fmt.Sprintf("ssh goes by the key in its configuration, and does not know whether it was revoked: %s", oneLine(explainWorkspace(err))))
		}
		lines = revocations(all)
	}
	if err := p.print("%s%s\n", lines, pinned[0]); err != nil {
		return p.fail(err)
	}
	return 0
}

// firstHelper is the place of the first helper of the git command that this
// process is a part of; none if it is of no such command.
func firstHelper() (first place) {
	if name := os.Getenv(hopVariable); name != "" && name == filepath.Base(name) {
		if runtimeDir, err := workspace.RuntimeDir(os.Getenv); err == nil {
			first.name = name
			_, first.dir = helpersDir(runtimeDir)
		}
	}
	return first
}

// knownHostLines are the lines about a host, or all for "": of the daemon, or
// where none runs of the first helper, or else of the server, by the workspace's
// token or by the user's login.
func (p *program) knownHostLines(ctx context.Context, first place, host string) ([]byte, error) {
	runtimeDir, err := workspace.RuntimeDir(os.Getenv)
	if err != nil {
		return nil, err
	}
	if workspace.CheckRuntimeDir(runtimeDir) == nil {
		lines, err := workspace.ReadKnownHosts(ctx, workspace.ControlSocket(runtimeDir), host)
		if !workspace.NotRunning(err) {
			return lines, err
		}
	}
	var helperErr error
	if first.name != "" {
		lines, err := workspace.ReadKnownHosts(ctx, first.hostsSocket(), host)
		if err == nil {
			return lines, nil
		}
		if !workspace.NotRunning(err) {
			helperErr = err
		}
	}
	var keys ownKeys
	_, err = keys.open()
	if errors.Is(err, errNoWorkspace) { // for which a helper has no lines either
		return p.linesByLogin(ctx, host, err)
	}
	if err != nil {
		return nil, err
	}
	defer keys.credentials.Close()
	defer keys.client.Close()
	if helperErr != nil { // it has asked the server
		return nil, helperErr
	}
	return workspace.NewKnownHosts(keys.client).Lines(ctx, host)
}

// linesByLogin are the lines where there is no workspace, as where the user sits.
// The error is the one that there is already if nobody is logged in either.
func (p *program) linesByLogin(ctx context.Context, host string, noWorkspace error) ([]byte, error) {
	s, err := p.session()
	if errors.Is(err, errNoLogin) {
		return nil, noWorkspace
	}
	if err != nil {
		return nil, err
	}
	defer s.Close()
	list, err := s.KnownHosts(ctx)
	if err != nil {
		return nil, explain(err, s.login)
	}
	return workspace.HostLines(list, host), nil
}
