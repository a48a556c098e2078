package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/internal/scan"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/workspace"
)

func (p *program) scanCommand() *cli.Command {
	return &cli.Command{
		Name:      "scan",
		Usage:     "find your secrets' values in files or commits",
		ArgsUsage: "[PATH...]",
		Description: `Looks for the values of your own secrets in the work tree, or below each PATH, and exits
with 1 if there is one. In a git work tree it leaves out what git ignores. As a
pre-commit hook:

  printf '#!/bin/sh\nexec latchkey scan --staged\n' > .git/hooks/pre-commit
  chmod +x .git/hooks/pre-commit

In a workspace, its daemon looks for the values it delivers, also as a part of a word, in
base64, hex, URL and JSON forms. The key server looks for all of your secrets that are not
limited to other workspaces, or, without a daemon, for all of them: it gets salted hashes of
the words, lines and quoted strings of 8 bytes or more, and no file. No value leaves either
of them.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "staged", Usage: "look into what the next commit would bring"},
			&cli.StringFlag{Name: "range", Usage: "look into what the commits of `RANGE`, such as main..HEAD, have brought"},
			jsonFlag(),
		},
		Action: p.scan,
	}
}

// A scanReport is the form of "latchkey scan --json".
type scanReport struct {
	Files    int            `json:"files"` // looked into
	Findings []scan.Finding `json:"findings"`
	Skipped  []scan.Skipped `json:"skipped"`
}

func (p *program) scan(c *cli.Context) error {
	paths, staged, revisions := c.Args().Slice(), c.Bool("staged"), c.String("range")
	switch {
	case staged && c.IsSet("range"):
		return usagef("scan: --staged and --range are two things to look into: give one")
	case (staged || c.IsSet("range")) && len(paths) > 1:
		return usagef("scan: with --staged or --range, give one PATH, in the repository")
	case len(paths) == 0:
		paths = []string{"."}
	}
	sides, err := p.scanSides(c.Context)
	if err != nil {
		return err
	}
	defer sides.close()
	report := scanReport{Skipped: []scan.Skipped{}}
	walk := scan.Walk{
		Add: func(f scan.File) error {
			report.Files++
			return sides.scanner.Add(c.Context, f)
		},
		Skip: func(s scan.Skipped) { report.Skipped = append(report.Skipped, s) },
	}
	for _, path := range paths {
		switch {
		case staged:
			err = walk.Staged(c.Context, path)
		case c.IsSet("range"):
			err = walk.Range(c.Context, path, revisions)
		default:
			err = walk.Tree(c.Context, path)
		}
		if err != nil {
			return sides.explain(fmt.Errorf("scanning %s: %w", path, err))
		}
	}
	if report.Findings, err = sides.scanner.Findings(c.Context); err != nil {
		return sides.explain(fmt.Errorf("scanning: %w", err))
	}
	return p.showScan(report, c.Bool("json"))
}

func (p *program) showScan(r scanReport, asJSON bool) error {
	var err error
	if asJSON {
		err = p.json(r)
	} else {
		err = p.printFindings(r)
	}
	secrets := map[string]bool{}
	for _, f := range r.Findings {
		secrets[f.Secret] = true
	}
	switch {
	case err != nil:
		return err
	case len(r.Findings) > 0:
		return withHint(fmt.Errorf("%s of %s in %s", plural(len(r.Findings), "place"), plural(len(secrets), "secret"), plural(r.Files, "file")),
			"take the value out; if others may have seen it, make a new one where it is from, then: latchkey secret update NAME")
	case len(r.Skipped) > 0:
		return fmt.Errorf("no secret was found, but %s could not be looked into", plural(len(r.Skipped), "file"))
	}
	if !asJSON {
		p.note("no secret in %s", plural(r.Files, "file"))
	}
	return nil
}

// printFindings prints a line for each finding, as compilers do, so that editors
// find the place.
func (p *program) printFindings(r scanReport) error {
	for _, s := range r.Skipped {
		p.warn(fmt.Errorf("%s was not looked into: %s", s.File, s.Why))
	}
	for _, f := range r.Findings {
		in := ""
		if f.Commit != "" {
			in = ", in commit " + f.Commit[:min(12, len(f.Commit))]
		}
		if err := p.print("%s:%d: the value of secret %s%s\n", printable(f.File), f.Line, printable(f.Secret), in); err != nil {
			return err
		}
	}
	return nil
}

// scanSides are who has the values: the daemon, the server, or both.
type scanSides struct {
	scanner *scan.Scanner
	login   *login // whom the server is asked as; nil: the daemon asks
	close   func()
}

// scanSides finds the workspace daemon, else the user's login.
func (p *program) scanSides(ctx context.Context) (*scanSides, error) {
	dir, err := workspace.RuntimeDir(os.Getenv)
	if err != nil {
		return nil, explainWorkspace(err)
	}
	if daemon, err := workspace.NewScanner(dir); err == nil {
		// The connection is made by the first request.
		if _, err := daemon.Scan(ctx, bytes.NewReader(nil)); err == nil {
			p.tellLess(ctx, dir)
			return p.daemonSide(daemon), nil
		} else if !workspace.NotRunning(err) {
			daemon.Close()
			return nil, explainWorkspace(err)
		}
		daemon.Close()
	} else if !workspace.NotRunning(err) {
		return nil, explainWorkspace(err)
	}
	s, err := p.session()
	if errors.Is(err, errNoLogin) {
		return nil, withHint(errors.New("neither a workspace daemon runs here, nor are you logged in: nobody knows your secrets"), `"latchkey agent &" in a workspace, "latchkey login URL" elsewhere`)
	}
	if err != nil {
		return nil, err
	}
	return &scanSides{
		scanner: &scan.Scanner{Hashes: func(ctx context.Context, r api.ScanRequest) ([]api.ScanMatch, error) {
			return s.ScanSecrets(ctx, api.Me, r)
		}},
		login: &s.login,
		close: s.Close,
	}, nil
}

// tellLess warns if the daemon has no secrets to look for: nothing found says
// little then.
func (p *program) tellLess(ctx context.Context, dir string) {
	if state, err := workspace.Status(ctx, dir); err == nil && state.Secrets.Notice != "" {
		p.warn(withHint(errors.New(state.Secrets.Notice), "what is not given to this workspace is not found: scan where you are logged in and no daemon runs"))
	}
}

// daemonSide asks the daemon for the values that it delivers, and through it the
// server. While that is away the daemon's own are better than nothing, and said
// to be no more than that.
func (p *program) daemonSide(daemon *workspace.Scanner) *scanSides {
	var away bool
	return &scanSides{close: daemon.Close, scanner: &scan.Scanner{
		Values: func(ctx context.Context, content []byte) ([]scan.Hit, error) {
			matches, err := daemon.Scan(ctx, bytes.NewReader(content))
			hits := make([]scan.Hit, len(matches))
			for i, m := range matches {
				hits[i] = scan.Hit{Secret: m.Secret, Start: int(m.Offset)}
			}
			return hits, err
		},
		Hashes: func(ctx context.Context, r api.ScanRequest) ([]api.ScanMatch, error) {
			matches, err := daemon.Hashes(ctx, r)
			if !errors.Is(err, api.ErrUnavailable) {
				return matches, err
			}
			if !away {
				away = true
				p.warn(fmt.Errorf("only the secrets that this workspace gets were looked for: %w", err))
			}
			return nil, nil
		},
	}}
}

func (s *scanSides) explain(err error) error {
	if s.login != nil {
		return explain(err, *s.login)
	}
	return explainWorkspace(err)
}
