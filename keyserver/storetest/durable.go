package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var durableTests = []struct {
	name string
	run  func(open func() *kit)
}{
	{"a store is as it was when it is opened again", reopen},
	{"two that have it open see each other", twoOpen},
	{"two that have it open make one chain", twoChain},
}

func reopen(open func() *kit) {
	k := open()
	k.changes("Init", func(e keyserver.Event) error { return k.store.Init(k.ctx, []byte("check"), e) })
	k.addUser("alice")
	k.addUser("bob")
	k.addWorkspace("alice", "dev")
	k.rotate("alice", api.DefaultKey, 2, epoch.Add(1000*time.Hour))
	k.changes("RecordFetch", func(e keyserver.Event) error {
		return k.store.RecordFetch(k.ctx, "user-alice", api.DefaultKey, 2, "workspace-alice-dev", e)
	})
	k.addSecrets("alice", "a", "b", "c")
	k.addSecrets("bob", "a")
	change := further(secret("alice", "b").ID, 2, 2, 3)
	change.Delete = []keyserver.SecretID{secret("alice", "a").ID}
	k.changes("ChangeSecrets", k.changing("alice", change))
	k.changes("UpdateWorkspace", func(e keyserver.Event) error {
		return k.store.UpdateWorkspace(k.ctx, workspace("alice", "dev"), e)
	})
	k.report(delivery(workspace("alice", "dev"), 3))
	k.changes("DeleteUser", func(e keyserver.Event) error { return k.store.DeleteUser(k.ctx, "user-bob", e) })
	before := k.dump()
	for range 3 {
		if err := k.store.Close(); err != nil {
			k.Fatalf("Close: %v", err)
		}
		_, err := k.store.User(k.ctx, "user-alice")
		k.wantError("User of a closed store", err, api.ErrUnavailable)
		k.wantError("Record in a closed store", k.store.Record(k.ctx, event("closed")), api.ErrUnavailable)
		k = open()
		if after := k.dump(); after != before {
			k.Fatalf("opened again, the store holds\n%s\nwant\n%s", after, before)
		}
	}
	k.chain()
	k.addUser("carol")
}

func twoOpen(open func() *kit) {
	a, b := open(), open()
	a.addUser("alice")
	b.same("User made by the other", must(b.store.User(b.ctx, "user-alice"))(b.T, "User"), user("alice"))
	b.rotate("alice", api.DefaultKey, 2, time.Time{})
	a.refuses("RotateKey to what the other has made", api.ErrConflict, func(e keyserver.Event) error {
		return a.store.RotateKey(a.ctx, key("alice", api.DefaultKey, 2), time.Time{}, e)
	})
	a.race("RotateKey", func(racer int, e keyserver.Event) error {
		next := key("alice", api.DefaultKey, 3)
		next.Fingerprint = fmt.Sprint("SHA256:", racer)
		return []*kit{a, b}[racer%2].store.RotateKey(a.ctx, next, time.Time{}, e)
	})
	a.addSecrets("alice", "npm")
	b.same("Revision after the other's change", b.revision("alice"), a.revision("alice"))
	b.same("Secrets made by the other", b.secrets("alice"), []keyserver.Secret{secret("alice", "npm")})
	revision := b.revision("alice")
	a.race("ChangeSecrets", func(racer int, e keyserver.Event) error {
		change := creation(secret("alice", fmt.Sprint(racer)))
		return []*kit{a, b}[racer%2].store.ChangeSecrets(a.ctx, "user-alice", revision, change, e)
	})
	if err := a.store.Close(); err != nil {
		a.Fatalf("Close: %v", err)
	}
	b.addUser("bob")
	b.chain()
}

func twoChain(open func() *kit) {
	const rounds = 50
	k := open()
	stores := []keyserver.Store{k.store, open().store}
	var all sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for i := range 4 {
		all.Go(func() {
			for j := range rounds {
				if err := stores[i%2].Record(k.ctx, event(fmt.Sprint(i, j))); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		k.Fatalf("Record: %v", err)
	}
	k.same("events", len(k.chain()), 4*rounds)
}
