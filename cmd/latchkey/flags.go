package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A duration is a flag's value: what time.ParseDuration takes, and whole days
// as in 30d.
type duration time.Duration

func (d *duration) Set(s string) error {
	v, err := parseDuration(s)
	*d = duration(v)
	return err
}

func (d *duration) String() string { return time.Duration(*d).String() }

// maxDuration keeps what is meant as a time to live within what servers and
// their databases can store.
const maxDuration = 100 * 365 * 24 * time.Hour

func parseDuration(s string) (time.Duration, error) {
	v, err := parsePreciseDuration(s)
	if err == nil && v%time.Second != 0 {
		return 0, errors.New("want whole seconds")
	}
	return v, err
}

// parsePreciseDuration takes parts of seconds too.
func parsePreciseDuration(s string) (time.Duration, error) {
	v, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		v = time.Duration(min(max(n, -1), 40_000)) * 24 * time.Hour
	}
	switch {
	case err != nil:
		return 0, errors.New("want a duration such as 90m, 24h or 30d")
	case v < 0:
		return 0, errors.New("want a duration from now on, not one back")
	case v > maxDuration:
		return 0, errors.New("want at most 100 years")
	}
	return v, nil
}

// A preciseDuration may have parts of seconds.
type preciseDuration time.Duration

func (d *preciseDuration) Set(s string) error {
	v, err := parsePreciseDuration(s)
	*d = preciseDuration(v)
	return err
}

func (d *preciseDuration) String() string { return time.Duration(*d).String() }

func durationFlag(name, usage string) cli.Flag {
	return &cli.GenericFlag{Name: name, Usage: usage, Value: new(duration)}
}

// seconds is the value of a duration flag; 0 if it was not given.
func seconds(c *cli.Context, name string) int64 {
	return int64(time.Duration(*c.Generic(name).(*duration)).Seconds())
}

// A choice is a flag's value that must be one of a few.
type choice[T ~string] struct {
	value   T
	choices []T
}

func (v *choice[T]) Set(s string) error {
	for _, c := range v.choices {
		if string(c) == s {
			v.value = c
			return nil
		}
	}
	return fmt.Errorf("want one of %s", strings.Join(v.all(), ", "))
}

func (v *choice[T]) String() string { return string(v.value) }

func (v *choice[T]) all() (all []string) {
	for _, c := range v.choices {
		all = append(all, string(c))
	}
	return all
}

func chosen[T ~string](c *cli.Context, name string) T { return c.Generic(name).(*choice[T]).value }

func newAlgorithm() *choice[api.Algorithm] {
	return &choice[api.Algorithm]{choices: []api.Algorithm{api.Ed25519, api.ECDSA, api.RSA}}
}

func newRole() *choice[api.Role] {
	return &choice[api.Role]{choices: []api.Role{api.RoleUser, api.RoleAdmin, api.RoleProvisioner, api.RoleAuditor}}
}

// The flags that several commands share.

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print JSON"} }

func yesFlag() cli.Flag {
	return &cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do it without asking, as it takes where stdin is no terminal"}
}

func userFlag() cli.Flag {
	return &cli.StringFlag{Name: "user", Value: api.Me, Usage: "those of `USER`, which takes the role for it"}
}

func algorithmFlag(otherwise string) cli.Flag {
	return &cli.GenericFlag{Name: "algorithm", Value: newAlgorithm(), Usage: "make an `ALGORITHM` key: ed25519, ecdsa-p256 or rsa4096; else " + otherwise}
}

func expiresFlag(otherwise string) cli.Flag {
	return durationFlag("expires", "the token is good for `DURATION`, such as 24h or 30d; else "+otherwise)
}

func keepOldFlag() cli.Flag {
	return durationFlag("keep-old", "go on offering the replaced key for `DURATION`, such as 24h; else it ends at once")
}

func tokenFileFlag() cli.Flag {
	return &cli.PathFlag{Name: "token-file", Usage: "write the token to `FILE` (0600) rather than to stdout"}
}

func descriptionFlag() cli.Flag {
	return &cli.StringFlag{Name: "description", Usage: "`TEXT` that tells the token from others in lists"}
}
