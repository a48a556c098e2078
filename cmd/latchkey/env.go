package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/workspace"
)

// A shell is a shell that env can speak to.
type shell string

const (
	shellSh   shell = "sh"
	shellBash shell = "bash"
	shellZsh  shell = "zsh"
	shellFish shell = "fish"
)

func (p *program) envCommand() *cli.Command {
	return &cli.Command{
		Name:  "env",
		Usage: "print the variables that make git and ssh use the workspace daemon",
		Description: `For sh, bash and zsh:  eval "$(latchkey env)"
For fish:              latchkey env | source

It sets SSH_AUTH_SOCK, GIT_SSH_COMMAND and GIT_SSH_VARIANT. The daemon need not run yet.

With --secrets it also sets the variables of your secrets, and unsets those that an earlier
one has set and that are gone: do it again after a change.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "secrets", Usage: "print the variables of your secrets too, values included"},
			&cli.GenericFlag{Name: "shell", Value: &choice[shell]{choices: []shell{shellSh, shellBash, shellZsh, shellFish}}, Usage: "print for `SHELL`: sh, bash, zsh or fish; else for $SHELL"},
		},
		Action: func(c *cli.Context) error {
			s := chosen[shell](c, "shell")
			if s == "" {
				var err error
				if s, err = shellOf(os.Getenv("SHELL")); err != nil {
					return err
				}
			}
			var secrets string
			if c.Bool("secrets") { // first: half an answer would be taken for a whole one
				var err error
				if secrets, err = p.secretExports(c.Context, s); err != nil {
					return explainWorkspace(err)
				}
			}
			if err := p.env(s); err != nil {
				return explainWorkspace(err)
			}
			return p.print("%s", secrets)
		},
	}
}

func (p *program) env(s shell) error {
	dir, err := workspace.RuntimeDir(os.Getenv)
	if err != nil {
		return err
	}
	// Made now, so that no other user makes it first, and what they made is not
	// taken for the daemon's.
	if err := workspace.MakeRuntimeDir(dir); err != nil {
		return err
	}
	variables, err := daemonVariables(dir)
	if err != nil {
		return err
	}
	for _, v := range variables {
		if err := p.print("%s\n", s.export(v[0], v[1])); err != nil {
			return err
		}
	}
	return nil
}

// daemonVariables are what has ssh and git use the daemon of a runtime directory.
func daemonVariables(dir string) ([][2]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the path of latchkey: %w", err)
	}
	return [][2]string{
		{"SSH_AUTH_SOCK", workspace.AgentSocket(dir)},
		{"GIT_SSH_COMMAND", gitSSHCommand(self)},
		// Else git runs the helper with -G first, to learn whose options it takes.
		{"GIT_SSH_VARIANT", "ssh"},
	}, nil
}

// gitSSHCommand is the helper's command line, which git gives to sh.
func gitSSHCommand(latchkey string) string { return shellSh.quote(latchkey) + " gitssh --" }

// shellOf is the shell that a path such as $SHELL names. What is not known is
// taken for a shell of the family of sh, bar those that surely are not.
func shellOf(path string) (shell, error) {
	switch name := filepath.Base(path); name {
	case "fish":
		return shellFish, nil
	case "csh", "tcsh", "nu", "pwsh", "elvish", "xonsh":
		return "", withHint(fmt.Errorf("printing variables for %s: it is not one of sh, bash, zsh, fish", name), `"latchkey env --shell sh" shows what to set`)
	}
	return shellSh, nil
}

// export is the command that sets an environment variable.
func (s shell) export(name, value string) string {
	if s == shellFish {
		return "set -gx " + name + " " + s.quote(value) + ";"
	}
	return "export " + name + "=" + s.quote(value) + ";"
}

// quote makes one word of any text. Between single quotes sh knows no escape at
// all (POSIX.1 2.2.2); fish knows \\ and \'.
func (s shell) quote(text string) string {
	if s == shellFish {
		text = strings.ReplaceAll(text, `\`, `\\`)
		return "'" + strings.ReplaceAll(text, `'`, `\'`) + "'"
	}
	return "'" + strings.ReplaceAll(text, `'`, `'\''`) + "'"
}
