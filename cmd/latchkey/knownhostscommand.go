package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/workspace"
)

// knownHostsArgument makes this program ssh's KnownHostsCommand (ssh_config(5)).
const knownHostsArgument = "known-hosts-command"

// orderReason and addressReason are %I where ssh does not look for the host's own
// key: it says what is wrong once.
const (
	orderReason   = "ORDER"
	addressReason = "ADDRESS"
)

// knownHostsCommand describes what run has dealt with before there are commands.
func knownHostsCommand() *cli.Command {
	return &cli.Command{
		Name:      knownHostsArgument,
		Usage:     "print known hosts for ssh",
		ArgsUsage: "[REASON HOST]",
		Description: `ssh runs it, told to by "latchkey gitssh" or in ~/.ssh/config:

  KnownHostsCommand /usr/local/bin/latchkey known-hosts-command %I %H

Without arguments it prints all known hosts, for an ssh before 8.5:

  latchkey known-hosts-command >> ~/.ssh/known_hosts`,
		SkipFlagParsing: true,
	}
}

// printKnownHosts prints what is known of a host. To ssh it does not fail: that
// would end the connection, also to a host that the user's own files know.
func (p *program) printKnownHosts(args []string) int {
	if len(args) != 0 && len(args) != 2 {
		return p.fail(withHint(usagef("%s: want a reason and a host, or nothing", knownHostsArgument),
			"KnownHostsCommand /usr/local/bin/latchkey "+knownHostsArgument+" %I %H"))
	}
	reason, host := "", ""
	if len(args) == 2 {
		reason, host = args[0], args[1]
	}
	ctx, cancel := context.WithTimeout(context.Background(), knownHostsTimeout)
	defer cancel()
	first := firstHelper()
	lines, err := p.knownHostLines(ctx, first, host)
	switch {
	case err != nil && len(args) == 0:
		return p.fail(explainWorkspace(err))
	case err != nil && first.name == "" && reason != orderReason && reason != addressReason: // a helper says it if it matters
		p.message("warning", fmt.Sprintf("the known hosts can't be had, ssh goes on with your own: %s", oneLine(explainWorkspace(err))))
	}
	if _, err := p.stdout.Write(lines); err != nil {
		return p.fail(outputError(err))
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
// where none runs of the first helper, or else of the server.
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
	if first.name != "" {
		lines, err := workspace.ReadKnownHosts(ctx, first.hostsSocket(), host)
		if !workspace.NotRunning(err) {
			return lines, err
		}
	}
	var keys ownKeys
	if _, err := keys.open(); err != nil {
		return nil, err
	}
	defer keys.credentials.Close()
	defer keys.client.Close()
	return workspace.NewKnownHosts(keys.client).Lines(ctx, host)
}
