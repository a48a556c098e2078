package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (p *program) secretCommand() *cli.Command {
	return &cli.Command{
		Name:    "secret",
		Aliases: []string{"secrets"},
		Usage:   "keep values that your workspaces get",
		Subcommands: []*cli.Command{
			p.secretCreateCommand(),
			{
				Name: "list", Aliases: []string{"ls"}, Usage: "list your secrets, or show one", ArgsUsage: "[NAME]",
				Description: "No list and no other command shows a value: only your workspaces get it.",
				Flags:       []cli.Flag{jsonFlag()},
				Action:      p.asUser(p.secretList),
			},
			p.secretUpdateCommand(),
			{
				Name: "delete", Aliases: []string{"rm", "remove"}, Usage: "delete a secret for good", ArgsUsage: "NAME",
				Description: `All versions of its value are deleted, and it is taken out of your workspaces. On
a terminal it asks first.`,
				Flags:  []cli.Flag{yesFlag()},
				Action: p.asUser(p.secretDelete),
			},
			p.secretImportCommand(),
			{
				Name: "enable", Usage: "deliver a secret again", ArgsUsage: "NAME",
				Action: p.asUser(p.secretEnable),
			},
			{
				Name: "disable", Usage: "keep a secret, and deliver it nowhere", ArgsUsage: "NAME",
				Action: p.asUser(p.secretDisable),
			},
			{
				Name: "rename", Usage: "give a secret another name", ArgsUsage: "NAME NEW",
				Description: "Its variable and its file keep theirs.",
				Action:      p.asUser(p.secretRename),
			},
			p.secretStatusCommand(),
			{
				Name: "history", Usage: "list the versions of a value that are kept", ArgsUsage: "NAME",
				Flags:  []cli.Flag{jsonFlag()},
				Action: p.asUser(p.secretHistory),
			},
			{
				Name: "rollback", Usage: "make an earlier value the current one again", ArgsUsage: "NAME",
				Description: `The value becomes a new version, so that it can be taken back in turn.

  latchkey secret rollback api-key --to 3`,
				Flags: []cli.Flag{
					&cli.Int64Flag{Name: "to", Usage: "the value of `VERSION`, see history; else the one before the current one"},
					yesFlag(), jsonFlag(),
				},
				Action: p.asUser(p.secretRollback),
			},
		},
	}
}

func (p *program) secretCreateCommand() *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "store a secret", ArgsUsage: "NAME",
		Description: `Takes the value from stdin as it is, byte for byte. On a terminal it asks for it,
and takes one line: give a value of several lines by a pipe or from a file. A value
can't be shown again.

  printf %s "$API_KEY" | latchkey secret create api-key --env API_KEY
  latchkey secret create tool-config --file ~/.config/tool/config.json < config.json`,
		Flags: append(append(targetFlags("the value"), scopeFlags()...),
			&cli.BoolFlag{Name: "disabled", Usage: "keep it, and deliver it nowhere yet"}, jsonFlag()),
		Action: p.asUser(p.secretCreate),
	}
}

func (p *program) secretUpdateCommand() *cli.Command {
	return &cli.Command{
		Name: "update", Usage: "change a secret", ArgsUsage: "NAME",
		Description: `Changes what a flag is given for; "" clears it. What is on stdin is the new value,
and without a flag a terminal is asked for one.

  printf %s "$API_KEY" | latchkey secret update api-key
  latchkey secret update api-key --env "" --file ~/.api-key
  latchkey secret update api-key --swap new-api-key`,
		Flags: append(append(targetFlags("the new value"), scopeFlags()...),
			&cli.BoolFlag{Name: "enabled", Usage: "deliver it; with =false, deliver it nowhere"},
			&cli.StringFlag{Name: "swap", Usage: "exchange variable, file and whether they are delivered with the secret `SECRET`, at once"},
			jsonFlag()),
		Action: p.asUser(p.secretUpdate),
	}
}

func targetFlags(value string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "description", Usage: "`TEXT` that says what it is"},
		&cli.StringFlag{Name: "env", Usage: "workspaces get it in the environment variable `VARIABLE`"},
		&cli.PathFlag{Name: "file", Usage: "workspaces get it in `FILE`; below your home, it is below theirs"},
		&cli.StringFlag{Name: "value", Usage: value + " is `VALUE`, which others on this machine can read: stdin is safer"},
	}
}

func scopeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.GenericFlag{Name: "workspace", Value: new(words), Usage: "only `WORKSPACE` gets it; may be repeated"},
		&cli.GenericFlag{Name: "label", Value: new(words), Usage: "only workspaces with `LABEL` get it; may be repeated"},
	}
}

// words is the value of a flag that may be given several times.
type words []string

func (w *words) Set(s string) error {
	*w = append(*w, s)
	return nil
}

func (w *words) String() string { return "" } // there is no default to show

// flagWords is the words of a flag; "" alone stands for none.
func flagWords(c *cli.Context, flag string) []string {
	list := []string{}
	for _, w := range *c.Generic(flag).(*words) {
		if w != "" {
			list = append(list, w)
		}
	}
	return list
}

// ifGiven is a field of a request to change something: nil unless the flag was
// given.
func ifGiven[T any](c *cli.Context, flag string, value T) *T {
	if !c.IsSet(flag) {
		return nil
	}
	return &value
}

// firstGiven is the first of some flags that was given, "" if none was.
func firstGiven(c *cli.Context, flags []string) string {
	i := slices.IndexFunc(flags, c.IsSet)
	if i < 0 {
		return ""
	}
	return flags[i]
}

// stored says what became of a secret, and where its value goes.
func (p *program) stored(c *cli.Context, secret api.Secret, what string) error {
	if c.Bool("json") {
		return p.json(secret)
	}
	p.note("the secret %s %s; %s", secret.Name, what, destination(secret))
	return nil
}
