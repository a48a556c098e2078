package storetest

import (
	"fmt"
	"sync"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var knownHostTests = []test{
	{"lists are in the order of adding", listKnownHosts},
	{"several are added all or none", addKnownHosts},
	{"what is there is refused", sameKnownHost},
	{"each change counts, and nothing else", countKnownHosts},
	{"deleting", deleteKnownHost},
	{"they outlive who added them", outlivingKnownHost},
	{"strings are bytes", strangeKnownHosts},
	{"of eight who add the same, one does", raceKnownHosts},
}

func knownHost(name string) keyserver.KnownHost {
	return keyserver.KnownHost{
		ID: keyserver.KnownHostID("host-" + name), Marker: "@revoked", Hosts: name, KeyType: "type of " + name,
		Key: []byte("key of " + name), Comment: "comment of " + name, CreatedAt: epoch, CreatedBy: "user-alice",
	}
}

func (k *kit) addKnownHosts(hosts ...keyserver.KnownHost) {
	k.Helper()
	k.changes("AddKnownHosts", func(e keyserver.Event) error { return k.store.AddKnownHosts(k.ctx, hosts, e) })
}

// knownHosts lists them, and looks whether the revision is the same both ways.
func (k *kit) knownHosts() ([]keyserver.KnownHost, int64) {
	k.Helper()
	hosts, revision, err := k.store.KnownHosts(k.ctx)
	if err != nil {
		k.Fatalf("KnownHosts: %v", err)
	}
	k.same("KnownHostsRevision", must(k.store.KnownHostsRevision(k.ctx))(k.T, "KnownHostsRevision"), revision)
	return hosts, revision
}

func (k *kit) wantKnownHosts(what string, want ...keyserver.KnownHost) {
	k.Helper()
	hosts, _ := k.knownHosts()
	k.same("KnownHosts "+what, hosts, want)
}

func listKnownHosts(k *kit) {
	k.wantKnownHosts("of a new store")
	z, a, m := knownHost("z"), knownHost("a"), knownHost("m")
	k.addKnownHosts(z, a)
	k.addKnownHosts(m)
	k.wantKnownHosts("in order", z, a, m)
	k.changes("DeleteKnownHost", func(e keyserver.Event) error { return k.store.DeleteKnownHost(k.ctx, m.ID, e) })
	b := knownHost("b")
	k.addKnownHosts(b, m)
	k.wantKnownHosts("after one was deleted", z, a, b, m)
}

func addKnownHosts(k *kit) {
	a, b := knownHost("a"), knownHost("b")
	k.addKnownHosts(a)
	for what, list := range map[string][]keyserver.KnownHost{
		"with one that is there":    {b, a},
		"with one twice":            {b, b},
		"with one twice, but an ID": {b, func() keyserver.KnownHost { c := b; c.ID = "other"; return c }()},
	} {
		k.refuses("AddKnownHosts "+what, api.ErrConflict, func(e keyserver.Event) error { return k.store.AddKnownHosts(k.ctx, list, e) })
	}
	k.wantKnownHosts("when all else was refused", a)
}

func sameKnownHost(k *kit) {
	a := knownHost("a")
	k.addKnownHosts(a)
	for what, change := range map[string]func(*keyserver.KnownHost){
		"the ID":     func(h *keyserver.KnownHost) { *h = knownHost("b"); h.ID = a.ID },
		"all but it": func(h *keyserver.KnownHost) { h.ID = "b" },
		"what counts": func(h *keyserver.KnownHost) {
			h.ID, h.KeyType, h.Comment, h.CreatedBy, h.CreatedAt = "b", "other", "other", "other", epoch.AddDate(1, 0, 0)
		},
	} {
		h := a
		change(&h)
		k.refuses("AddKnownHosts with the same "+what, api.ErrConflict, func(e keyserver.Event) error {
			return k.store.AddKnownHosts(k.ctx, []keyserver.KnownHost{h}, e)
		})
	}
	want := []keyserver.KnownHost{a}
	for i, change := range []func(*keyserver.KnownHost){
		func(h *keyserver.KnownHost) { h.Marker = "" },
		func(h *keyserver.KnownHost) { h.Hosts = "A" },
		func(h *keyserver.KnownHost) { h.Key = []byte("other") },
	} {
		h := a
		h.ID = keyserver.KnownHostID(fmt.Sprint("another-", i))
		change(&h)
		k.addKnownHosts(h)
		want = append(want, h)
	}
	k.wantKnownHosts("that differ in what counts", want...)
}

func countKnownHosts(k *kit) {
	count := func(what string, want int64) {
		k.Helper()
		if _, got := k.knownHosts(); got != want {
			k.Errorf("after %s the revision is %d; want %d", what, got, want)
		}
	}
	count("nothing", 0)
	k.addUser("alice")
	k.addSecrets("alice", "npm")
	revision := k.revision("alice")
	count("changes of a user", 0)
	k.addKnownHosts(knownHost("a"), knownHost("b"))
	count("adding two", 1)
	k.refuses("AddKnownHosts", api.ErrConflict, func(e keyserver.Event) error {
		return k.store.AddKnownHosts(k.ctx, []keyserver.KnownHost{knownHost("a")}, e)
	})
	count("a refusal", 1)
	k.changes("DeleteKnownHost", func(e keyserver.Event) error { return k.store.DeleteKnownHost(k.ctx, "host-a", e) })
	count("deleting", 2)
	k.same("the user's revision", k.revision("alice"), revision)
}

func deleteKnownHost(k *kit) {
	a, b := knownHost("a"), knownHost("b")
	k.addKnownHosts(a, b)
	k.refuses("DeleteKnownHost(none)", api.ErrNotFound, func(e keyserver.Event) error { return k.store.DeleteKnownHost(k.ctx, "none", e) })
	k.changes("DeleteKnownHost", func(e keyserver.Event) error { return k.store.DeleteKnownHost(k.ctx, a.ID, e) })
	k.wantKnownHosts("after one was deleted", b)
	k.refuses("DeleteKnownHost again", api.ErrNotFound, func(e keyserver.Event) error { return k.store.DeleteKnownHost(k.ctx, a.ID, e) })
	k.changes("DeleteKnownHost of the last", func(e keyserver.Event) error { return k.store.DeleteKnownHost(k.ctx, b.ID, e) })
	k.wantKnownHosts("when all are deleted")
}

func outlivingKnownHost(k *kit) {
	k.addUser("alice")
	a := knownHost("a")
	k.addKnownHosts(a)
	k.changes("DeleteUser", func(e keyserver.Event) error { return k.store.DeleteUser(k.ctx, "user-alice", e) })
	k.wantKnownHosts("after their user was deleted", a)
}

func strangeKnownHosts(k *kit) {
	var all []keyserver.KnownHost
	for _, s := range strange {
		h := knownHost(s)
		h.Marker, h.KeyType, h.Comment, h.CreatedBy = s, s, s, keyserver.UserID(s)
		all = append(all, h)
	}
	k.addKnownHosts(all...)
	k.wantKnownHosts("with strange strings", all...)
}

func raceKnownHosts(k *kit) {
	const rivals = 8
	var all sync.WaitGroup
	results := make(chan error, rivals)
	for i := range rivals {
		all.Go(func() {
			mine, same := knownHost(fmt.Sprint("mine-", i)), knownHost("same")
			same.ID = keyserver.KnownHostID(fmt.Sprint("same-", i))
			results <- k.store.AddKnownHosts(k.ctx, []keyserver.KnownHost{mine, same}, event("AddKnownHosts"))
		})
	}
	all.Wait()
	won := 0
	for range rivals {
		if err := <-results; err == nil {
			won++
		} else {
			k.wantError("AddKnownHosts", err, api.ErrConflict)
		}
	}
	hosts, revision := k.knownHosts()
	if won != 1 || len(hosts) != 2 || revision != 1 {
		k.Errorf("%d of %d won, and there are %d known hosts at revision %d; want 1, 2 and 1", won, rivals, len(hosts), revision)
	}
	k.chain()
}
