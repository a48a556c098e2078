// Latchkeyd is the key server: it makes and holds the SSH key pairs of users,
// holds their secrets, and gives both to their workspaces.
package main

import (
	"context"
	"io"
	"os"
	"runtime/debug"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

func main() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }

// A program is one run of latchkeyd: what main has, and a test replaces.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	unix.Umask(0o077) // whatever we make is for our own user, and SQLite's files too
	p := &program{stdin, stdout, stderr}
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

// commands is all that latchkeyd can do. Without a command, it serves.
func (p *program) commands() *cli.Command {
	return prepared(&cli.Command{
		Name:  "latchkeyd",
		Usage: "the key server",
		Subcommands: []*cli.Command{
			p.serveCommand(),
			p.tokenCommand(),
			p.auditCommand(),
			{Name: "version", Usage: "print the version", Action: func(*cli.Context) error {
				return p.print("latchkeyd %s\n", version())
			}},
		},
	})
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
