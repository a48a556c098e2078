package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"
)

// A commandLine is what the user typed, understood as far as flags and
// arguments go.
type commandLine struct {
	path    []*cli.Command // from "latchkey" down
	args    []string       // for cli: the names below "latchkey", flags, "--", arguments
	help    bool           // asks for help on the last command of path
	version bool
}

// parseLine finds the command and puts its flags before its arguments. The cli
// package alone takes a flag behind an argument for an argument, prints its
// usage to stdout for an unknown one, and answers an unknown command with "No
// help topic".
func parseLine(root *cli.Command, args []string) (commandLine, error) {
	line := commandLine{path: []*cli.Command{root}}
	cmd := root
	for len(cmd.Subcommands) > 0 && !actsItself(cmd, args) {
		if len(args) == 0 {
			return line.withoutAction()
		}
		switch arg := args[0]; {
		case arg == "-h" || arg == "--help":
			line.help = true
			return line, nil
		case arg == "help" && cmd == root:
			line.help = true
			return line, line.descend(args[1:])
		case cmd == root && (arg == "--version" || arg == "-v" || arg == "version"):
			line.version = true
			return line, nil
		}
		if err := line.descend(args[:1]); err != nil {
			return line, err
		}
		args = args[1:]
		cmd = line.last()
	}
	for _, c := range line.path[1:] {
		line.args = append(line.args, c.Name)
	}
	return line, line.parseLeaf(args)
}

// actsItself reports whether a command with commands below it, as "latchkey agent"
// is, is meant itself: no name of one of them stands behind it.
func actsItself(cmd *cli.Command, args []string) bool {
	return cmd.Action != nil && (len(args) == 0 || strings.HasPrefix(args[0], "-"))
}

func (line *commandLine) last() *cli.Command { return line.path[len(line.path)-1] }

// name is the command as it is typed, with "latchkey".
func (line *commandLine) name() string { return commandName(line.path) }

func commandName(path []*cli.Command) string {
	names := make([]string, len(path))
	for i, c := range path {
		names[i] = c.Name
	}
	return strings.Join(names, " ")
}

// withoutAction is for "latchkey", which gets help, and "latchkey key", which
// may come from a script that lost a word.
func (line commandLine) withoutAction() (commandLine, error) {
	if len(line.path) == 1 {
		line.help = true
		return line, nil
	}
	err := usagef("%s: what to do is missing", strings.TrimPrefix(line.name(), "latchkey "))
	return line, withHint(err, fmt.Sprintf("one of %s; %q says more", strings.Join(names(line.last().Subcommands), ", "), line.name()+" --help"))
}

// descend follows the names of commands.
func (line *commandLine) descend(names []string) error {
	for _, name := range names {
		next := line.last().Command(name)
		if next == nil {
			return line.unknownCommand(name)
		}
		line.path = append(line.path, next)
	}
	return nil
}

func (line *commandLine) unknownCommand(name string) error {
	all := fmt.Sprintf("%q lists all", line.name()+" --help")
	if strings.HasPrefix(name, "-") {
		return withHint(usagef("unknown flag %s", name), "flags stand behind the command's name; "+all)
	}
	err := usagef("unknown command %q", strings.TrimPrefix(line.name()+" "+name, "latchkey "))
	if near := nearest(name, names(line.last().Subcommands)); near != "" {
		return withHint(err, fmt.Sprintf("there is %q; %s", line.name()+" "+near, all))
	}
	return withHint(err, all)
}

// names lists the commands that help shows.
func names(commands []*cli.Command) (list []string) {
	for _, c := range commands {
		if !c.Hidden {
			list = append(list, c.Name)
		}
	}
	return list
}

// parseLeaf sorts what stands behind a command into flags and arguments.
func (line *commandLine) parseLeaf(args []string) error {
	cmd := line.last()
	if cmd.SkipFlagParsing {
		if !cmd.HideHelp && len(args) > 0 && (args[0] == "-h" || args[0] == "--help") {
			line.help = true
		}
		line.args = append(line.args, args...)
		return nil
	}
	var arguments []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			arguments = append(arguments, args...)
			args = nil
		case arg == "-h" || arg == "--help":
			line.help = true
			return nil
		case len(arg) > 1 && arg[0] == '-':
			rest, err := line.parseFlag(arg, args)
			if err != nil {
				return err
			}
			args = rest
		default:
			arguments = append(arguments, arg)
		}
	}
	if err := line.checkArguments(arguments); err != nil {
		return err
	}
	line.args = append(append(line.args, "--"), arguments...)
	return nil
}

