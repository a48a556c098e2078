package storetest

import (
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var deliveryTests = []test{
	{"a report replaces the last one", reportDelivery},
	{"lists are by workspace", listDeliveries},
	{"whose workspace is not there is not found", missingWorkspace},
	{"deleting a workspace deletes its report", deleteDelivery},
}

// delivery is a report about a revision.
func delivery(w keyserver.Workspace, revision int64) keyserver.Delivery {
	return keyserver.Delivery{
		WorkspaceID: w.ID, Revision: revision, ReportedAt: epoch.Add(time.Duration(revision) * time.Hour),
		Items: []api.DeliveryItem{
			{Secret: "npm", Target: api.EnvTarget, Where: "NPM_TOKEN", Version: revision, State: api.Delivered},
			{Secret: w.Name, Target: api.FileTarget, Where: "~/" + w.Name, State: api.Blocked, Detail: "it is " + w.Name},
		},
	}
}

func (k *kit) report(d keyserver.Delivery) {
	k.Helper()
	k.changes("ReportDelivery", func(e keyserver.Event) error { return k.store.ReportDelivery(k.ctx, d, e) })
}

func (k *kit) deliveries(owner string) []keyserver.Delivery {
	k.Helper()
	return must(k.store.Deliveries(k.ctx, keyserver.UserID("user-"+owner)))(k.T, "Deliveries("+owner+")")
}

func reportDelivery(k *kit) {
	k.addUser("alice")
	w := k.addWorkspace("alice", "dev")
	k.same("Deliveries before a report", len(k.deliveries("alice")), 0)
	for _, revision := range []int64{3, 3, 7, 1<<63 - 1, 0, 2} { // also back: the workspace says so
		d := delivery(w, revision)
		d.ReportedAt = epoch
		k.report(d)
		k.same("Deliveries", k.deliveries("alice"), []keyserver.Delivery{d})
	}
	for what, list := range map[string][]api.DeliveryItem{"no items": nil, "an empty list": {}} {
		d := delivery(w, 9)
		d.Items = list
		k.report(d)
		if got := k.deliveries("alice"); len(got) != 1 || got[0].Items != nil || got[0].Revision != 9 {
			k.Errorf("a report with %s came back as %#v; want one of revision 9 with nil", what, got)
		}
	}
}

func listDeliveries(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	his := k.addWorkspace("bob", "a")
	for _, name := range []string{"z", "B", "a", "silent"} {
		k.addWorkspace("alice", name)
	}
	for i, name := range []string{"a", "z", "B"} {
		k.report(delivery(workspace("alice", name), int64(i)))
	}
	k.report(delivery(his, 5))
	want := []keyserver.Delivery{
		delivery(workspace("alice", "B"), 2), delivery(workspace("alice", "a"), 0), delivery(workspace("alice", "z"), 1),
	}
	k.same("Deliveries", k.deliveries("alice"), want)
	k.same("Deliveries of another user", k.deliveries("bob"), []keyserver.Delivery{delivery(his, 5)})
	k.same("Deliveries(nobody)", len(k.deliveries("nobody")), 0)
}

func missingWorkspace(k *kit) {
	k.addUser("alice")
	k.addWorkspace("alice", "dev")
	k.refuses("ReportDelivery(none)", api.ErrNotFound, func(e keyserver.Event) error {
		return k.store.ReportDelivery(k.ctx, delivery(workspace("alice", "none"), 1), e)
	})
	k.refuses("UpdateWorkspace(none)", api.ErrNotFound, func(e keyserver.Event) error {
		return k.store.UpdateWorkspace(k.ctx, workspace("alice", "none"), e)
	})
}

func deleteDelivery(k *kit) {
	k.addUser("alice")
	w, other := k.addWorkspace("alice", "dev"), k.addWorkspace("alice", "other")
	k.report(delivery(w, 1))
	k.report(delivery(other, 2))
	k.changes("DeleteWorkspace", func(e keyserver.Event) error { return k.store.DeleteWorkspace(k.ctx, w.ID, e) })
	k.same("Deliveries", k.deliveries("alice"), []keyserver.Delivery{delivery(other, 2)})
	k.refuses("ReportDelivery of a deleted workspace", api.ErrNotFound, func(e keyserver.Event) error {
		return k.store.ReportDelivery(k.ctx, delivery(w, 3), e)
	})
	k.changes("CreateWorkspace with the id of the deleted one", func(e keyserver.Event) error {
		return k.store.CreateWorkspace(k.ctx, w, of(w, token("alice", "again")), e)
	})
	k.same("Deliveries", k.deliveries("alice"), []keyserver.Delivery{delivery(other, 2)})
}
