package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
)

func (p *program) gitConfigCommand() *cli.Command {
	return &cli.Command{
		Name:  "git-config",
		Usage: "have git sign commits and tags with your key, through the workspace daemon",
		Description: `Prints the settings, or with --global or --local says what it changes and sets them. A
setting of your own is not replaced. git then asks "latchkey publickey --signing" which
key to use, so that a new key needs no new setting, and no file holds a private key.

The settings name two things that this makes in ~/.config/latchkey: a link by which git runs
ssh-keygen with the daemon's agent, and a list of the public keys that have signed here,
with which git checks signatures.

  latchkey git-config --global
  git commit -m "signed" && git log --show-signature
  latchkey git-config --global --unset`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "global", Usage: "set them in your git configuration"},
			&cli.BoolFlag{Name: "local", Usage: "set them in this repository's"},
			&cli.BoolFlag{Name: "unset", Usage: "undo what --global or --local has set"},
		},
		Action: p.gitConfig,
	}
}

func (p *program) gitConfig(c *cli.Context) error {
	global, local, unset := c.Bool("global"), c.Bool("local"), c.Bool("unset")
	switch {
	case global && local:
		return usagef("git-config: --global and --local: give one of them")
	case unset && !global && !local:
		return withHint(usagef("git-config: --unset needs --global or --local"), "latchkey git-config --global --unset")
	}
	scope := gitScope("--local")
	if global {
		scope = "--global"
	}
	if unset {
		return p.unsetGitConfig(c.Context, scope)
	}
	files, err := findSigningFiles()
	if err != nil {
		return err
	}
	if err := files.make(); err != nil {
		return err
	}
	if err := p.noteSigner(c.Context, files); err != nil {
		p.warn(err)
	}
	settings, err := files.settings()
	switch {
	case err != nil:
		return err
	case !global && !local:
		return p.printGitConfig(settings)
	}
	return p.setGitConfig(c.Context, scope, settings)
}

// A gitSetting is a variable of git's configuration and its value.
type gitSetting struct{ name, value string }

const allowedSignersSetting = "gpg.ssh.allowedSignersFile"

// settings are what makes git sign. gpg.ssh.program is there because git has no
// other way to name an agent: ssh-keygen knows SSH_AUTH_SOCK only, and the shell
// that git runs in may have set it to another agent. user.signingKey is not
// there: it would name a key that the next rotation replaces.
func (f signingFiles) settings() ([]gitSetting, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the path of latchkey: %w", err)
	}
	return []gitSetting{
		{"gpg.format", "ssh"},
		{"gpg.ssh.program", f.program},
		// git splits it into words as sh does, and runs no shell (gpg-interface.c).
		{"gpg.ssh.defaultKeyCommand", shellSh.quote(self) + " publickey --signing"},
		{allowedSignersSetting, f.allowed},
		{"commit.gpgSign", "true"},
		{"tag.gpgSign", "true"},
	}, nil
}

// printGitConfig prints settings as a file that git can include.
func (p *program) printGitConfig(settings []gitSetting) error {
	section := ""
	for _, s := range settings {
		if above, _ := s.split(); above != section {
			section = above
			if err := p.print("%s\n", section); err != nil {
				return err
			}
		}
		_, key := s.split()
		if err := p.print("\t%s = %s\n", key, gitQuote(s.value)); err != nil {
			return err
		}
	}
	return nil
}

// split gives the heading that a variable stands under in a file, and the
// variable there: `[gpg "ssh"]` and "program".
func (s gitSetting) split() (heading, key string) {
	first, last := strings.Index(s.name, "."), strings.LastIndex(s.name, ".")
	if first == last {
		return "[" + s.name[:first] + "]", s.name[last+1:]
	}
	return "[" + s.name[:first] + ` "` + s.name[first+1:last] + `"]`, s.name[last+1:]
}

// gitQuote writes a value as git-config(1), "Syntax", has it.
func gitQuote(value string) string {
	if !strings.ContainsAny(value, " \t\n\"\\#;'") {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(value) + `"`
}

// signingFiles is what the settings name, in the configuration directory.
type signingFiles struct {
	program string // a link to latchkey, which then runs ssh-keygen
	allowed string // public keys that have signed here, as ssh-keygen(1), "ALLOWED SIGNERS", has them
}

const keygenName = "ssh-keygen"

func findSigningFiles() (signingFiles, error) {
	dir, err := configDir()
	return signingFiles{filepath.Join(dir, keygenName), filepath.Join(dir, "allowed_signers")}, err
}

// make makes the link and the list, unless they are there.
func (f signingFiles) make() error {
	const doing = "preparing to sign: %w"
	if err := os.MkdirAll(filepath.Dir(f.program), 0o700); err != nil {
		return fmt.Errorf(doing, err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf(doing, err)
	}
	if to, err := os.Readlink(f.program); err != nil || to != self {
		fresh := fmt.Sprintf("%s.%d", f.program, os.Getpid())
		if err := os.Symlink(self, fresh); err != nil {
			return fmt.Errorf(doing, err)
		}
		if err := os.Rename(fresh, f.program); err != nil {
			return fmt.Errorf(doing, errors.Join(err, os.Remove(fresh)))
		}
	}
	list, err := os.OpenFile(f.allowed, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf(doing, err)
	}
	return list.Close()
}
