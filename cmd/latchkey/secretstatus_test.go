package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// What a workspace reports is shown as it is, with the reason.
func TestSecretStatus(t *testing.T) {
	s := loggedIn(t)
	latchkey(t, "secret", "status").expect(t, 0, "WORKSPACE  SECRET  TARGET  STATE  REPORTED  DETAIL\n", "you have no workspaces\n")
	token := strings.TrimSpace(latchkey(t, "workspace", "create", "box").ok(t).stdout)
	latchkey(t, "secret", "status").expect(t, 0, "WORKSPACE  SECRET  TARGET  STATE  REPORTED  DETAIL\n", "there is nothing to deliver\n")
	latchkeyWith(t, "v", "secret", "create", "a", "--env", "A", "--file", "/run/a").ok(t)
	latchkeyWith(t, "v", "secret", "create", "b", "--file", "~/b").ok(t)
	report(t, s.client(t, token), []api.DeliveryItem{
		{Secret: "a", Target: api.EnvTarget, Where: "A", Version: 1, State: api.Shadowed, Detail: "the shell sets it"},
		{Secret: "a", Target: api.FileTarget, Where: "/run/a", Version: 1, State: api.Delivered},
		{Secret: "b", Target: api.FileTarget, Where: "~/b", Version: 1, State: api.Failed, Detail: "the disk is full"},
	})
	shows := func(args []string, want ...string) {
		t.Helper()
		got := latchkey(t, append([]string{"secret", "status"}, args...)...).ok(t)
		for _, pattern := range want {
			if !regexp.MustCompile("(?m)" + pattern).MatchString(got.stdout) {
				t.Errorf("status %q has no line %q:\n%s", args, pattern, got.stdout)
			}
		}
		if lines := strings.Count(got.stdout, "\n"); lines != len(want)+1 {
			t.Errorf("status %q has %d lines; want %d", args, lines, len(want)+1)
		}
	}
	shows(nil, `^box +a +\$A +shadowed +just now +the shell sets it$`, `^box +a +/run/a +delivered +just now$`, `^box +b +~/b +failed +just now +the disk is full$`)
	shows([]string{"b"}, `^box +b +~/b +failed +just now +the disk is full$`)
	latchkeyWith(t, "w", "secret", "update", "b").ok(t)
	shows([]string{"b"}, `^box +b +~/b +pending +just now, before the last change$`)
	list := decode[[]api.WorkspaceDelivery](t, latchkey(t, "secret", "status", "b", "--json"))
	if len(list) != 1 || len(list[0].Items) != 1 || list[0].Items[0].State != api.Pending || list[0].Current {
		t.Errorf("as JSON the status of b is %+v", list)
	}
}

// report says as a workspace what became of the secrets as they are now.
func report(t *testing.T, c *api.Client, items []api.DeliveryItem) {
	t.Helper()
	if err := c.ReportDelivery(t.Context(), api.DeliveryReport{Revision: fetched(t, c).Revision, Items: items}); err != nil {
		t.Fatal(err)
	}
}
