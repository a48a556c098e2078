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
		Description: `Prints who did what to which record, from where, and how it ended: the newest
events, oldest first.

  latchkey audit -f
  latchkey audit --after 1000 --json`,
		Flags: []cli.Flag{
			&cli.Int64Flag{Name: "count", Aliases: []string{"n"}, Value: 20, Usage: "print the last `N` events; else 20"},
			&cli.Int64Flag{Name: "after", Usage: "print all events behind the one with the number `N`"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with new events as they come"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON, one event on a line"},
		},
		Action: p.asUser(p.audit),
	}
}

const (
	auditPage = 500         // events asked for at a time
	auditPoll = time.Second // between looking for new events
)

func (p *program) audit(c *cli.Context, s *session) error {
	after := c.Int64("after")
	switch {
	case after < 0 || c.Int64("count") < 0:
		return usagef("audit: --after and -n take numbers from 0")
	case !c.IsSet("after"):
		last, err := s.lastEvent(c.Context)
		if err != nil {
			return err
		}
		after = max(0, last-c.Int64("count"))
	case c.IsSet("count"):
		return withHint(usagef("audit: --after and -n don't go together"), "--after N prints all behind N, -n N the last ones")
	}
	for {
		events, err := s.Audit(c.Context, after, auditPage)
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := p.event(e, c.Bool("json")); err != nil {
				return err
			}
			after = e.Seq
		}
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
}

// lastEvent finds the number of the newest event, 0 if there is none. Events
// are numbered from 1 without gaps, so twenty questions find one in a million.
func (s *session) lastEvent(ctx context.Context) (int64, error) {
	there := func(n int64) (bool, error) {
		events, err := s.Audit(ctx, n-1, 1)
		return len(events) > 0, err
	}
	last, next := int64(0), int64(1) // last is there, or 0
	for {
		ok, err := there(next)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		last, next = next, 2*next
	}
	for next-last > 1 {
		middle := last + (next-last)/2
		ok, err := there(middle)
		switch {
		case err != nil:
			return 0, err
		case ok:
			last = middle
		default:
			next = middle
		}
	}
	return last, nil
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