// parseFlag takes one flag, with its value from rest if it wants one there.
func (line *commandLine) parseFlag(arg string, rest []string) ([]string, error) {
	name, value, hasValue := strings.Cut(arg, "=")
	flag := findFlag(line.last(), name)
	if flag == nil {
		return nil, line.unknownFlag(name)
	}
	takesValue := flag.TakesValue()
	switch {
	case !takesValue && hasValue && value != "true" && value != "false":
		return nil, withHint(usagef("flag %s takes no value", name), line.usage())
	case takesValue && !hasValue && len(rest) == 0:
		return nil, withHint(usagef("flag %s needs a value", name), fmt.Sprintf("%s; %q says more", flagForms(flag), line.name()+" --help"))
	case takesValue && !hasValue:
		line.args = append(line.args, name+"="+rest[0])
		return rest[1:], nil
	}
	line.args = append(line.args, arg)
	return rest, nil
}

// findFlag finds a flag as it is typed: --long or -s.
func findFlag(cmd *cli.Command, typed string) cli.DocGenerationFlag {
	for _, f := range cmd.Flags {
		for _, name := range f.Names() {
			if flag, ok := f.(cli.DocGenerationFlag); ok && dashed(name) == typed {
				return flag
			}
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

func (line *commandLine) unknownFlag(typed string) error {
	var known []string
	for _, f := range line.last().Flags {
		for _, name := range f.Names() {
			known = append(known, dashed(name))
		}
	}
	err := usagef("%s: unknown flag %s", strings.TrimPrefix(line.name(), "latchkey "), typed)
	all := fmt.Sprintf("%q lists all", line.name()+" --help")
	if near := nearest(typed, known); near != "" {
		return withHint(err, fmt.Sprintf("there is %s; %s", near, all))
	}
	return withHint(err, all+`; an argument that begins with a dash stands behind "--"`)
}

// checkArguments counts the arguments against the command's ArgsUsage: NAME is
// needed, [NAME] may be there, NAME... stands for any number.
func (line *commandLine) checkArguments(arguments []string) error {
	least, most := 0, 0
	var needed []string
	for _, word := range strings.Fields(line.last().ArgsUsage) {
		switch {
		case word == "--":
			continue
		case strings.Contains(word, "..."):
			most += 1 << 16
		default:
			most++
		}
		if !strings.HasPrefix(word, "[") {
			least++
			needed = append(needed, strings.TrimSuffix(word, "..."))
		}
	}
	name := strings.TrimPrefix(line.name(), "latchkey ")
	if len(arguments) < least {
		return withHint(usagef("%s: %s is missing", name, needed[len(arguments)]), line.usage())
	}
	if len(arguments) > most {
		extra := arguments[most]
		if sub := line.last().Command(extra); sub != nil {
			return withHint(usagef("%s: %q stands behind a flag of %s itself", name, extra, line.name()), "usage: "+usageOf(append(line.path, sub)))
		}
		if anyToken.MatchString(extra) {
			return tokenInArguments(name)
		}
		if strings.HasPrefix(name, "secret ") {
			// It may be a value: it is not shown.
			return withHint(usagef("%s: an argument too many stands behind %s", name, arguments[most-1]), line.usage()+"; a value is given on stdin")
		}
		return withHint(usagef("%s: unexpected argument %q", name, extra), line.usage())
	}
	return nil
}

// tokenInArguments refuses a token where every process of the machine sees it.
func tokenInArguments(command string) error {
	return withHint(usagef("%s: a token on the command line can be read by every process of this machine", command),
		"give it on stdin, or type it when asked; and have this one revoked")
}

// usage is the line that says how the command is typed.
func (line *commandLine) usage() string { return "usage: " + usageOf(line.path) }

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
