package memstore

import (
	"cmp"
	"context"
	"slices"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func cloneDelivery(d keyserver.Delivery) keyserver.Delivery {
	d.Items = cloneList(d.Items)
	d.ReportedAt = stored(d.ReportedAt)
	return d
}

func (s *Store) ReportDelivery(ctx context.Context, d keyserver.Delivery, e keyserver.Event) error {
	return s.change(ctx, e, func() error {
		if _, ok := s.workspaces[d.WorkspaceID]; !ok {
			return api.ErrNotFound
		}
		s.deliveries[d.WorkspaceID] = cloneDelivery(d)
		return nil
	})
}

func (s *Store) Deliveries(ctx context.Context, user keyserver.UserID) ([]keyserver.Delivery, error) {
	unlock, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var all []keyserver.Delivery
	for id, d := range s.deliveries {
		if s.workspaces[id].UserID == user {
			all = append(all, cloneDelivery(d))
		}
	}
	slices.SortFunc(all, func(a, b keyserver.Delivery) int { return cmp.Compare(a.WorkspaceID, b.WorkspaceID) })
	return all, nil
}
