package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/workspace"
)

// exitRun is the exit status of run when latchkey itself fails, as env(1) has
// it: CMD may use all below.
const exitRun = 125

func (p *program) runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "run a program with your secrets in its environment",
		ArgsUsage: "-- CMD [ARG...]",
		Description: `CMD takes the place of latchkey: its exit status, signals and terminal are its own. A secret
wins over a variable that is already set. Nothing in a value is expanded.

  latchkey run -- npm test
  latchkey run --only NPM_TOKEN --strict -- npm publish
  latchkey run --watch -- ./server       # again, when a secret changes
  latchkey run --mask -- ./deploy.sh     # its output shows [secret NAME] for a value

With --watch or --mask, latchkey stays and runs CMD as its child. The environment of a program
that runs can't be changed: --signal is for one that reads secrets from files.

Exits with 127 if there is no CMD, 126 if it can't be run, and 125 if the secrets are not to be had.`,
		Flags: []cli.Flag{
			onlyFlag(),
			&cli.BoolFlag{Name: "strict", Usage: "do not start if a secret that the workspace needs is missing"},
			&cli.BoolFlag{Name: "pristine", Usage: "pass on no other variables"},
			&cli.BoolFlag{Name: "watch", Usage: "start CMD again when its secrets change"},
			&cli.GenericFlag{Name: "signal", Value: new(signalName), Usage: "with --watch, send `SIGNAL` to CMD instead, such as HUP"},
			&cli.BoolFlag{Name: "mask", Usage: "hide values in what CMD prints"},
		},
		Action: func(c *cli.Context) error {
			r := &runner{
				program: p, only: c.StringSlice("only"),
				strict: c.Bool("strict"), pristine: c.Bool("pristine"),
				watch: c.Bool("watch"), mask: c.Bool("mask"), signal: syscall.Signal(*c.Generic("signal").(*signalName)),
				words: c.Args().Slice(),
			}
			if r.signal != 0 && !r.watch {
				return withHint(usagef("run: --signal says what to do when secrets change"), "add --watch")
			}
			return explainWorkspace(r.run(c.Context))
		},
	}
}

func onlyFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "only", Usage: "take these alone: `NAME,...` of variables or secrets"}
}

// A runner is one "latchkey run".
type runner struct {
	*program
	only                          []string
	strict, pristine, watch, mask bool
	signal                        syscall.Signal // 0: start again
	words                         []string       // CMD and its arguments

	given given
	path  string // of CMD
}

func (r *runner) run(ctx context.Context) error {
	shield()
	ask := givenSecrets
	if r.watch {
		ask = secretsOfDaemon
	}
	var err error
	switch r.given, err = ask(ctx); {
	case err != nil && r.watch && workspace.NotRunning(err):
		return &statusError{withHint(errors.New("no workspace daemon runs, which would tell of changes"), "latchkey agent &"), exitRun}
	case err != nil:
		return &statusError{explainWorkspace(err), exitRun}
	}
	if err := r.given.known(); err != nil {
		return &statusError{err, exitRun}
	}
	if r.given.Notice != "" {
		r.message("warning", r.given.Notice)
	}
	vars, err := r.given.only(r.only)
	if err == nil {
		err = r.checkMissing()
	}
	if err != nil {
		return &statusError{err, exitRun}
	}
	if r.path, err = findProgram(r.words[0], os.Getenv("PATH")); err != nil {
		return err
	}
	if r.watch || r.mask {
		return r.supervise(ctx, vars)
	}
	env := r.environ(vars)
	err = become(r.path, r.words, env)
	return notRun(r.words[0], err, env, vars)
}

// environ is CMD's environment. The workspace token stays here.
func (r *runner) environ(vars []workspace.Variable) []string {
	if r.pristine {
		return workspace.Environ(nil, vars)
	}
	return workspace.Environ(withoutToken(os.Environ()), vars)
}

func withoutToken(env []string) []string {
	return slices.DeleteFunc(env, func(v string) bool {
		return strings.HasPrefix(v, "LATCHKEY_TOKEN=") || strings.HasPrefix(v, "LATCHKEY_TOKEN_FD=")
	})
}

// checkMissing tells of what the workspace needs and is not given: an error if
// that was asked for.
func (r *runner) checkMissing() error {
	missing := r.given.missing(r.only)
	if len(missing) == 0 {
		return nil
	}
	var list []string
	for _, m := range missing {
		what := m.EnvName + m.FilePath
		if m.Help != "" {
			what += ": " + m.Help
		}
		list = append(list, what)
	}
	if !r.strict {
		r.message("warning", fmt.Sprintf("%s that this workspace needs %s missing: %s", plural(len(list), "secret"), isAre(len(list)), strings.Join(list, "; ")))
		return nil
	}
	for _, what := range list {
		r.message("missing", what)
	}
	return withHint(fmt.Errorf("%s that this workspace needs %s missing", plural(len(list), "secret"), isAre(len(list))),
		"store them on the key server; they arrive here within a second")
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// A signalName is a flag's value: HUP, or SIGHUP.
type signalName syscall.Signal

var signalNames = map[string]syscall.Signal{
	"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM,
	"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "WINCH": syscall.SIGWINCH, "CONT": syscall.SIGCONT,
}

func (v *signalName) Set(s string) error {
	number, ok := signalNames[strings.TrimPrefix(strings.ToUpper(s), "SIG")]
	if !ok {
		return fmt.Errorf("want one of %s", strings.Join(v.all(), ", "))
	}
	*v = signalName(number)
	return nil
}

func (v *signalName) String() string {
	for name, number := range signalNames {
		if number == syscall.Signal(*v) {
			return name
		}
	}
	return ""
}

func (v *signalName) all() (names []string) {
	for name := range signalNames {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
