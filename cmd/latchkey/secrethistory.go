package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (p *program) secretHistory(c *cli.Context, s *session) error {
	name := c.Args().First()
	list, err := s.SecretVersions(c.Context, api.Me, name)
	if err != nil {
		return s.noSecret(c.Context, err, name)
	}
	if c.Bool("json") {
		return jsonList(p, list)
	}
	var rows [][]string
	for _, v := range list {
		rows = append(rows, []string{strconv.FormatInt(v.Version, 10), plural(int(v.Size), "byte"), humane(v.CreatedAt, time.Now()), remark(v)})
	}
	return p.table("VERSION\tSIZE\tSTORED\tREMARK", rows)
}

func remark(v api.SecretVersion) string {
	switch {
	case v.Current && v.RolledBackTo > 0:
		return fmt.Sprintf("current; repeats version %d", v.RolledBackTo)
	case v.Current:
		return "current"
	case v.RolledBackTo > 0:
		return fmt.Sprintf("repeats version %d", v.RolledBackTo)
	}
	return ""
}

func (p *program) secretRollback(c *cli.Context, s *session) error {
	name := c.Args().First()
	to := c.Int64("to")
	if c.IsSet("to") && to < 1 {
		return usagef("flag --to: versions count from 1")
	}
	versions, err := s.SecretVersions(c.Context, api.Me, name)
	if err != nil {
		return s.noSecret(c.Context, err, name)
	}
	// What is confirmed is what comes to be, whatever others do meanwhile.
	target, err := rollbackTarget(versions, to)
	if err != nil {
		return withHint(fmt.Errorf("secret %s: %w", name, err), fmt.Sprintf(`"latchkey secret history %s" lists the versions that are kept`, quoted(name)))
	}
	what := fmt.Sprintf("the value of the secret %s becomes that of version %d again, stored %s", name, target.Version, humane(target.CreatedAt, time.Now()))
	if err := p.confirm(c.Bool("yes"), what); err != nil {
		return err
	}
	secret, err := s.RollbackSecret(c.Context, api.Me, name, api.RollbackSecretRequest{Version: target.Version})
	if err != nil {
		return s.noSecret(c.Context, err, name)
	}
	return p.stored(c, secret, fmt.Sprintf("has the value of version %d again, as version %d", target.Version, secret.Version))
}

// rollbackTarget finds a version; 0 is the one before the current one.
func rollbackTarget(versions []api.SecretVersion, to int64) (api.SecretVersion, error) {
	behind := false
	for _, v := range versions { // newest first
		switch {
		case to > 0 && v.Version == to && v.Current:
			return v, fmt.Errorf("version %d is the current one", to)
		case to > 0 && v.Version == to, to == 0 && behind:
			return v, nil
		}
		behind = behind || v.Current
	}
	if to == 0 {
		return api.SecretVersion{}, errors.New("there is no earlier version")
	}
	return api.SecretVersion{}, fmt.Errorf("there is no version %d", to)
}
