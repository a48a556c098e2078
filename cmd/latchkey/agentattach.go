package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/workspace"
)

// attachTimeout is more than the daemon gives the agent.
const attachTimeout = 10 * time.Second

func (p *program) agentAttachCommand() *cli.Command {
	return &cli.Command{
		Name:      "attach",
		Usage:     "offer the keys of the agent that you have brought along, too",
		ArgsUsage: "[SOCKET]",
		Description: `The workspace daemon offers the keys of the ssh-agent at SOCKET, else at $SSH_AUTH_SOCK,
behind its own, to all programs of the workspace, for as long as the session lasts that
the agent belongs to. It is for sessions of "ssh -A" by another sshd than the daemon's
own. In your shell's profile, in this order:

  latchkey agent attach
  eval "$(latchkey env)"

It says nothing if all is well, reads no stdin, and does nothing where there is no other
agent: without SSH_AUTH_SOCK, and in a shell that has the daemon's already.`,
		Action: func(c *cli.Context) error { return changeAgents(c, workspace.AttachAgent) },
	}
}

func (p *program) agentDetachCommand() *cli.Command {
	return &cli.Command{
		Name:      "detach",
		Usage:     "take back what attach has done",
		ArgsUsage: "[SOCKET]",
		Description: `The keys of the ssh-agent at SOCKET, else at $SSH_AUTH_SOCK, are not offered any more,
and what is under way with them is cut off. When a session ends, that happens by itself.`,
		Action: func(c *cli.Context) error { return changeAgents(c, workspace.DetachAgent) },
	}
}

// changeAgents has the daemon attach or detach the agent that the command names.
func changeAgents(c *cli.Context, change func(ctx context.Context, dir, socket string) error) error {
	socket := cmp.Or(c.Args().First(), os.Getenv("SSH_AUTH_SOCK"))
	if socket == "" {
		return nil // a session that has brought no agent
	}
	dir, err := workspace.RuntimeDir(os.Getenv)
	if err != nil {
		return explainWorkspace(err)
	}
	if socket, err = filepath.Abs(socket); err != nil {
		return fmt.Errorf("finding the socket: %w", err)
	}
	if socket == workspace.AgentSocket(dir) {
		return nil // a shell within one that has run "latchkey env"; the daemon need not run
	}
	ctx, cancel := context.WithTimeout(c.Context, attachTimeout)
	defer cancel()
	err = change(ctx, dir, socket)
	if workspace.NotRunning(err) {
		return withHint(errors.New("no workspace daemon runs here, to offer the keys of other agents"), "latchkey agent")
	}
	return explainWorkspace(err)
}
