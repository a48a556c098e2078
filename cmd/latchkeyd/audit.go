package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

const (
	auditPage = 500                    // events read at a time
	auditPoll = 500 * time.Millisecond // between looks for new events
)

func (p *program) auditCommand() *cli.Command {
	return &cli.Command{
		Name:  "audit",
		Usage: "read and check the audit log",
		Subcommands: []*cli.Command{
			{
				Name:  "tail",
				Usage: "print the newest events, oldest first",
				Description: `Prints the number, time, result, actor, action, target, address and detail of
each event. It reads the store itself, with a server that runs and without.

  latchkeyd audit tail -f
  latchkeyd audit tail --all --json > audit.jsonl`,
				Flags: []cli.Flag{
					dataFlag(),
					&cli.Int64Flag{Name: "count", Aliases: []string{"n"}, Value: 20, Usage: "print the last `N` events; else 20"},
					&cli.BoolFlag{Name: "all", Usage: "print all events"},
					&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with new events as they come, until SIGINT or SIGTERM"},
					&cli.BoolFlag{Name: "json", Usage: "print JSON, one event on a line"},
				},
				Action: p.onAudit(p.auditTail),
			},
			{
				Name:  "verify",
				Usage: "check that no event was removed, inserted or changed",
				Description: `Walks the chain of all events, and prints how many there are and the last one's
hash. The chain alone can't show that its newest events were cut off, nor that
all of it was made anew: keep the printed line elsewhere and compare.`,
				Flags:  []cli.Flag{dataFlag()},
				Action: p.onAudit(p.auditVerify),
			},
		},
	}
}

// onAudit opens the store for an action, which a signal ends.
func (p *program) onAudit(action func(context.Context, *cli.Context, keyserver.Store) error) cli.ActionFunc {
	return func(c *cli.Context) (err error) {
		dir, err := existingData(c)
		if err != nil {
			return err
		}
		store, err := openStore(c.Context, dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		return action(ctx, c, store)
	}
}

func (p *program) auditTail(ctx context.Context, c *cli.Context, store keyserver.Store) error {
	count := c.Int64("count")
	if count < 0 {
		return usagef("flag -n: want a number from 0")
	}
	var after int64
	last, err := store.LastEvent(ctx)
	switch {
	case errors.Is(err, api.ErrNotFound):
	case err != nil:
		return fmt.Errorf("reading the audit log: %w", err)
	case !c.Bool("all"):
		after = max(0, last.Seq-count)
	}
	for {
		events, err := store.Events(ctx, after, auditPage)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("reading the audit log: %w", err)
		}
		for _, e := range events {
			if err := p.event(e, c.Bool("json")); err != nil {
				return err
			}
			after = e.Seq
		}
		if len(events) == auditPage && ctx.Err() == nil {
			continue
		}
		if !c.Bool("follow") {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return nil // that is how following ends
		case <-time.After(auditPoll):
		}
	}
}

// event prints one event. Its strings may be anybody's.
func (p *program) event(e keyserver.Event, asJSON bool) error {
	if asJSON {
		line, err := json.Marshal(e.Wire())
		if err != nil {
			return err
		}
		return p.print("%s\n", line)
	}
	or := func(s string) string { return cmp.Or(s, "-") }
	line := fmt.Sprintf("%d  %s  %-6s  %s  %s  %s  %s  %s", e.Seq, e.At.Local().Format(time.DateTime), e.Result, or(e.Actor), e.Action, or(e.Target), or(e.Remote), e.Detail)
	return p.print("%s\n", printable(line))
}

func (p *program) auditVerify(ctx context.Context, _ *cli.Context, store keyserver.Store) error {
	events, err := keyserver.VerifyAudit(ctx, store)
	if errors.Is(err, keyserver.ErrAuditChain) {
		return withHint(err, "the first %d events are as they were written; compare what follows with a backup", events)
	}
	if err != nil || events == 0 {
		return errors.Join(err, p.printWhole(events, ""))
	}
	last, err := store.Events(ctx, events-1, 1)
	if err != nil || len(last) == 0 {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	return p.printWhole(events, hex.EncodeToString(last[0].Hash[:]))
}

func (p *program) printWhole(events int64, hash string) error {
	return p.print("the chain of %d events is whole: %s\n", events, hash)
}
