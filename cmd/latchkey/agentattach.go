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
own. In your shell's profile:

  latchkey agent attach && eval "$(latchkey env)"

It says nothing if all is well, reads no stdin, and does nothing where there is no other
agent: without SSH_AUTH_SOCK, and in a shell that has the daemon's already.`,
		Action: agentAttach,
	}
}

func (p *program) agentDetachCommand() *cli.Command {
	return &cli.Command{
		Name:      "detach",
		Usage:     "take back what attach has done",
		ArgsUsage: "[SOCKET]",
		Description: `The keys of the ssh-agent at SOCKET, else at $SSH_AUTH_SOCK, are not offered any more,
and what is under way with them is cut off. When a session ends, that happens by itself.

In a shell that has run "latchkey env", SSH_AUTH_SOCK is the daemon's own. The only agent
that was attached is meant then, whichever session has brought it, and it says which; of
several, SOCKET must say it. Where SSH_AUTH_SOCK is not set, nothing is taken back.`,
		Action: p.agentDetach,
	}
}

func agentAttach(c *cli.Context) error {
	socket, err := otherAgent(c)
	if err != nil || socket == "" { // a session that has brought no agent
		return err
	}
	return askAgents(c, func(ctx context.Context, dir string) error {
		if socket == workspace.AgentSocket(dir) {
			return nil // a shell within one that has run "latchkey env"; the daemon need not run
		}
		return workspace.AttachAgent(ctx, dir, socket)
	})
}

func (p *program) agentDetach(c *cli.Context) error {
	socket, err := otherAgent(c)
	if err != nil {
		return err
	}
	if socket == "" { // not the only one either: another session has brought it
		return errors.New("there is no ssh-agent to take back: SSH_AUTH_SOCK is not set, and no SOCKET is given")
	}
	return askAgents(c, func(ctx context.Context, dir string) error {
		detached, err := workspace.DetachAgent(ctx, dir, socket)
		if err == nil && detached != socket {
			p.note("detached %s", detached)
		}
		return err
	})
}

// otherAgent is the absolute path of the socket that the command names, "" for none.
func otherAgent(c *cli.Context) (string, error) {
	socket := cmp.Or(c.Args().First(), os.Getenv("SSH_AUTH_SOCK"))
	if socket == "" {
		return "", nil
	}
	socket, err := filepath.Abs(socket)
	if err != nil {
		return "", fmt.Errorf("finding the socket: %w", err)
	}
	return socket, nil
}

// askAgents asks something of the daemon, which has a runtime directory.
func askAgents(c *cli.Context, ask func(ctx context.Context, dir string) error) error {
	dir, err := workspace.RuntimeDir(os.Getenv)
	if err != nil {
		return explainWorkspace(err)
	}
	ctx, cancel := context.WithTimeout(c.Context, attachTimeout)
	defer cancel()
	err = ask(ctx, dir)
	if workspace.NotRunning(err) {
		return withHint(errors.New("no workspace daemon runs here, to offer the keys of other agents"), "latchkey agent")
	}
	return explainWorkspace(err)
}
