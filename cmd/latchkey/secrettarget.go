package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

// secretTargets are the ways in which a secret is delivered; "": not that way.
type secretTargets struct{ env, file string }

// targetsGiven is what --env and --file say. What no server would take is told
// before a value is read.
func targetsGiven(c *cli.Context) (t secretTargets, err error) {
	if !utf8.ValidString(c.String("description")) { // JSON would change it
		return t, usagef("flag --description: it is not valid UTF-8")
	}
	if t.env = c.String("env"); t.env != "" {
		if err := checkEnv("--env", t.env); err != nil {
			return t, err
		}
	}
	t.file, err = fileTarget("--file", c.Path("file"))
	return t, err
}

func checkEnv(flag, name string) error {
	if err := api.CheckEnvName(name); err != nil {
		return withHint(usagef("flag %s: %v", flag, err), "a variable looks like API_KEY")
	}
	return nil
}

// fileTarget is a path as the server knows it. The shell has made of ~ the home
// of this machine: what lies below it lies below each workspace's home.
func fileTarget(flag, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	if !strings.HasPrefix(path, "~/") && !filepath.IsAbs(path) {
		hint := "it begins with / or ~/"
		if absolute, err := filepath.Abs(path); err == nil {
			hint = flag + " " + quoted(absolute)
		}
		return "", withHint(usagef("flag %s: %s is relative, and workspaces start elsewhere", flag, path), hint)
	}
	if home, err := os.UserHomeDir(); err == nil {
		if filepath.Clean(path) == filepath.Clean(home) {
			return "", withHint(usagef("flag %s: %s is your home directory, not a file", flag, path), "a file looks like ~/.config/tool/config.json")
		}
		path = api.HomePath(path, home)
	}
	if err := api.CheckFilePath(path); err != nil {
		return "", withHint(usagef("flag %s: %s: %v", flag, path, err), "a file looks like ~/.config/tool/config.json")
	}
	return path, nil
}

// taken adds to a conflict which secret has what was asked for: the name, the
// variable or the file. self is the secret that was to be changed.
func (s *session) taken(ctx context.Context, err error, self, name string, to secretTargets) error {
	if !errors.Is(err, api.ErrConflict) {
		return err
	}
	list, lerr := s.Secrets(ctx, api.Me)
	if lerr != nil {
		return err
	}
	for _, secret := range list {
		other := quoted(secret.Name)
		switch {
		case secret.Name == self:
		case secret.Name == name:
			return withHint(err, fmt.Sprintf(`"latchkey secret update %s" changes it; else choose another name`, other))
		case to.env != "" && secret.EnvName == to.env:
			return withHint(err, fmt.Sprintf("%s is the variable of the secret %s; to free it: latchkey secret update %[2]s --env ''", to.env, other))
		case to.file != "" && secret.FilePath == to.file:
			return withHint(err, fmt.Sprintf("%s is the file of the secret %s; to free it: latchkey secret update %[2]s --file ''", to.file, other))
		}
	}
	return err
}

// warnOfScope says which of the workspaces that were named are not there. They
// may come: a secret may be older than its workspace.
func (p *program) warnOfScope(c *cli.Context, s *session) {
	wanted := flagWords(c, "workspace")
	if len(wanted) == 0 {
		return
	}
	list, err := s.Workspaces(c.Context, api.Me)
	if err != nil {
		return // what was asked for is done
	}
	var names []string
	for _, w := range list {
		names = append(names, w.Name)
	}
	for _, w := range wanted {
		if !slices.Contains(names, w) {
			p.warn(notFound(fmt.Errorf("there is no workspace %s so far", w), w, names, "latchkey workspace list"))
		}
	}
}
