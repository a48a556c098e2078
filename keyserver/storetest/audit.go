package storetest

import (
	"fmt"
	"slices"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var auditTests = []test{
	{"an empty log has no last event", emptyLog},
	{"events come back in order, in pages", listEvents},
	{"the store alone numbers and chains", chainEvents},
}

var settingTests = []test{
	{"the check value is stored once", initOnce},
}

func emptyLog(k *kit) {
	_, err := k.store.LastEvent(k.ctx)
	k.wantError("LastEvent", err, api.ErrNotFound)
	k.same("Events", len(must(k.store.Events(k.ctx, 0, 10))(k.T, "Events")), 0)
}

func listEvents(k *kit) {
	var want []keyserver.Event
	var last keyserver.Event
	for i, result := range []keyserver.Result{keyserver.OK, keyserver.Denied, keyserver.Failed, keyserver.OK, keyserver.OK} {
		e := event(fmt.Sprint("action ", i))
		e.Result = result
		if err := k.store.Record(k.ctx, e); err != nil {
			k.Fatalf("Record: %v", err)
		}
		e.Chain(last)
		last = e
		want = append(want, e)
	}
	for _, c := range []struct {
		after int64
		limit int
		want  []keyserver.Event
	}{
		{0, 100, want}, {0, 2, want[:2]}, {2, 2, want[2:4]}, {4, 9, want[4:]},
		{5, 9, nil}, {99, 9, nil}, {-1, 1, want[:1]}, {0, 0, nil}, {0, -1, nil},
	} {
		got := must(k.store.Events(k.ctx, c.after, c.limit))(k.T, "Events")
		if !slices.Equal(got, c.want) {
			k.Errorf("Events(after %d, limit %d) =\n%+v\nwant\n%+v", c.after, c.limit, got, c.want)
		}
	}
	k.same("LastEvent", k.lastEvent(), last)
}

func chainEvents(k *kit) {
	e := event("first")
	e.Seq, e.Hash = 77, [32]byte{1, 2, 3}
	for range 3 {
		if err := k.store.Record(k.ctx, e); err != nil {
			k.Fatalf("Record: %v", err)
		}
	}
	events := k.chain()
	k.same("events", len(events), 3)
	k.same("the first one's number", events[0].Seq, int64(1))
}

func initOnce(k *kit) {
	_, err := k.store.MasterKeyCheck(k.ctx)
	k.wantError("MasterKeyCheck of a new store", err, api.ErrNotFound)
	check := []byte("check\x00value\xff")
	k.changes("Init", func(e keyserver.Event) error { return k.store.Init(k.ctx, check, e) })
	k.same("MasterKeyCheck", must(k.store.MasterKeyCheck(k.ctx))(k.T, "MasterKeyCheck"), check)
	k.refuses("Init a second time", api.ErrConflict, func(e keyserver.Event) error { return k.store.Init(k.ctx, []byte("another"), e) })
	k.same("MasterKeyCheck", must(k.store.MasterKeyCheck(k.ctx))(k.T, "MasterKeyCheck"), check)
}
