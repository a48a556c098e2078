// Latchkey is the user's program: the command line, the workspace daemon and
// the git helper.
package main

import (
	"io"
	"os"

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
	app := &cli.App{
		Name:           "latchkey",
		Usage:          "keys and secrets for your workspaces",
		Commands:       []*cli.Command{p.agentCommand(), p.envCommand()},
		ExitErrHandler: func(*cli.Context, error) {},
	}
	if err := app.Run(args); err != nil {
		return p.fail(err)
	}
	return 0
}
