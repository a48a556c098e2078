package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace"
)

// given is what this workspace's programs are given.
type given struct {
	workspace.SecretState
	daemon string // the runtime directory of the daemon that said so; "": the server did
}

// secretsTimeout is how long a program's start waits for the secrets.
const secretsTimeout = 30 * time.Second

// givenSecrets asks the daemon, and without one the server.
func givenSecrets(ctx context.Context) (given, error) {
	g, err := secretsOfDaemon(ctx)
	if err != nil && workspace.NotRunning(err) {
		return secretsOfServer(ctx)
	}
	return g, err
}

func secretsOfDaemon(ctx context.Context) (given, error) {
	ctx, cancel := context.WithTimeout(ctx, secretsTimeout)
	defer cancel()
	dir, err := workspace.RuntimeDir(os.Getenv)
	if err != nil {
		return given{}, err
	}
	state, err := workspace.Secrets(ctx, dir)
	return given{state, dir}, err
}

func secretsOfServer(ctx context.Context) (given, error) {
	ctx, cancel := context.WithTimeout(ctx, secretsTimeout)
	defer cancel()
	credentials, err := workspace.LoadCredentials(workspace.CredentialsConfig{Getenv: os.Getenv})
	if errors.Is(err, workspace.ErrNoToken) {
		return given{}, withHint(errors.New("no workspace daemon runs, and no workspace token is set"),
			`start it: "latchkey agent &"; or set LATCHKEY_TOKEN_FILE`)
	}
	if err != nil {
		return given{}, err
	}
	defer credentials.Close()
	client, err := credentials.Client()
	if err != nil {
		return given{}, err
	}
	defer client.Close()
	state, err := workspace.FetchSecrets(ctx, client)
	return given{state, ""}, err
}

// known is why the secrets are not to be had, nil if they are. That there are none
// must not be taken for that nobody knows.
func (g given) known() error {
	if g.Known {
		return nil
	}
	why := g.Notice
	if why == "" {
		why = "the workspace daemon has not heard of any"
	}
	hint := `"latchkey status" says more`
	if !g.Refused { // which no cache mends
		hint += "; a daemon that is run with --secret-cache has them from a start without the server, too"
	}
	return withHint(fmt.Errorf("the secrets are not to be had: %s", why), hint)
}

// only picks the variables that have one of the names, or are of a secret that
// has; without names, all.
func (g given) only(names []string) (picked []workspace.Variable, err error) {
	if len(names) == 0 {
		return g.Variables, nil
	}
	var known []string
	for _, v := range g.Variables {
		known = append(known, v.Name, v.Secret)
		if slices.Contains(names, v.Name) || slices.Contains(names, v.Secret) {
			picked = append(picked, v)
		}
	}
	for _, f := range g.Files { // nothing to pick, but --watch looks at it
		known = append(known, f.Secret)
	}
	unknown := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.Contains(known, name) || slices.ContainsFunc(g.Missing, func(m api.Requirement) bool { return m.EnvName == name })
	})
	if len(unknown) > 0 {
		return nil, unknownSecrets(unknown, known)
	}
	return picked, nil
}

func unknownSecrets(names, known []string) error {
	err := fmt.Errorf("this workspace is given no variable, and no secret for one, of the name %s", strings.Join(names, ", "))
	if near := nearest(names[0], known); near != "" {
		return withHint(err, "there is "+near)
	}
	return withHint(err, "there is "+listed(known))
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none at all"
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// missing lists what the workspace needs, is not given, and is among the names
// if there are any.
func (g given) missing(names []string) (missing []api.Requirement) {
	for _, m := range g.Missing {
		if len(names) == 0 || slices.Contains(names, m.EnvName) {
			missing = append(missing, m)
		}
	}
	return missing
}
