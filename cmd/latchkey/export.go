package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/workspace"
)

// An exportFormat is a form in which other programs take variables.
type exportFormat string

const (
	formatDotenv       exportFormat = "dotenv"
	formatJSON         exportFormat = "json"
	formatDocker       exportFormat = "docker-env-file"
	formatDevcontainer exportFormat = "devcontainer"
	formatSystemd      exportFormat = "systemd"
)

// exportWriters write all variables in a format; an error for each that it can't hold.
var exportWriters = map[exportFormat]func([]workspace.Variable) (string, []error){
	formatDotenv:       writeDotenv,
	formatJSON:         writeJSONObject,
	formatDocker:       writeDockerEnvFile,
	formatDevcontainer: writeJSONObject,
	formatSystemd:      writeSystemd,
}

func (p *program) exportCommand() *cli.Command {
	return &cli.Command{
		Name:  "export",
		Usage: "print your secrets, values included, for other programs",
		Description: `Prints the variables of this workspace's secrets, so where you send it is where they lie.
"latchkey run" leaves no file behind. The formats:

  dotenv           NAME="VALUE", for docker compose, dotenv libraries, and "latchkey secret import"
  json             one object, {"NAME": "VALUE"}
  docker-env-file  docker run --env-file
  devcontainer     devcontainer up --secrets-file
  systemd          EnvironmentFile= of a unit

A value that a format can't hold is an error, and then nothing is printed.`,
		Flags: []cli.Flag{
			&cli.GenericFlag{Name: "format", Value: newExportFormat(), Usage: "print as `FORMAT`: dotenv, json, docker-env-file, devcontainer or systemd; else dotenv"},
			onlyFlag(),
		},
		Action: func(c *cli.Context) error {
			shield()
			g, err := givenSecrets(c.Context)
			if err != nil {
				return explainWorkspace(err)
			}
			if err := g.known(); err != nil {
				return err
			}
			if g.Notice != "" {
				p.message("warning", g.Notice)
			}
			vars, err := g.only(c.StringSlice("only"))
			if err != nil {
				return err
			}
			return p.export(vars, chosen[exportFormat](c, "format"))
		},
	}
}

func newExportFormat() *choice[exportFormat] {
	return &choice[exportFormat]{choices: []exportFormat{formatDotenv, formatJSON, formatDocker, formatDevcontainer, formatSystemd}}
}

// export prints all, or says of all that can't be.
func (p *program) export(vars []workspace.Variable, f exportFormat) error {
	if f == "" {
		f = formatDotenv
	}
	text, errs := exportWriters[f](vars)
	switch len(errs) {
	case 0:
		return p.print("%s", text)
	case 1:
		return withHint(fmt.Errorf("printing %w", errs[0]), "leave it out with --only, or choose another format")
	}
	for _, err := range errs {
		p.message("error", err.Error())
	}
	return withHint(fmt.Errorf("%s can't be printed as %s", plural(len(errs), "variable"), f), "leave them out with --only, or choose another format")
}

// cannotHold is the error for one variable.
func cannotHold(v workspace.Variable, why string) error {
	return fmt.Errorf("%s, of the secret %s: %s", v.Name, v.Secret, why)
}
