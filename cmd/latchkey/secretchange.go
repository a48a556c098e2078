package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (p *program) secretCreate(c *cli.Context, s *session) error {
	name := c.Args().First()
	to, err := targetsGiven(c)
	if err != nil {
		return err
	}
	enabled := !c.Bool("disabled")
	if enabled && to.env == "" && to.file == "" {
		return withHint(usagef("secret create: where workspaces get it is missing"),
			"--env VARIABLE, --file FILE or both; with --disabled it is kept without")
	}
	value, ok, err := p.secretValue(c, name, true)
	if err != nil {
		return err
	}
	if !ok {
		return withHint(errors.New("there is no value: stdin is empty"), `for an empty value: --value ""`)
	}
	secret, err := s.CreateSecret(c.Context, api.Me, api.CreateSecretRequest{
		Name: name, Description: c.String("description"), EnvName: to.env, FilePath: to.file, Enabled: &enabled,
		Workspaces: flagWords(c, "workspace"), Labels: flagWords(c, "label"), SecretValue: api.NewSecretValue(value),
	})
	if err != nil {
		return s.taken(c.Context, err, "", name, to)
	}
	p.warnOfScope(c, s)
	return p.stored(c, secret, "is stored")
}

// changeFlags are the flags of update that change something but the value.
var changeFlags = []string{"description", "env", "file", "enabled", "workspace", "label"}

func (p *program) secretUpdate(c *cli.Context, s *session) error {
	name := c.Args().First()
	if c.IsSet("swap") {
		return p.secretSwap(c, s, name, c.String("swap"))
	}
	to, err := targetsGiven(c)
	if err != nil {
		return err
	}
	r := api.UpdateSecretRequest{
		Description: ifGiven(c, "description", c.String("description")),
		EnvName:     ifGiven(c, "env", to.env),
		FilePath:    ifGiven(c, "file", to.file),
		Enabled:     ifGiven(c, "enabled", c.Bool("enabled")),
		Workspaces:  ifGiven(c, "workspace", flagWords(c, "workspace")),
		Labels:      ifGiven(c, "label", flagWords(c, "label")),
	}
	asked := firstGiven(c, changeFlags) == ""
	if asked && isTerminal(p.stdin) {
		// Nobody should type a value for what is not there.
		if _, err := s.secret(c.Context, name); err != nil {
			return err
		}
	}
	value, ok, err := p.secretValue(c, name, asked)
	switch {
	case err != nil:
		return err
	case ok:
		r.SecretValue = api.NewSecretValue(value)
	case asked:
		return withHint(usagef("secret update: what to change is missing: no flag is given, and stdin is empty"),
			`"latchkey secret update --help" lists the flags; for an empty value: --value ""`)
	}
	secret, err := s.UpdateSecret(c.Context, api.Me, name, r)
	if err != nil {
		return s.taken(c.Context, s.noSecret(c.Context, err, name), name, name, to)
	}
	p.warnOfScope(c, s)
	what := "is changed"
	if ok {
		what = fmt.Sprintf("is changed: its value is version %d", secret.Version)
	}
	return p.stored(c, secret, what)
}

// secretSwap exchanges the targets of two secrets in one step, as no two
// secrets may have one target for a moment.
func (p *program) secretSwap(c *cli.Context, s *session, name, other string) error {
	if f := firstGiven(c, append([]string{"value"}, changeFlags...)); f != "" {
		return withHint(usagef("secret update: --swap and --%s exclude each other", f), "make it two commands")
	}
	a, err := s.secret(c.Context, name)
	if err != nil {
		return err
	}
	b, err := s.secret(c.Context, other)
	if err != nil {
		return err
	}
	if a.ID == b.ID {
		return usagef("secret update: %s can't be exchanged with itself", name)
	}
	// Whether a target is delivered goes with the target: a new value that was
	// kept aside takes the old one's place in the workspaces.
	list, err := s.UpdateSecrets(c.Context, api.Me, api.UpdateSecretsRequest{Secrets: []api.NamedUpdate{
		{Secret: a.Name, UpdateSecretRequest: api.UpdateSecretRequest{EnvName: &b.EnvName, FilePath: &b.FilePath, Enabled: &b.Enabled}},
		{Secret: b.Name, UpdateSecretRequest: api.UpdateSecretRequest{EnvName: &a.EnvName, FilePath: &a.FilePath, Enabled: &a.Enabled}},
	}})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return jsonList(p, list)
	}
	for _, secret := range list {
		p.note("the secret %s is changed; %s", secret.Name, destination(secret))
	}
	return nil
}

func (p *program) secretDelete(c *cli.Context, s *session) error {
	secret, err := s.secret(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	what := fmt.Sprintf("the secret %s is deleted for good, with all versions of its value, and taken out of your workspaces", secret.Name)
	if err := p.confirm(c.Bool("yes"), what); err != nil {
		return err
	}
	if err := s.DeleteSecret(c.Context, api.Me, secret.Name); err != nil {
		return s.noSecret(c.Context, err, secret.Name)
	}
	p.note("the secret %s is deleted", secret.Name)
	return nil
}

func (p *program) secretEnable(c *cli.Context, s *session) error  { return p.setEnabled(c, s, true) }
func (p *program) secretDisable(c *cli.Context, s *session) error { return p.setEnabled(c, s, false) }

func (p *program) setEnabled(c *cli.Context, s *session, enabled bool) error {
	name := c.Args().First()
	before, err := s.secret(c.Context, name)
	if err != nil {
		return err
	}
	secret, err := s.UpdateSecret(c.Context, api.Me, name, api.UpdateSecretRequest{Enabled: &enabled})
	if errors.Is(err, api.ErrInvalid) && targets(before) == "" {
		return withHint(err, fmt.Sprintf("say where workspaces get it: latchkey secret update %s --enabled --env VARIABLE, or --file FILE", quoted(name)))
	}
	if err != nil {
		return s.noSecret(c.Context, err, name)
	}
	if enabled {
		return p.stored(c, secret, "is enabled")
	}
	p.note("the secret %s is disabled, and taken out of your workspaces", secret.Name)
	return nil
}

func (p *program) secretRename(c *cli.Context, s *session) error {
	name, renamed := c.Args().Get(0), c.Args().Get(1)
	secret, err := s.UpdateSecret(c.Context, api.Me, name, api.UpdateSecretRequest{Name: &renamed})
	if err != nil {
		return s.taken(c.Context, s.noSecret(c.Context, err, name), name, renamed, secretTargets{})
	}
	p.note("the secret %s is %s now; %s", name, secret.Name, destination(secret))
	return nil
}
