package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (p *program) auditCommand() *cli.Command {
	return &cli.Command{
		Name:  "audit",
		Usage: "read the audit log (for admins and auditors)",
		Description: `Prints who did what to which record, from where, and how it ended, oldest first.

  latchkey audit --after 1000 -n 50
  latchkey audit -f --json`,
		Flags: []cli.Flag{
			&cli.Int64Flag{Name: "after", Usage: "begin behind the event with the number `N`"},
			&cli.IntFlag{Name: "count", Aliases: []string{"n"}, Usage: "print at most `N` events; else all"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with new events as they come"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON, one event on a line"},
		},
		Action: p.asUser(p.audit),
	}
}

const (
	auditPage = 500             // events asked for at a time
	auditPoll = 2 * time.Second // between looking for new events
)

func (p *program) audit(c *cli.Context, s *session) error {
	after, left, all := c.Int64("after"), c.Int("count"), !c.IsSet("count")
	if after < 0 || left < 0 {
		return usagef("audit: --after and -n take numbers from 0")
	}
	for all || left > 0 {
		limit := auditPage
		if !all {
			limit = min(limit, left)
		}
		events, err := s.Audit(c.Context, after, limit)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := p.event(e, c.Bool("json")); err != nil {
				return err
			}
			after = e.Seq
		}
		left -= len(events)
		// A short page may be a server's smaller limit; an empty one is the end.
		switch {
		case len(events) > 0:
		case !c.Bool("follow"):
			return nil
		default:
			if err := sleep(c.Context, auditPoll); err != nil {
				return err
			}
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *program) event(e api.Event, asJSON bool) error {
	if asJSON {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		return p.print("%s\n", line)
	}
	line := fmt.Sprintf("%d  %s  %-6s  %s  %s  %s  %s  %s", e.Seq, e.At.Local().Format(time.DateTime), e.Result, e.Actor, e.Action, e.Target, e.Remote, e.Detail)
	return p.print("%s\n", printable(strings.TrimSpace(line)))
}
