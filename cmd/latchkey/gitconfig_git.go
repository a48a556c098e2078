package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// A gitScope is the flag of "git config" that says which file is meant.
type gitScope string

// recordSetting holds what was set, "name=value" each, beside it: so that it can
// be undone, and nothing else is.
const recordSetting = "latchkey.gitConfig"

// setGitConfig sets what is not set. It changes nothing if something of the
// user's is in the way.
func (p *program) setGitConfig(ctx context.Context, scope gitScope, settings []gitSetting) error {
	if err := noSigningKey(ctx); err != nil {
		return err
	}
	record, err := scope.all(ctx, recordSetting)
	if err != nil {
		return err
	}
	var changes, inTheWay []gitSetting
	old := map[string]string{}
	for _, s := range settings {
		values, err := scope.all(ctx, s.name)
		if err != nil {
			return err
		}
		switch have := last(values); {
		case len(values) == 0:
			changes = append(changes, s)
		case sameValue(have, s.value):
		case slices.Contains(record, s.name+"="+have): // latchkey was elsewhere then
			old[s.name] = have
			changes = append(changes, s)
		case s.name == allowedSignersSetting:
			p.note("%s = %s stays as it is: add there what %q prints", s.name, have, "latchkey allowed-signers")
		default:
			inTheWay = append(inTheWay, gitSetting{s.name, have})
		}
	}
	if len(inTheWay) > 0 {
		return withHint(fmt.Errorf("nothing was changed: you have set %s yourself", listSettings(inTheWay)),
			fmt.Sprintf("if you don't want it any more: git config %s --unset %s", scope, inTheWay[0].name))
	}
	for _, s := range changes {
		p.note("git config %s %s %s", scope, s.name, shellWord(s.value))
	}
	for _, s := range changes {
		if err := scope.set(ctx, s, old[s.name]); err != nil {
			return err
		}
	}
	return nil
}

// set records a setting and makes it, in this order: what is recorded and not
// there is no harm.
func (scope gitScope) set(ctx context.Context, s gitSetting, old string) error {
	if old != "" {
		if err := scope.drop(ctx, gitSetting{recordSetting, s.name + "=" + old}); err != nil {
			return err
		}
	}
	if _, err := scope.git(ctx, "--add", recordSetting, s.name+"="+s.value); err != nil {
		return err
	}
	_, err := scope.git(ctx, s.name, s.value)
	return err
}

// unsetGitConfig undoes what setGitConfig has set and nobody has changed since.
func (p *program) unsetGitConfig(ctx context.Context, scope gitScope) error {
	record, err := scope.all(ctx, recordSetting)
	if err != nil {
		return err
	}
	if len(record) == 0 {
		return withHint(fmt.Errorf("nothing is set by latchkey in git's %s configuration", strings.TrimLeft(string(scope), "-")), "--global and --local are two files")
	}
	for _, entry := range record {
		name, value, _ := strings.Cut(entry, "=")
		values, err := scope.all(ctx, name)
		switch {
		case err != nil:
			return err
		case slices.Contains(values, value):
			p.note("git config %s --unset %s", scope, name)
			if err := scope.drop(ctx, gitSetting{name, value}); err != nil {
				return err
			}
		case len(values) > 0:
			p.note("%s = %s stays: it was changed since", name, last(values))
		}
	}
	_, err = scope.git(ctx, "--unset-all", recordSetting)
	return err
}

// noSigningKey refuses a user.signingKey, wherever it is: git would use it, and
// ask for no other.
func noSigningKey(ctx context.Context) error {
	values, err := gitScope("").all(ctx, "user.signingKey")
	if err != nil || len(values) == 0 {
		return err
	}
	return withHint(fmt.Errorf("nothing was changed: git signs with your own key, user.signingKey = %s", last(values)),
		`"git config --show-origin user.signingKey" says where it is set; once it is unset, try again`)
}

// all are the values of a variable, none if it is not set.
func (scope gitScope) all(ctx context.Context, name string) (values []string, err error) {
	out, err := scope.git(ctx, "--null", "--get-all", name)
	var exit *exec.ExitError
	const notSet = 1 // git-config(1)
	if errors.As(err, &exit) && exit.ExitCode() == notSet {
		return nil, nil
	}
	for value := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		values = append(values, value)
	}
	return values, err
}

// drop removes a value of a variable.
func (scope gitScope) drop(ctx context.Context, s gitSetting) error {
	_, err := scope.git(ctx, "--fixed-value", "--unset-all", s.name, s.value)
	return err
}

func (scope gitScope) git(ctx context.Context, args ...string) (string, error) {
	words := []string{"config"}
	if scope != "" {
		words = append(words, string(scope))
	}
	cmd := exec.CommandContext(ctx, "git", append(words, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("git %s: %w", strings.Join(append(words, args[0]), " "), err)
		if said := strings.TrimSpace(stderr.String()); said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
	}
	return string(out), err
}

// sameValue knows git's words for true.
func sameValue(have, want string) bool {
	if want == "true" {
		return slices.Contains([]string{"true", "yes", "on", "1"}, strings.ToLower(have))
	}
	return have == want
}

func listSettings(settings []gitSetting) string {
	var list []string
	for _, s := range settings {
		list = append(list, s.name+" = "+s.value)
	}
	return strings.Join(list, ", ")
}

func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// shellWord is a value as it is typed.
func shellWord(value string) string {
	if strings.ContainsAny(value, " '\"\\$`") {
		return shellSh.quote(value)
	}
	return value
}
