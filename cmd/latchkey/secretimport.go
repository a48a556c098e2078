package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/keyserver/importfile"
)

func (p *program) secretImportCommand() *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "make a secret of each entry of a file", ArgsUsage: "FILE|-",
		Description: `Takes dotenv files, and flat JSON and YAML files of strings; "-" is stdin. Each key
becomes a secret of that name with that variable. All of them are made, or none, and
none is overwritten. A key that can't be a variable is kept without one, disabled.

  latchkey secret import .env
  sops -d prod.json | latchkey secret import - --format json`,
		Flags: []cli.Flag{
			&cli.GenericFlag{
				Name: "format", Aliases: []string{"input-format"}, Value: &choice[api.ImportFormat]{choices: []api.ImportFormat{api.Dotenv, api.JSON, api.YAML}},
				Usage: "`FORMAT`: env, json or yaml; else what the file's name ends in says, and env if it says nothing",
			},
			jsonFlag(),
		},
		Action: p.asUser(p.secretImport),
	}
}

func (p *program) secretImport(c *cli.Context, s *session) error {
	file := c.Args().First()
	format := chosen[api.ImportFormat](c, "format")
	if format == "" {
		format = formatOf(file)
	}
	content, err := p.readSecretInput(file, "values", "latchkey secret import", importfile.MaxContent)
	if err != nil {
		return err
	}
	// What is wrong stays on this machine.
	entries, err := importfile.Parse(string(format), content)
	if err != nil {
		return p.importProblems(err, file, format, content)
	}
	if len(entries) == 0 {
		return withHint(fmt.Errorf("%s holds no entries", importName(file)), fmt.Sprintf("it was read as %s; --format says otherwise", format))
	}
	list, err := s.ImportSecrets(c.Context, api.Me, api.ImportSecretsRequest{Format: format, Content: string(content)})
	if errors.Is(err, api.ErrConflict) {
		return withHint(fmt.Errorf("nothing was imported: %w", err), `import does not overwrite: take out the entries, or "latchkey secret delete" what is in their way`)
	}
	if err != nil {
		return fmt.Errorf("nothing was imported: %w", err)
	}
	p.warnWithoutTarget(list)
	p.note("%s imported from %s", was(len(list), "secret"), importName(file))
	return p.secrets(c, list)
}

func was(n int, what string) string {
	if n == 1 {
		return "1 " + what + " was"
	}
	return plural(n, what) + " were"
}

func formatOf(file string) api.ImportFormat {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".json":
		return api.JSON
	case ".yaml", ".yml":
		return api.YAML
	}
	return api.Dotenv
}

func importName(file string) string {
	if file == "-" {
		return "stdin"
	}
	return file
}

// importProblems tells all that is wrong with a file, a line each.
func (p *program) importProblems(err error, file string, format api.ImportFormat, content []byte) error {
	var e *importfile.Error
	if !errors.As(err, &e) {
		return err
	}
	for _, problem := range e.Problems {
		p.note("%s: %s", importName(file), problem)
	}
	hint := "change the file, or a copy of it"
	if format == api.Dotenv && bytes.HasPrefix(bytes.TrimSpace(content), []byte("{")) {
		hint = "it looks like JSON: --format json"
	}
	return withHint(fmt.Errorf("nothing was imported: %s in %s", plural(len(e.Problems), "problem"), importName(file)), hint)
}

// warnWithoutTarget lists the secrets that no workspace gets so far.
func (p *program) warnWithoutTarget(list []api.Secret) {
	var names []string
	for _, secret := range list {
		if targets(secret) == "" {
			names = append(names, secret.Name)
		}
	}
	if len(names) == 0 {
		return
	}
	p.warn(withHint(fmt.Errorf("no variable can have the name of these, which are kept without one, disabled: %s", strings.Join(names, ", ")),
		"latchkey secret update NAME --enabled --env VARIABLE, or --file FILE"))
}
