package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace"
)

// What a workspace has to do with user secrets: its labels, whether it takes
// any, and which it needs; and whether it is given private keys.

func takesFlags() []cli.Flag {
	return []cli.Flag{
		&cli.GenericFlag{Name: "label", Value: new(words), Usage: "secrets that are limited to `LABEL` go there; may be repeated"},
		&cli.BoolFlag{Name: "refuse-secrets", Usage: "it gets no user secrets, but keys"},
		&cli.GenericFlag{Name: "key-mode", Value: newKeyMode(), Usage: "`MODE` is fetch, or sign: it gets no private key, the server signs for it"},
		&cli.GenericFlag{Name: "require-env", Value: new(words), Usage: "it needs a secret in a variable: `VARIABLE=HELP`, which says where to get one; may be repeated"},
		&cli.GenericFlag{Name: "require-file", Value: new(words), Usage: "it needs a secret in a file: `PATH=HELP`; may be repeated"},
	}
}

func (p *program) workspaceUpdateCommand() *cli.Command {
	return &cli.Command{
		Name: "update", Usage: "change what a workspace has to do with secrets and keys", ArgsUsage: "NAME",
		Description: `The labels and the requirements that are given replace all that there are;
--label "" takes the labels away.

  latchkey workspace update box --key-mode sign
  latchkey workspace update box --label gpu --label team-a
  latchkey workspace update box --require-env NPM_TOKEN='make one at npm.example/tokens'`,
		Flags: append(takesFlags(),
			&cli.BoolFlag{Name: "no-requirements", Usage: "it needs no secrets"}, userFlag(), jsonFlag()),
		Action: p.asUser(p.workspaceUpdate),
	}
}

func (p *program) workspaceUpdate(c *cli.Context, s *session) error {
	name := c.Args().First()
	needed, err := requirementsGiven(c)
	if err != nil {
		return err
	}
	r := api.UpdateWorkspaceRequest{
		Labels:        ifGiven(c, "label", flagWords(c, "label")),
		RefuseSecrets: ifGiven(c, "refuse-secrets", c.Bool("refuse-secrets")),
		KeyMode:       ifGiven(c, "key-mode", chosen[api.KeyMode](c, "key-mode")),
	}
	switch none := c.Bool("no-requirements"); {
	case none && len(needed) > 0:
		return usagef("workspace update: --no-requirements and a requirement exclude each other")
	case none || len(needed) > 0:
		r.Requirements = &needed
	}
	if r == (api.UpdateWorkspaceRequest{}) {
		return withHint(usagef("workspace update: what to change is missing"), `"latchkey workspace update --help" lists the flags`)
	}
	w, err := s.UpdateWorkspace(c.Context, c.String("user"), name, r)
	if err != nil {
		return s.noWorkspace(c.Context, err, c.String("user"), name)
	}
	if c.Bool("json") {
		return p.json(w)
	}
	p.note("the workspace %s is changed; labels: %s; secrets: %s; keys: %s", w.Name, orDash(strings.Join(w.Labels, ", ")), orDash(takes(w)), w.KeyMode)
	return nil
}

// takes says whether a workspace is special about secrets.
func takes(w api.Workspace) string {
	switch n := len(w.Requirements); {
	case w.RefuseSecrets:
		return "refused"
	case n > 0:
		return fmt.Sprintf("%d needed", n)
	}
	return ""
}

// requirementsGiven is what --require-env and --require-file say.
func requirementsGiven(c *cli.Context) ([]api.Requirement, error) {
	list := []api.Requirement{}
	for _, word := range flagWords(c, "require-env") {
		name, help, err := requirement("--require-env", word)
		if err == nil {
			err = checkEnv("--require-env", name)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, api.Requirement{EnvName: name, Help: help})
	}
	for _, word := range flagWords(c, "require-file") {
		path, help, err := requirement("--require-file", word)
		if err == nil {
			path, err = fileTarget("--require-file", path)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, api.Requirement{FilePath: path, Help: help})
	}
	return list, nil
}

func requirement(flag, word string) (target, help string, err error) {
	target, help, _ = strings.Cut(word, "=")
	if target == "" || strings.TrimSpace(help) == "" {
		return "", "", withHint(usagef("flag %s: the help is missing, which says where to get one", flag),
			flag+` API_KEY="make one at https://api.example/keys"`)
	}
	return target, help, nil
}

