// Latchkey is the user's program: the command line, the workspace daemon and
// the git helper.
package main

import (
	"context"
	"io"
	"os"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// A program is one run of latchkey: what main has, and a test replaces.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{stdin, stdout, stderr}
	// git starts the helper for every connection: it comes before the CLI is
	// even built, and its arguments are ssh's, not ours.
	if len(args) > 1 && args[1] == "gitssh" {
		return p.gitssh(args[2:])
	}
	// ssh starts this one two or three times for every connection.
	if len(args) > 1 && args[1] == knownHostsArgument {
		return p.printKnownHosts(args[2:])
	}
	if len(args) > 1 && args[1] == monitorArgument {
		return p.runOnTerminal(args[2:])
	}
	if len(args) > 1 && args[1] == sshServerArgument {
		return p.sshServer(args[2:])
	}
	if len(args) > 1 && args[1] == sftpArgument {
		return p.sftpServer(args[2:])
	}
	if len(args) > 0 && calledAsSSH(args[0]) {
		return p.jump(args[1:])
	}
	if len(args) > 0 && calledAsKeygen(args[0]) {
		return p.keygen(args[1:])
	}
	if err := p.dispatch(context.Background(), args); err != nil {
		return p.fail(err)
	}
	return 0
}

// dispatch does what the arguments ask for.
func (p *program) dispatch(ctx context.Context, args []string) error {
	root := p.commands()
	line, err := parseLine(root, args[min(1, len(args)):])
	switch {
	case err != nil:
		return err
	case line.help:
		return p.help(line.path)
	case line.version:
		return p.print("latchkey %s\n", version())
	}
	app := &cli.App{
		Name:            root.Name,
		Commands:        root.Subcommands,
		HideHelp:        true, // parseLine has seen to it
		HideVersion:     true,
		Reader:          p.stdin,
		Writer:          p.stdout,
		ErrWriter:       p.stderr,
		ExitErrHandler:  func(*cli.Context, error) {}, // the default one ends the process
		OnUsageError:    usageProblem,
		SkipFlagParsing: true,
	}
	return app.RunContext(ctx, append([]string{root.Name}, line.args...))
}

// commands is all that latchkey can do.
func (p *program) commands() *cli.Command {
	return prepared(&cli.Command{
		Name:  "latchkey",
		Usage: "keys and secrets for your workspaces",
		Subcommands: []*cli.Command{
			p.loginCommand(),
			p.logoutCommand(),
			p.statusCommand(),
			p.publicKeyCommand(),
			p.keyCommand(),
			p.secretCommand(),
			p.workspaceCommand(),
			p.loginKeyCommand(),
			p.sshConfigCommand(),
			p.tokenCommand(),
			p.agentCommand(),
			p.runCommand(),
			p.envCommand(),
			p.exportCommand(),
			gitsshCommand(),
			knownHostsCommand(),
			p.gitConfigCommand(),
			p.allowedSignersCommand(),
			p.userCommand(),
			p.knownHostCommand(),
			p.auditCommand(),
			p.scanCommand(),
			p.completionCommand(),
			p.completeCommand(),
		},
	})
}

// gitsshCommand describes what run has dealt with before there are commands.
func gitsshCommand() *cli.Command {
	return &cli.Command{
		Name:      "gitssh",
		Usage:     "run ssh for git, with your key",
		ArgsUsage: "-- SSH-ARGUMENT...",
		Description: `git runs it: all that stands behind "gitssh" goes to ssh as it is.

  export GIT_SSH_VARIANT=ssh GIT_SSH_COMMAND="latchkey gitssh --"
  git clone git@forge.example:team/app.git`,
		SkipFlagParsing: true,
	}
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "devel " + s.Value[:min(12, len(s.Value))]
		}
	}
	return "devel"
}
