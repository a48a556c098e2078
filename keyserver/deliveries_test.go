package keyserver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// told is what a user is told of their secrets, in a few words.
func told(t *testing.T, a *account) string {
	t.Helper()
	all, err := a.Deliveries(t.Context(), api.Me)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, d := range all {
		now := "behind"
		switch {
		case d.ReportedAt == nil:
			now = "never"
		case d.Current:
			now = "current"
		}
		words = append(words, d.Workspace+" "+now)
		for _, i := range d.Items {
			words = append(words, fmt.Sprintf("%s %s %s v%d %s", i.Secret, i.Target, i.Where, i.Version, i.State))
		}
	}
	return strings.Join(words, "; ")
}

func TestDeliveries(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	if all, err := alice.Deliveries(t.Context(), api.Me); err != nil || all == nil || len(all) != 0 {
		t.Errorf("Deliveries of a user without workspaces = %v, %v; want none", all, err)
	}
	box, _ := s.newBox(alice, "box", "web")
	s.newBox(alice, "den")
	s.newBox(alice, "closed")
	if _, err := alice.UpdateWorkspace(t.Context(), api.Me, "closed", api.UpdateWorkspaceRequest{RefuseSecrets: ptr(true)}); err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]api.CreateSecretRequest{
		"both": {EnvName: "BOTH", FilePath: "~/both", Labels: []string{"web"}},
		"off":  {EnvName: "OFF", Enabled: ptr(false)},
		"none": {Enabled: ptr(false)},
	} {
		in.Name, in.SecretValue = name, text("x")
		if _, err := alice.CreateSecret(t.Context(), api.Me, in); err != nil {
			t.Fatal(err)
		}
	}
	const others = "closed never; both env BOTH v1 refused; both file ~/both v1 refused; off env OFF v1 disabled; " +
		"den never; both env BOTH v1 out of scope; both file ~/both v1 out of scope; off env OFF v1 disabled"
	want := "box never; both env BOTH v1 pending; both file ~/both v1 pending; off env OFF v1 disabled; " + others
	if got := told(t, alice); got != want {
		t.Errorf("before a report:\n got %s\nwant %s", got, want)
	}

	given, err := fetchSecrets(t, box)
	if err != nil {
		t.Fatal(err)
	}
	report := api.DeliveryReport{Revision: given.Revision, Items: []api.DeliveryItem{
		{Secret: "both", Target: api.EnvTarget, Where: "BOTH", Version: 1, State: api.Delivered},
		{Secret: "both", Target: api.FileTarget, Where: "~/both", Version: 1, State: api.Blocked, Detail: "there is\na directory" + strings.Repeat("x", 500)},
		{Secret: "gone", Target: api.EnvTarget, Where: "GONE", Version: 1, State: api.Delivered},
	}}
	if err := box.ReportDelivery(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	if e := s.lastEvent(); e.Action != "secret.report" || e.Target != "alice/box" || e.Detail != fmt.Sprintf("revision %d: 2 delivered, 1 blocked", given.Revision) {
		t.Errorf("the report is recorded as %+v", e)
	}
	want = "box current; both env BOTH v1 delivered; both file ~/both v1 blocked; off env OFF v1 disabled; " + others
	if got := told(t, alice); got != want {
		t.Errorf("after a report:\n got %s\nwant %s", got, want)
	}
	all, err := alice.Deliveries(t.Context(), api.Me)
	if err != nil || !strings.HasPrefix(all[0].Items[1].Detail, "there is a directoryx") || len(all[0].Items[1].Detail) != api.MaxDetail || !all[0].ReportedAt.Equal(s.Clock.Now()) {
		t.Errorf("Deliveries = %+v, %v; want the detail and the time of the report", all, err)
	}

	// What has changed since is pending again, target by target.
	if _, err := alice.UpdateSecret(t.Context(), api.Me, "both", api.UpdateSecretRequest{FilePath: ptr("~/moved")}); err != nil {
		t.Fatal(err)
	}
	want = "box behind; both env BOTH v1 delivered; both file ~/moved v1 pending; "
	if got := told(t, alice); !strings.HasPrefix(got, want) {
		t.Errorf("after a move:\n got %s\nwant %s", got, want)
	}
	if _, err := alice.UpdateSecret(t.Context(), api.Me, "both", api.UpdateSecretRequest{SecretValue: text("y")}); err != nil {
		t.Fatal(err)
	}
	want = "box behind; both env BOTH v2 pending; both file ~/moved v2 pending; "
	if got := told(t, alice); !strings.HasPrefix(got, want) {
		t.Errorf("after a new value:\n got %s\nwant %s", got, want)
	}

	// A workspace that has reported on all that is stored, but not on this,
	// was not given it.
	s.Store.set(func(b *brokenStore) { b.values = func(v []keyserver.SecretValue) { v[0].Sealed = nil } })
	given, err = fetchSecrets(t, box)
	if err != nil {
		t.Fatal(err)
	}
	if err := box.ReportDelivery(t.Context(), api.DeliveryReport{Revision: given.Revision, Items: []api.DeliveryItem{}}); err != nil {
		t.Fatal(err)
	}
	want = "box current; both env BOTH v2 failed; both file ~/moved v2 failed; "
	if got := told(t, alice); !strings.HasPrefix(got, want) {
		t.Errorf("with a damaged value:\n got %s\nwant %s", got, want)
	}
}

