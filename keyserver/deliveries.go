package keyserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/latchkey/latchkey/keyserver/api"
)

// maxReportItems is enough for both targets of as many secrets as a user may have
// (see CheckLimits), and files that are left of earlier ones.
const maxReportItems = 2*1000 + 500

// reportedStates are those that a workspace may report.
var reportedStates = []api.DeliveryState{api.Delivered, api.Shadowed, api.Blocked, api.Failed, api.Changed}

// reportDelivery stores what a workspace says of its secrets. What it says of
// secrets that have been deleted since is stored too, and not shown.
func (s *Server) reportDelivery(ctx context.Context, c *call, in api.DeliveryReport) (none, error) {
	var p problems
	p.report(in)
	if err := p.err("the report can't be stored"); err != nil {
		return none{}, err
	}
	for i := range in.Items {
		in.Items[i].Detail = api.OneLine(in.Items[i].Detail, api.MaxDetail)
	}
	e := c.event(c.owner.Name + "/" + c.workspace.Name)
	var counts []string
	for _, state := range reportedStates {
		n := 0
		for _, item := range in.Items {
			if item.State == state {
				n++
			}
		}
		if n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, state))
		}
	}
	e.Detail = bounded(fmt.Sprintf("revision %d", in.Revision), counts)
	err := s.store.ReportDelivery(ctx, Delivery{WorkspaceID: c.workspace.ID, Revision: in.Revision, ReportedAt: c.at, Items: in.Items}, e)
	if errors.Is(err, api.ErrNotFound) {
		return none{}, fmt.Errorf("the workspace was deleted: %w", api.ErrUnauthenticated)
	}
	if err != nil {
		return none{}, fmt.Errorf("storing a report: %w", err)
	}
	return none{}, nil
}

// report checks what a workspace says.
func (p *problems) report(in api.DeliveryReport) {
	if in.Revision < 1 {
		p.add("revision", "must be that of the secrets that the report is about")
	}
	if len(in.Items) > maxReportItems {
		p.add("items", "has %d entries; at most %d are allowed", len(in.Items), maxReportItems)
		return
	}
	for i, item := range in.Items {
		at := fmt.Sprintf("items[%d].", i)
		if !validName(item.Secret) {
			p.add(at+"secret", "must be the name of a secret")
		}
		if item.Target != api.EnvTarget && item.Target != api.FileTarget {
			p.add(at+"target", "must be %s or %s", api.EnvTarget, api.FileTarget)
		}
		if item.Where == "" || len(item.Where) > api.MaxFilePath || strings.ContainsFunc(item.Where, unicode.IsControl) {
			p.add(at+"where", "must be an environment variable or a path")
		}
		if item.Version < 0 {
			p.add(at+"version", "must be 0 or more")
		}
		if !slices.Contains(reportedStates, item.State) {
			p.add(at+"state", "must be one of %v", reportedStates)
		}
	}
}

// listDeliveries says of each workspace of the owner what became of their
// secrets there: what the workspace has reported, and what the server knows
// better.
func (s *Server) listDeliveries(ctx context.Context, c *call, _ none) ([]api.WorkspaceDelivery, error) {
	reports, err := s.store.Deliveries(ctx, c.owner.ID)
	if err != nil {
		return nil, fmt.Errorf("listing the deliveries: %w", err)
	}
	workspaces, err := s.store.Workspaces(ctx, c.owner.ID)
	if err != nil {
		return nil, fmt.Errorf("listing workspaces: %w", err)
	}
	all, revision, err := s.store.Secrets(ctx, c.owner.ID)
	if err != nil {
		return nil, fmt.Errorf("listing secrets: %w", gone(c, err))
	}
	return wireAll(workspaces, func(w Workspace) api.WorkspaceDelivery {
		d := api.WorkspaceDelivery{Workspace: w.Name, WorkspaceID: string(w.ID), Items: []api.DeliveryItem{}}
		var report Delivery
		if i := slices.IndexFunc(reports, func(r Delivery) bool { return r.WorkspaceID == w.ID }); i >= 0 {
			report = reports[i]
			d.ReportedAt = optional(report.ReportedAt)
			d.Current = report.Revision == revision
		}
		for _, sec := range all {
			if sec.EnvName != "" {
				d.Items = append(d.Items, deliveryItem(w, sec, api.EnvTarget, sec.EnvName, report.Items, d.Current))
			}
			if sec.FilePath != "" {
				d.Items = append(d.Items, deliveryItem(w, sec, api.FileTarget, sec.FilePath, report.Items, d.Current))
			}
		}
		d.Items = append(d.Items, leftovers(report.Items, d.Items)...)
		return d
	}), nil
}

// leftovers are what a workspace has reported of targets that no secret has any
// more: files that it could not remove, or that the user has changed.
func leftovers(reported, current []api.DeliveryItem) (left []api.DeliveryItem) {
	for _, r := range reported {
		here := slices.ContainsFunc(current, func(i api.DeliveryItem) bool {
			return i.Secret == r.Secret && i.Target == r.Target && i.Where == r.Where
		})
		if !here && (r.State == api.Changed || r.State == api.Failed) {
			left = append(left, r)
		}
	}
	return left
}

// deliveryItem is what became of one target of a secret in one workspace.
func deliveryItem(w Workspace, sec Secret, target api.Target, where string, reported []api.DeliveryItem, current bool) api.DeliveryItem {
	item := api.DeliveryItem{Secret: sec.Name, Target: target, Where: where, Version: sec.Version}
	switch {
	case !sec.Enabled:
		item.State = api.Disabled
		return item
	case w.RefuseSecrets:
		item.State = api.Refused
		return item
	case !sec.covers(w):
		item.State = api.OutOfScope
		return item
	}
	for _, r := range reported {
		if r.Secret == sec.Name && r.Target == target && r.Where == where && r.Version == sec.Version {
			return r
		}
	}
	item.State = api.Pending
	if current { // it has reported, and not this
		item.State, item.Detail = api.Failed, "the workspace was not given it: its stored value may not open; set the value again"
	}
	return item
}
