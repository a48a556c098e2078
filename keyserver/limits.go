package keyserver

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/keyserver/api"
)

// kernelEnv is what Linux takes of one environment variable, as NAME=VALUE and
// a NUL: MAX_ARG_STRLEN in linux/binfmts.h. With a longer one no program starts.
const kernelEnv = 131072

// DefaultLimits are those of a server that is told no others.
func DefaultLimits() api.Limits {
	return api.Limits{Secrets: 200, EnvValue: 64 << 10, FileValue: 1 << 20, EnvTotal: 512 << 10, Total: 4 << 20, Versions: 10}
}

// CheckLimits puts the default in the place of each 0, and refuses what can't
// work: all of a user's secrets travel in one answer, all variables to one
// program, and one value in one request.
func CheckLimits(l api.Limits) (api.Limits, error) {
	def := DefaultLimits()
	l.Secrets = cmp.Or(l.Secrets, def.Secrets)
	l.Versions = cmp.Or(l.Versions, def.Versions)
	l.EnvValue = cmp.Or(l.EnvValue, def.EnvValue)
	l.FileValue = cmp.Or(l.FileValue, def.FileValue)
	l.EnvTotal = cmp.Or(l.EnvTotal, def.EnvTotal)
	l.Total = cmp.Or(l.Total, def.Total)
	for _, c := range []struct {
		what             string
		n, least, atMost int64
	}{
		{"secrets of a user", int64(l.Secrets), 1, 1000},
		{"versions of a value", int64(l.Versions), 1, 100},
		{"bytes of a value with an environment variable", l.EnvValue, 1, kernelEnv - 3},
		{"bytes of all variables of a user", l.EnvTotal, 1, 1 << 20},
		{"bytes of a value in a file", l.FileValue, 1, 5 << 20},
		{"bytes of all values of a user", l.Total, 1, 8 << 20},
	} {
		if c.n < c.least || c.n > c.atMost {
			return l, fmt.Errorf("a limit of %d %s: %d to %d are possible: %w", c.n, c.what, c.least, c.atMost, api.ErrInvalid)
		}
	}
	return l, nil
}

// CheckReserved checks a pattern of [Config].ReservedEnv.
func CheckReserved(pattern string) error {
	name := strings.TrimSuffix(pattern, "*")
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !strings.ContainsRune(envLetters, r) }) {
		return fmt.Errorf("%q is no pattern of environment variables, such as CI_TOKEN or CI_*: %w", pattern, api.ErrInvalid)
	}
	return nil
}

const envLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

func (s *Server) showLimits(context.Context, *call, none) (api.Limits, error) { return s.limits, nil }
