package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// limitFlags are the flags about user secrets.
func limitFlags() []cli.Flag {
	def := keyserver.DefaultLimits()
	number := func(name string, value int64, usage string) cli.Flag {
		return &cli.Int64Flag{Name: name, Value: value, Usage: fmt.Sprintf("%s; else %d", usage, value)}
	}
	return []cli.Flag{
		number("max-secrets", int64(def.Secrets), "a user may have `N` secrets"),
		number("max-secret-size", def.EnvValue, "the value of a secret with an environment variable may have `BYTES`"),
		number("max-file-secret-size", def.FileValue, "the value of a secret with a file only may have `BYTES`"),
		number("max-secrets-env-total", def.EnvTotal, "all environment variables of a user may have `BYTES`: each its name, its value and 2"),
		number("max-secrets-total", def.Total, "all values of a user may have `BYTES`"),
		number("secret-versions", int64(def.Versions), "keep `N` versions of each value, the current one included"),
		&cli.StringSliceFlag{Name: "reserve-env", Usage: "no secret may have an environment variable of `NAME`, which may end in *; may be given again"},
	}
}

// limitsOf reads the flags about user secrets.
func limitsOf(c *cli.Context) (api.Limits, error) {
	for _, name := range []string{"max-secrets", "max-secret-size", "max-file-secret-size", "max-secrets-env-total", "max-secrets-total", "secret-versions"} {
		if n := c.Int64(name); n < 1 || n > 1<<30 {
			return api.Limits{}, usagef("flag --%s: %d: want 1 or more, and not over a GiB", name, n)
		}
	}
	for _, pattern := range c.StringSlice("reserve-env") {
		if err := keyserver.CheckReserved(pattern); err != nil {
			return api.Limits{}, usagef("flag --reserve-env: %s", text(err))
		}
	}
	limits, err := keyserver.CheckLimits(api.Limits{
		Secrets: int(c.Int64("max-secrets")), Versions: int(c.Int64("secret-versions")),
		EnvValue: c.Int64("max-secret-size"), FileValue: c.Int64("max-file-secret-size"),
		EnvTotal: c.Int64("max-secrets-env-total"), Total: c.Int64("max-secrets-total"),
	})
	if err != nil {
		return limits, usagef("serve: %s", text(err))
	}
	return limits, nil
}

// text is an error without its kind, which a usage error says by itself.
func text(err error) string {
	return strings.TrimSuffix(err.Error(), ": "+api.ErrInvalid.Error())
}
