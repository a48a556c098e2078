package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// help shows what a command does and takes, on stdout: it was asked for.
func (p *program) help(path []*cli.Command) error {
	cmd := path[len(path)-1]
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\nusage: %s\n", commandName(path), cmd.Usage, usageOf(path))
	if cmd.Description != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(cmd.Description))
	}
	var rows [][2]string
	for _, c := range cmd.Subcommands {
		if !c.Hidden {
			rows = append(rows, [2]string{strings.Join(c.Names(), ", "), c.Usage})
		}
	}
	writeRows(&b, "commands", rows)
	writeRows(&b, "flags", flagRows(cmd))
	switch {
	case len(path) == 1:
		b.WriteString(firstSteps)
	case len(cmd.Subcommands) > 0:
		fmt.Fprintf(&b, "\n\"%s COMMAND --help\" says more about one of them.\n", commandName(path))
	}
	return p.print("%s", b.String())
}

const firstSteps = `
first steps:
  latchkey login https://keys.example       # asks for the token that you were given
  latchkey publickey                        # paste the line into your forge
  latchkey agent &                          # in a workspace
  eval "$(latchkey env)" && git clone git@forge.example:team/app.git

What takes something away asks first. Where there is no terminal to ask on, in a script, it
changes nothing, and fails, unless the line has -y.

"latchkey COMMAND --help" says more about one of them; --version shows the version.
`

func usageOf(path []*cli.Command) string {
	cmd := path[len(path)-1]
	usage := commandName(path)
	switch {
	case len(cmd.Subcommands) > 0 && cmd.Action != nil:
		return usage + " [COMMAND] [FLAG...]"
	case len(cmd.Subcommands) > 0:
		return usage + " COMMAND"
	case strings.HasPrefix(cmd.ArgsUsage, "-- ") && len(flagRows(cmd)) > 0:
		return usage + " [FLAG...] " + cmd.ArgsUsage // those behind the dashes are not ours
	case cmd.ArgsUsage != "":
		usage += " " + cmd.ArgsUsage
	}
	if len(flagRows(cmd)) > 0 {
		usage += " [FLAG...]"
	}
	return usage
}

func flagRows(cmd *cli.Command) (rows [][2]string) {
	for _, f := range cmd.Flags {
		flag, ok := f.(cli.DocGenerationFlag)
		if v, canHide := f.(cli.VisibleFlag); !ok || canHide && !v.IsVisible() {
			continue
		}
		_, usage := unquoteUsage(flag)
		rows = append(rows, [2]string{flagForms(flag), usage})
	}
	return rows
}

// flagForms is a flag as it is typed: "-y, --yes" or "--keep-old DURATION".
func flagForms(f cli.DocGenerationFlag) string {
	var short, long []string
	for _, name := range f.(cli.Flag).Names() {
		if len(name) == 1 {
			short = append(short, dashed(name))
		} else {
			long = append(long, dashed(name))
		}
	}
	forms := strings.Join(append(short, long...), ", ")
	if f.TakesValue() {
		value, _ := unquoteUsage(f)
		forms += " " + value
	}
	return forms
}

// unquoteUsage gives the name of a flag's value, which its usage has in
// backquotes, and the usage without them.
func unquoteUsage(f cli.DocGenerationFlag) (value, usage string) {
	before, rest, found := strings.Cut(f.GetUsage(), "`")
	value, after, closed := strings.Cut(rest, "`")
	if !found || !closed {
		return "VALUE", f.GetUsage()
	}
	return value, before + value + after
}

func writeRows(b *strings.Builder, title string, rows [][2]string) {
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	for i, r := range rows {
		if i == 0 {
			fmt.Fprintf(b, "\n%s:\n", title)
		}
		fmt.Fprintf(b, "  %-*s  %s\n", width, r[0], r[1])
	}
}