func TestBadReport(t *testing.T) {
	s := newSite(t, nil)
	w, _ := s.newWorkspace(s.newUser("alice", api.RoleUser), "box")
	good := api.DeliveryItem{Secret: "key", Target: api.FileTarget, Where: "~/key", State: api.Changed, Detail: strings.Repeat("x", 500)}
	if err := w.ReportDelivery(t.Context(), api.DeliveryReport{Revision: 1, Items: many(2500, good)}); err != nil {
		t.Errorf("the largest report: %v", err)
	}
	wantError(t, "one item more", w.ReportDelivery(t.Context(), api.DeliveryReport{Revision: 1, Items: many(2501, good)}), api.ErrInvalid, "items: has 2501 entries; at most 2500")
	// A text that is too long or of several lines is no reason to know nothing.
	odd := good
	odd.Detail = "a\nb" + good.Detail
	if err := w.ReportDelivery(t.Context(), api.DeliveryReport{Revision: 1, Items: []api.DeliveryItem{odd}}); err != nil {
		t.Errorf("a report with a long detail: %v", err)
	}
	for want, change := range map[string]func(*api.DeliveryItem){
		"items[0].secret: must be":       func(i *api.DeliveryItem) { i.Secret = "a/b" },
		"items[0].target: must be env":   func(i *api.DeliveryItem) { i.Target = "disk" },
		"items[0].where: must be":        func(i *api.DeliveryItem) { i.Where = "~/a\x1b" },
		"items[0].version: must be":      func(i *api.DeliveryItem) { i.Version = -1 },
		"items[0].state: must be one of": func(i *api.DeliveryItem) { i.State = api.Pending },
	} {
		item := good
		change(&item)
		wantError(t, want, w.ReportDelivery(t.Context(), api.DeliveryReport{Revision: 1, Items: []api.DeliveryItem{item}}), api.ErrInvalid, want)
	}
	wantError(t, "no revision", w.ReportDelivery(t.Context(), api.DeliveryReport{}), api.ErrInvalid, "revision: must be")
}

func many(n int, item api.DeliveryItem) []api.DeliveryItem {
	items := make([]api.DeliveryItem, n)
	for i := range items {
		items[i] = item
	}
	return items
}

// What a workspace could not take away is shown, though no secret has it any more.
func TestLeftoversAreShown(t *testing.T) {
	s := newSite(t, nil)
	alice := s.newUser("alice", api.RoleUser)
	w, _ := s.newWorkspace(alice, "box")
	left := api.DeliveryItem{Secret: "gone", Target: api.FileTarget, Where: "~/gone", State: api.Changed, Detail: "you have changed it"}
	report := api.DeliveryReport{Revision: 1, Items: []api.DeliveryItem{left, {Secret: "over", Target: api.EnvTarget, Where: "OVER", State: api.Delivered}}}
	if err := w.ReportDelivery(t.Context(), report); err != nil {
		t.Fatal(err)
	}
	all, err := alice.Deliveries(t.Context(), api.Me)
	if err != nil || len(all) != 1 || len(all[0].Items) != 1 || all[0].Items[0] != left {
		t.Errorf("Deliveries = %+v, %v; want the file that was left, and nothing else", all, err)
	}
}
