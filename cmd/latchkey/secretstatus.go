package main

import (
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (p *program) secretStatusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "say what became of your secrets in your workspaces", ArgsUsage: "[NAME]",
		Description: `Shows what each workspace said last of each variable and each file:

  delivered     programs find it there
  shadowed      another one takes the variable or the file
  blocked       it may not be delivered there
  changed       somebody has changed the file, which is left alone
  failed        it could not be delivered; the workspace tries again
  pending       the workspace has said nothing yet
  disabled, out of scope, refused: it is not meant for the workspace`,
		Flags:  []cli.Flag{jsonFlag()},
		Action: p.asUser(p.secretStatus),
	}
}

func (p *program) secretStatus(c *cli.Context, s *session) error {
	name := c.Args().First()
	if name != "" {
		secret, err := s.secret(c.Context, name)
		if err != nil {
			return err
		}
		name = secret.Name
	}
	list, err := s.Deliveries(c.Context, api.Me)
	if err != nil {
		return err
	}
	if name != "" {
		for i := range list {
			list[i].Items = slices.DeleteFunc(list[i].Items, func(item api.DeliveryItem) bool { return item.Secret != name })
		}
	}
	if c.Bool("json") {
		return jsonList(p, list)
	}
	var rows [][]string
	for _, w := range list {
		for _, item := range w.Items {
			rows = append(rows, []string{w.Workspace, item.Secret, whereOf(item), string(item.State), reported(w), item.Detail})
		}
	}
	if len(rows) == 0 {
		p.note("%s", nothingDelivered(list))
	}
	return p.table("WORKSPACE\tSECRET\tTARGET\tSTATE\tREPORTED\tDETAIL", rows)
}

func nothingDelivered(list []api.WorkspaceDelivery) string {
	if len(list) == 0 {
		return "you have no workspaces"
	}
	return "there is nothing to deliver"
}

func whereOf(item api.DeliveryItem) string {
	if item.Target == api.EnvTarget {
		return "$" + item.Where
	}
	return item.Where
}

// reported says how old a workspace's report is, and whether something has
// changed since.
func reported(w api.WorkspaceDelivery) string {
	switch {
	case w.ReportedAt == nil:
		return "never"
	case !w.Current:
		return humane(*w.ReportedAt, time.Now()) + ", before the last change"
	}
	return humane(*w.ReportedAt, time.Now())
}
