package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace"
)

// exportedVariable holds the names that "latchkey env --secrets" has set in a
// shell, so that it can unset them there.
const exportedVariable = "LATCHKEY_EXPORTED"

// secretExports are the commands that set the secrets' variables in a shell, and
// unset those that are gone.
func (p *program) secretExports(ctx context.Context, s shell) (string, error) {
	shield()
	g, err := givenSecrets(ctx)
	if err != nil {
		return "", err
	}
	if err := g.known(); err != nil {
		return "", err
	}
	if g.Notice != "" {
		p.message("warning", g.Notice)
	}
	vars := slices.DeleteFunc(slices.Clone(g.Variables), func(v workspace.Variable) bool {
		taken := s.takes(v.Name)
		if taken {
			p.warn(withHint(fmt.Errorf("%s, of the secret %s, is not set: %s uses the name itself", v.Name, v.Secret, s), "latchkey run sets it for a program"))
		}
		return taken
	})
	return s.exports(vars, os.Getenv(exportedVariable)), nil
}

// takes reports whether a shell has taken a name. What is printed for sh may be
// read by any of its family, see shellOf.
func (s shell) takes(name string) bool {
	return slices.Contains(takenNames[s], name) ||
		s == shellSh && (shellBash.takes(name) || shellZsh.takes(name))
}

// takenNames are variables that a shell does not let be set, or to numbers only,
// or keeps changing. One that fails would end the eval before the others.
var takenNames = map[shell][]string{
	shellSh:   {"LINENO", "OPTIND", "PPID"},
	shellBash: {"BASHPID", "BASH_ARGV0", "BASH_VERSINFO", "COMP_WORDBREAKS", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "FUNCNAME", "GROUPS", "LINENO", "OPTIND", "RANDOM", "SECONDS", "SRANDOM", "_"},
	shellZsh: {"ARGC", "COLUMNS", "EGID", "ERRNO", "FUNCNEST", "GID", "HISTCMD", "HISTSIZE", "KEYTIMEOUT", "LINENO", "LINES", "LISTMAX", "MAILCHECK", "OPTIND", "RANDOM", "SAVEHIST", "SECONDS", "SHLVL",
		"TRY_BLOCK_ERROR", "TRY_BLOCK_INTERRUPT", "TTY", "TTYIDLE", "USERNAME", "ZSH_EVAL_CONTEXT", "ZSH_SUBSHELL", "_", "argv", "cdpath", "fignore", "fpath", "mailpath", "manpath", "module_path", "path", "pipestatus", "psvar", "signals", "status", "watch", "zsh_eval_context"},
	shellFish: {"CMD_DURATION", "FISH_VERSION", "SHLVL", "_", "argv", "fish_kill_signal", "fish_killring", "fish_pid", "history", "hostname", "pipestatus", "status", "status_generation", "umask", "version"},
}

func (s shell) exports(vars []workspace.Variable, exported string) string {
	var b strings.Builder
	var names []string
	for _, v := range vars {
		names = append(names, v.Name)
	}
	for _, name := range strings.Fields(exported) {
		// Nothing but what can have been set, whatever the variable holds.
		if api.CheckEnvName(name) == nil && !slices.Contains(names, name) {
			b.WriteString(s.unset(name) + "\n")
		}
	}
	for _, v := range vars {
		b.WriteString(s.export(v.Name, string(v.Value)) + "\n")
	}
	switch {
	case len(names) > 0:
		b.WriteString(s.export(exportedVariable, strings.Join(names, " ")) + "\n")
	case exported != "":
		b.WriteString(s.unset(exportedVariable) + "\n")
	}
	return b.String()
}

// unset is the command that unsets an environment variable.
func (s shell) unset(name string) string {
	if s == shellFish {
		return "set -e " + name + ";"
	}
	return "unset " + name + ";"
}
