package keyserver

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/keyserver/importfile"
)

// importSecrets makes a secret of each entry of a file. One whose name can be
// an environment variable becomes one; another is kept disabled, for the user
// to give it a target.
func (s *Server) importSecrets(ctx context.Context, c *call, in api.ImportSecretsRequest) ([]api.Secret, error) {
	const message = "the secrets can't be imported"
	entries, err := parseImport(message, in)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, e := range entries {
			clear(e.Value)
		}
	}()
	d, err := s.changeSecrets(ctx, c, message, func(d *draft) error {
		names := make([]string, len(entries))
		for i, e := range entries {
			names[i] = e.Name
			one := api.CreateSecretRequest{Name: e.Name, EnvName: e.Name}
			if api.CheckEnvName(e.Name, s.reservedEnv...) != nil {
				off := false
				one.EnvName, one.Enabled = "", &off
			}
			value := e.Value
			if value == nil {
				value = []byte{}
			}
			s.newSecret(d, fmt.Sprintf("secrets[%d].", i), one, value)
		}
		d.event.Detail = bounded(fmt.Sprintf("%d secrets", len(entries)), names)
		return nil
	})
	if err != nil {
		return nil, withLines(err, entries)
	}
	return wireAll(d.edited(), wireSecret), nil
}

// parseImport reads the file that is to be imported.
func parseImport(message string, in api.ImportSecretsRequest) ([]importfile.Entry, error) {
	var p problems
	switch in.Format {
	case api.Dotenv, api.JSON, api.YAML:
	default:
		p.add("format", "must be %s, %s or %s", api.Dotenv, api.JSON, api.YAML)
		return nil, p.err(message)
	}
	entries, err := importfile.Parse(string(in.Format), []byte(in.Content))
	var bad *importfile.Error
	switch {
	case errors.As(err, &bad):
		for _, b := range bad.Problems {
			p.add("content", "%s%s", place(b.Line, b.Key), b.Detail)
		}
		p.todo = "nothing was imported"
		return nil, p.err(message)
	case err != nil:
		return nil, fmt.Errorf("reading a file of secrets: %w", err)
	case len(entries) == 0:
		p.add("content", "holds no secrets")
	}
	return entries, p.err(message)
}

// withLines says of each problem where in the file it is.
func withLines(err error, entries []importfile.Entry) error {
	var e *api.Error
	if !errors.As(err, &e) {
		return err
	}
	for i, v := range e.Validations {
		var n int
		if _, err := fmt.Sscanf(v.Field, "secrets[%d].", &n); err == nil && n < len(entries) {
			e.Validations[i].Detail = place(entries[n].Line, entries[n].Name) + v.Detail
		}
	}
	return err
}

// place is where a problem is: "line 3, API_KEY: ".
func place(line int, key string) string {
	switch {
	case line > 0 && key != "":
		return fmt.Sprintf("line %d, %s: ", line, shown(key))
	case line > 0:
		return fmt.Sprintf("line %d: ", line)
	case key != "":
		return shown(key) + ": "
	}
	return ""
}
