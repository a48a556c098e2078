package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// A commandLine is what the operator typed, understood as far as flags and
// arguments go.
type commandLine struct {
	path []*cli.Command // from "latchkeyd" down
	args []string       // for cli: the names below "latchkeyd", flags, "--", arguments
	help bool           // asks for help on the last command of path
}

// parseLine finds the command, which is "serve" if none is named, and puts its
// flags, wherever they stand, before its arguments. The cli package alone takes
// a flag behind an argument for an argument, prints its usage to stdout for an
// unknown one, and answers an unknown command with "No help topic".
func parseLine(root *cli.Command, args []string) (commandLine, error) {
	line := commandLine{path: []*cli.Command{root}}
	var flags, arguments []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			arguments, args = append(arguments, args...), nil
		case arg == "-h" || arg == "--help", arg == "help" && len(line.path) == 1:
			line.help = true
		case arg == "--version" && len(line.path) == 1:
			line.path = append(line.path, root.Command("version"))
		case len(arg) > 1 && arg[0] == '-':
			name, _, hasValue := strings.Cut(arg, "=")
			flag := findFlag(root, name)
			if flag != nil && flag.TakesValue() && !hasValue {
				if len(args) == 0 {
					return line, withHint(usagef("flag %s needs a value", name), "%s", flagForms(flag))
				}
				arg, args = name+"="+args[0], args[1:]
			}
			flags = append(flags, arg)
		case len(line.last().Subcommands) > 0:
			if err := line.descend(arg); err != nil {
				return line, err
			}
		default:
			arguments = append(arguments, arg)
		}
	}
	if line.help {
		return line, nil
	}
	return line, line.complete(flags, arguments)
}

func (line *commandLine) last() *cli.Command { return line.path[len(line.path)-1] }

// name is the command as it is typed, with "latchkeyd".
func (line *commandLine) name() string { return strings.Join(names(line.path), " ") }

func names(commands []*cli.Command) (list []string) {
	for _, c := range commands {
		list = append(list, c.Name)
	}
	return list
}

func (line *commandLine) descend(name string) error {
	next := line.last().Command(name)
	if next == nil {
		err := usagef("unknown command %q", strings.TrimPrefix(line.name()+" "+name, "latchkeyd "))
		return withHint(err, "one of %s; %q says more", strings.Join(names(line.last().Subcommands), ", "), line.name()+" --help")
	}
	line.path = append(line.path, next)
	return nil
}

// complete checks flags and arguments against the command.
func (line *commandLine) complete(flags, arguments []string) error {
	if len(line.path) == 1 {
		if err := line.descend("serve"); err != nil {
			return err
		}
	}
	cmd := line.last()
	name := strings.TrimPrefix(line.name(), "latchkeyd ")
	if len(cmd.Subcommands) > 0 {
		err := usagef("%s: what to do is missing", name)
		return withHint(err, "one of %s; %q says more", strings.Join(names(cmd.Subcommands), ", "), line.name()+" --help")
	}
	for _, f := range flags {
		typed, value, hasValue := strings.Cut(f, "=")
		flag := findFlag(&cli.Command{Flags: cmd.Flags}, typed)
		switch {
		case flag == nil:
			return withHint(usagef("%s: unknown flag %s", name, typed), "%q lists its flags", line.name()+" --help")
		case !flag.TakesValue() && hasValue && value != "true" && value != "false":
			return withHint(usagef("flag %s takes no value", typed), "usage: %s", usageOf(line.path))
		}
	}
	if want := len(strings.Fields(cmd.ArgsUsage)); len(arguments) < want {
		return withHint(usagef("%s: %s is missing", name, strings.Fields(cmd.ArgsUsage)[len(arguments)]), "usage: %s", usageOf(line.path))
	} else if len(arguments) > want {
		return withHint(usagef("%s: unexpected argument %q", name, arguments[want]), "usage: %s", usageOf(line.path))
	}
	line.args = slices.Concat(names(line.path[1:]), flags, []string{"--"}, arguments)
	return nil
}

// findFlag finds a flag as it is typed, --long or -s, among those of a command
// and of all below it.
func findFlag(cmd *cli.Command, typed string) cli.DocGenerationFlag {
	for _, f := range cmd.Flags {
		for _, name := range f.Names() {
			if flag, ok := f.(cli.DocGenerationFlag); ok && dashed(name) == typed {
				return flag
			}
		}
	}
	for _, c := range cmd.Subcommands {
		if flag := findFlag(c, typed); flag != nil {
			return flag
		}
	}
	return nil
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// prepared sets on a command and all below it what keeps the cli package from
// printing and exiting by itself.
func prepared(c *cli.Command) *cli.Command {
	c.HideHelp = true
	c.OnUsageError = usageProblem
	for _, sub := range c.Subcommands {
		prepared(sub)
	}
	return c
}

// wrongValue is how the standard library's flag package words what parseLine
// cannot see: a value that a flag does not take.
var wrongValue = regexp.MustCompile(`^invalid (?:boolean )?value "((?s).*)" for (?:flag )?-(\S+): (.*)$`)

func usageProblem(_ *cli.Context, err error, _ bool) error {
	if m := wrongValue.FindStringSubmatch(err.Error()); m != nil {
		if m[3] == "parse error" { // the flag package's word for a number that is none
			m[3] = "want a number"
		}
		return usagef("flag %s: %q: %s", dashed(m[2]), m[1], m[3])
	}
	return usagef("%s", err)
}

// usageOf is the line that says how a command is typed.
func usageOf(path []*cli.Command) string {
	cmd := path[len(path)-1]
	usage := strings.Join(names(path), " ")
	if len(cmd.Subcommands) > 0 {
		return usage + " COMMAND"
	}
	if cmd.ArgsUsage != "" {
		usage += " " + cmd.ArgsUsage
	}
	if len(cmd.Flags) > 0 {
		usage += " [FLAG...]"
	}
	return usage
}

// flagForms is a flag as it is typed: "-f, --follow" or "--data DIR".
func flagForms(f cli.DocGenerationFlag) string {
	var forms []string
	for _, name := range f.(cli.Flag).Names() {
		forms = append(forms, dashed(name))
	}
	slices.SortStableFunc(forms, func(a, b string) int { return len(a) - len(b) })
	text := strings.Join(forms, ", ")
	if f.TakesValue() {
		value, _ := unquoteUsage(f)
		text += " " + value
	}
	return text
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

// help shows what a command does and takes, on stdout: it was asked for.
func (p *program) help(path []*cli.Command) error {
	cmd := path[len(path)-1]
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\nusage: %s\n", strings.Join(names(path), " "), cmd.Usage, usageOf(path))
	if cmd.Description != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(cmd.Description))
	}
	var rows [][2]string
	for _, c := range cmd.Subcommands {
		rows = append(rows, [2]string{c.Name, c.Usage})
	}
	writeRows(&b, "commands", rows)
	rows = nil
	for _, f := range cmd.Flags {
		flag := f.(cli.DocGenerationFlag)
		_, usage := unquoteUsage(flag)
		rows = append(rows, [2]string{flagForms(flag), usage})
	}
	writeRows(&b, "flags", rows)
	if len(path) == 1 {
		b.WriteString("\nWithout a command it serves. \"latchkeyd COMMAND --help\" says more about one of them.\n")
	}
	return p.print("%s", b.String())
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