func (p *program) workspaceCheckCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "say which needed secrets are missing", ArgsUsage: "[NAME]",
		Description: `Without a name it asks the workspace daemon that runs here what is missing, and where
none runs the server about all your workspaces. The exit status is 1 if a secret is missing.`,
		Flags: []cli.Flag{userFlag(), jsonFlag()},
		Action: func(c *cli.Context) error {
			if c.Args().First() == "" && !c.IsSet("user") {
				here, err := checksHere(c.Context)
				if err == nil {
					return p.showChecks(c, here)
				}
				if !workspace.NotRunning(err) {
					return explainWorkspace(err)
				}
			}
			return p.asUser(p.workspaceCheck)(c)
		},
	}
}

// checksHere asks the daemon of the workspace that this is. It knows what is
// missing, after it has tried to deliver, and needs no login.
func checksHere(ctx context.Context) ([]workspaceCheck, error) {
	dir, err := workspace.RuntimeDir(os.Getenv)
	if err != nil {
		return nil, err
	}
	state, err := workspace.Status(ctx, dir)
	if err != nil {
		return nil, err
	}
	if !state.Secrets.Known {
		return nil, given{SecretState: workspace.SecretState{Notice: state.Secrets.Notice}}.known()
	}
	check := workspaceCheck{Workspace: cmp.Or(state.Workspace, "this one"), Requirements: []api.RequirementCheck{}}
	for _, r := range state.Secrets.Missing {
		check.Requirements = append(check.Requirements, api.RequirementCheck{Requirement: r, Why: "it is not here"})
	}
	return []workspaceCheck{check}, nil
}

// A workspaceCheck is the requirements of one workspace.
type workspaceCheck struct {
	Workspace    string                 `json:"workspace"`
	Requirements []api.RequirementCheck `json:"requirements"`
}

func (p *program) workspaceCheck(c *cli.Context, s *session) error {
	checks, err := s.checks(c.Context, c.String("user"), c.Args().First())
	if err != nil {
		return err
	}
	return p.showChecks(c, checks)
}

// checks asks for the requirements of a workspace, or of all if name is "".
func (s *session) checks(ctx context.Context, user, name string) ([]workspaceCheck, error) {
	names := []string{name}
	if name == "" {
		list, err := s.Workspaces(ctx, user)
		if err != nil {
			return nil, err
		}
		names = nil
		for _, w := range list {
			names = append(names, w.Name)
		}
	}
	var checks []workspaceCheck
	for _, n := range names {
		requirements, err := s.CheckWorkspace(ctx, user, n)
		if err != nil {
			return nil, s.noWorkspace(ctx, err, user, n)
		}
		checks = append(checks, workspaceCheck{n, requirements})
	}
	return checks, nil
}

// showChecks prints requirements. What is missing is an error, for scripts.
func (p *program) showChecks(c *cli.Context, checks []workspaceCheck) error {
	missing := 0
	first := api.Requirement{}
	var rows [][]string
	for _, w := range checks {
		for _, r := range w.Requirements {
			if !r.Met {
				if missing == 0 {
					first = r.Requirement
				}
				missing++
			}
			rows = append(rows, []string{w.Workspace, requirementName(r.Requirement), statusOf(r), r.Help})
		}
	}
	var err error
	switch {
	case c.Bool("json"):
		err = jsonList(p, checks)
	case len(rows) == 0:
		p.note("no secret that is needed is missing")
	default:
		err = p.table("WORKSPACE\tREQUIREMENT\tSTATUS\tHELP", rows)
	}
	if err != nil || missing == 0 {
		return err
	}
	return withHint(fmt.Errorf("%s missing", are(missing, "secret")), supply(first))
}

func are(n int, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return plural(n, what) + " are"
}

// supply is how to give a workspace what it needs.
func supply(r api.Requirement) string {
	target := "--env " + r.EnvName
	if r.EnvName == "" {
		target = "--file " + r.FilePath
	}
	return "latchkey secret create NAME " + target + `, or where STATUS names a secret: "latchkey secret list" shows it`
}

func requirementName(r api.Requirement) string {
	if r.EnvName != "" {
		return "$" + r.EnvName
	}
	return r.FilePath
}

func statusOf(r api.RequirementCheck) string {
	switch {
	case r.Met:
		return "secret " + r.Secret
	case r.Secret != "":
		return fmt.Sprintf("missing: %s (%s)", r.Why, r.Secret)
	}
	return "missing: " + r.Why
}
