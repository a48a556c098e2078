package main

import (
	"context"
	_ "embed"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

// The scripts are a few lines each: they ask "latchkey complete".
var (
	//go:embed completion/latchkey.bash
	bashCompletion string
	//go:embed completion/latchkey.zsh
	zshCompletion string
	//go:embed completion/latchkey.fish
	fishCompletion string
)

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a script that completes commands in your shell",
		ArgsUsage: "bash|zsh|fish",
		Description: `For good, in the shell's start-up file:

  bash  source <(latchkey completion bash)
  zsh   source <(latchkey completion zsh)            # behind compinit
  fish  latchkey completion fish | source`,
		Action: func(c *cli.Context) error {
			switch shell := c.Args().First(); shell {
			case "bash":
				return p.print("%s", bashCompletion)
			case "zsh":
				return p.print("%s", zshCompletion)
			case "fish":
				return p.print("%s", fishCompletion)
			default:
				return withHint(usagef("completion: no script for %q", shell), "there are bash, zsh and fish")
			}
		},
	}
}

// completeCommand answers the scripts: "latchkey complete -- WORD...", where
// the last word is the one to complete, prints a candidate on each line, a tab,
// and what it is. A line ":files" stands for all files.
func (p *program) completeCommand() *cli.Command {
	return &cli.Command{
		Name: "complete", Hidden: true, SkipFlagParsing: true, HideHelp: true, ArgsUsage: "-- WORD...",
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			if len(words) > 0 && words[0] == "--" {
				words = words[1:]
			}
			if len(words) == 0 {
				words = []string{""}
			}
			for _, cand := range p.candidates(c.Context, words) {
				if err := p.print("%s\t%s\n", printable(cand.word), printable(cand.about)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

type candidate struct{ word, about string }

const filesCandidate = ":files"

// candidates is what may stand where the last word is.
func (p *program) candidates(ctx context.Context, words []string) (list []candidate) {
	before, typed := words[:len(words)-1], words[len(words)-1]
	// bash makes three words of --flag=value, the others one.
	before = slices.DeleteFunc(slices.Clone(before), func(w string) bool { return w == "=" })
	prefix := ""
	if flag, value, ok := strings.Cut(typed, "="); ok {
		typed = value
		if flag != "" {
			before, prefix = append(before, flag), flag+"="
		}
	}
	for _, c := range p.allCandidates(ctx, before, typed) {
		switch {
		case c.word == filesCandidate:
			list = append(list, c)
		case strings.HasPrefix(c.word, typed):
			list = append(list, candidate{prefix + c.word, c.about})
		}
	}
	return list
}

func (p *program) allCandidates(ctx context.Context, before []string, typed string) []candidate {
	path := []*cli.Command{p.commands()}
	cmd := path[0]
	for len(cmd.Subcommands) > 0 {
		if cmd.Action != nil && (len(before) == 0 && strings.HasPrefix(typed, "-") || len(before) > 0 && strings.HasPrefix(before[0], "-")) {
			break // its own flags: see actsItself
		}
		if len(before) == 0 {
			return commandCandidates(cmd, typed)
		}
		if cmd = cmd.Command(before[0]); cmd == nil {
			return nil
		}
		path, before = append(path, cmd), before[1:]
	}
	if cmd.SkipFlagParsing {
		return []candidate{{filesCandidate, ""}}
	}
	arguments, pending, flagsEnd := countArguments(cmd, before)
	switch {
	case pending != nil:
		return p.flagValueCandidates(ctx, pending, path)
	case strings.HasPrefix(typed, "-") && !flagsEnd:
		return flagCandidates(cmd)
	}
	wanted := strings.Fields(strings.TrimPrefix(cmd.ArgsUsage, "-- "))
	if n := len(wanted); n > 0 && strings.Contains(wanted[n-1], "...") {
		arguments = min(arguments, n-1)
	}
	if arguments >= len(wanted) {
		return nil
	}
	return p.valueCandidates(ctx, strings.Trim(wanted[arguments], "[]."), path)
}

// countArguments counts the arguments before the word to complete, and finds the flag
// whose value it is, if any.
func countArguments(cmd *cli.Command, before []string) (arguments int, pending cli.DocGenerationFlag, flagsEnd bool) {
	for i := 0; i < len(before); i++ {
		word := before[i]
		switch flag := findFlag(cmd, word); {
		case word == "--":
			return arguments + len(before) - i - 1, nil, true
		case flag != nil && flag.TakesValue() && i == len(before)-1:
			return arguments, flag, false
		case flag != nil && flag.TakesValue():
			i++
		case !strings.HasPrefix(word, "-") || word == "-":
			arguments++
		}
	}
	return arguments, nil, false
}

func commandCandidates(cmd *cli.Command, typed string) (list []candidate) {
	for _, c := range cmd.Subcommands {
		if !c.Hidden {
			list = append(list, candidate{c.Name, c.Usage})
		}
	}
	if strings.HasPrefix(typed, "-") {
		list = append(list, candidate{"--help", "say more"})
	}
	return list
}

func flagCandidates(cmd *cli.Command) (list []candidate) {
	for _, f := range cmd.Flags {
		if flag, ok := f.(cli.DocGenerationFlag); ok {
			_, usage := unquoteUsage(flag)
			for _, name := range f.Names() {
				list = append(list, candidate{dashed(name), usage})
			}
		}
	}
	return append(list, candidate{"--help", "say more"})
}

// completeTimeout bounds how long a key press waits for the server.
var completeTimeout = time.Second // more in tests

// valueCandidates is what may stand for a placeholder of the usage, "FILE".
func (p *program) valueCandidates(ctx context.Context, placeholder string, path []*cli.Command) []candidate {
	words := strings.Split(placeholder, "|")
	switch {
	case placeholder == "FILE" || placeholder == "SOCKET" || placeholder == "FILE|-" || placeholder == "CMD" || placeholder == "ARG":
		return []candidate{{filesCandidate, ""}}
	case placeholder == "KEY|-":
		words = []string{"-"} // a public key is nothing that could be guessed
	case len(words) > 1:
	case placeholder == "ROLE":
		words = newRole().all()
	default:
		words = p.knownNames(ctx, placeholder, path)
	}
	return plainCandidates(words)
}

func (p *program) flagValueCandidates(ctx context.Context, flag cli.DocGenerationFlag, path []*cli.Command) []candidate {
	if f, ok := flag.(*cli.GenericFlag); ok {
		if v, ok := f.Value.(interface{ all() []string }); ok {
			return plainCandidates(v.all())
		}
	}
	value, _ := unquoteUsage(flag)
	return p.valueCandidates(ctx, value, path)
}

func plainCandidates(words []string) (list []candidate) {
	for _, w := range words {
		list = append(list, candidate{w, ""})
	}
	return list
}

// knownNames asks the server for the names of what a command is about. Without
// a login or an answer there are none: a key press is no place for errors.
func (p *program) knownNames(ctx context.Context, placeholder string, path []*cli.Command) (names []string) {
	about := placeholder
	if placeholder == "NAME" {
		about = strings.ToUpper(path[1].Name)
	}
	last := path[len(path)-1].Name
	if last == "create" && placeholder == "NAME" {
		return nil // a new name
	}
	s, err := p.session()
	if err != nil {
		return nil
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	switch about {
	case "KEY", "PUBLICKEY":
		keys, _ := s.Keys(ctx, api.Me)
		for _, k := range keys {
			if k.ExpiresAt == nil {
				names = append(names, k.Name)
			}
		}
	case "WORKSPACE":
		list, _ := s.Workspaces(ctx, api.Me)
		for _, w := range list {
			names = append(names, w.Name)
		}
	case "SECRET":
		list, _ := s.Secrets(ctx, api.Me)
		for _, secret := range list {
			names = append(names, secret.Name)
		}
	case "LABEL":
		list, _ := s.Workspaces(ctx, api.Me)
		for _, w := range list {
			names = append(names, w.Labels...)
		}
		slices.Sort(names)
		names = slices.Compact(names)
	case "LINE":
		list, _ := s.KnownHosts(ctx)
		names = knownHostNames(list)
	case "USER":
		list, _ := s.Users(ctx)
		for _, u := range list {
			names = append(names, u.Name)
		}
	}
	return names
}

// knownHostNames are what "latchkey known-host delete" takes, less what a shell would
// make something else of, such as a pattern.
func knownHostNames(list []api.KnownHost) (names []string) {
	for _, h := range list {
		for name := range strings.SplitSeq(h.Hosts, ",") {
			if quoted(name) == name {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names) // there are thousands of lines, perhaps
	names = slices.Compact(names)
	for _, h := range list {
		names = append(names, h.ID)
	}
	return names
}
