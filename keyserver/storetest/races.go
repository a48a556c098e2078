package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var raceTests = []test{
	{"of racing rotations one wins", raceRotations},
	{"of racing updates one wins", raceUpdates},
	{"of racing creations one wins", raceCreations},
	{"concurrent changes make one chain", raceChain},
	{"readers see whole changes", raceReaders},
	{"of racing changes of secrets one wins", raceSecrets},
	{"of racing updates of a workspace one wins", raceWorkspaceUpdates},
	{"readers see secrets, values and revision of one moment", raceSecretReaders},
}

// racers is how many try the same at once.
const racers = 8

// race runs try for each racer at once. One must win and all others must get
// a conflict; only the winner's event is stored.
func (k *kit) race(what string, try func(racer int, e keyserver.Event) error) {
	k.Helper()
	before := k.lastEvent().Seq
	start := make(chan struct{})
	errs := make([]error, racers)
	var all sync.WaitGroup
	for i := range racers {
		all.Go(func() {
			<-start
			errs[i] = try(i, event(fmt.Sprint(what, " by ", i)))
		})
	}
	close(start)
	all.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			k.Fatalf("%s: %d and %d both won", what, winner, i)
		case err == nil:
			winner = i
		case !errors.Is(err, api.ErrConflict):
			k.Fatalf("%s by %d = %v; want a conflict", what, i, err)
		}
	}
	if winner < 0 {
		k.Fatalf("%s: nobody won: %v", what, errs)
	}
	k.same("new events", k.lastEvent().Seq-before, int64(1))
	k.same("last event", k.lastEvent().Action, fmt.Sprint(what, " by ", winner))
	k.chain()
}

func raceRotations(k *kit) {
	k.addUser("alice")
	for generation := int64(2); generation < 12; generation++ {
		k.race("RotateKey", func(racer int, e keyserver.Event) error {
			next := key("alice", api.DefaultKey, generation)
			next.Fingerprint = fmt.Sprintf("SHA256:%d by %d", generation, racer)
			next.Sealed = []byte(next.Fingerprint)
			return k.store.RotateKey(k.ctx, next, time.Time{}, e)
		})
		keys := k.keys("alice")
		if len(keys) != 1 || keys[0].Generation != generation || keys[0].Fingerprint != string(keys[0].Sealed) {
			k.Fatalf("Keys after the race for generation %d = %+v", generation, keys)
		}
	}
}

func raceUpdates(k *kit) {
	u := k.addUser("alice")
	for range 10 {
		k.race("UpdateUser", func(racer int, e keyserver.Event) error {
			u := u
			u.Role = api.Role(fmt.Sprint("role ", racer))
			return k.store.UpdateUser(k.ctx, u, e)
		})
		u = must(k.store.User(k.ctx, u.ID))(k.T, "User")
		k.same("last event", k.lastEvent().Action, "UpdateUser by "+string(u.Role[len("role "):]))
	}
	k.same("Version", u.Version, int64(11))
}

func raceCreations(k *kit) {
	k.race("CreateUser", func(racer int, e keyserver.Event) error {
		u := user("alice")
		u.ID = keyserver.UserID(fmt.Sprint("user-", racer))
		first, t := key("alice", api.DefaultKey, 1), token("alice", fmt.Sprint(racer))
		first.UserID, t.UserID = u.ID, u.ID
		return k.store.CreateUser(k.ctx, u, first, t, e)
	})
	k.addUser("bob")
	k.race("CreateKey", func(racer int, e keyserver.Event) error {
		deploy := key("bob", "deploy", 1)
		deploy.Fingerprint = fmt.Sprint("SHA256:", racer)
		return k.store.CreateKey(k.ctx, deploy, e)
	})
	k.race("CreateKey of one key under many names", func(racer int, e keyserver.Event) error {
		same := key("bob", fmt.Sprint("name ", racer), 1)
		same.Fingerprint = "SHA256:same"
		return k.store.CreateKey(k.ctx, same, e)
	})
	k.race("CreateWorkspace", func(racer int, e keyserver.Event) error {
		w := workspace("bob", "dev")
		w.ID = keyserver.WorkspaceID(fmt.Sprint("workspace-", racer))
		return k.store.CreateWorkspace(k.ctx, w, of(w, token("bob", fmt.Sprint(racer))), e)
	})
	k.race("Init", func(racer int, e keyserver.Event) error {
		return k.store.Init(k.ctx, []byte{byte(racer)}, e)
	})
}

// Changes that succeed, changes that are refused and plain records at once: the
// chain holds those that succeeded, each once.
func raceChain(k *kit) {
	const rounds = 20
	k.addUser("alice")
	var all sync.WaitGroup
	for i := range racers {
		all.Go(func() {
			for j := range rounds {
				name := fmt.Sprintf("%d %d", i, j)
				if err := k.store.CreateUser(k.ctx, user(name), key(name, api.DefaultKey, 1), token(name, "first"), event("create "+name)); err != nil {
					k.Errorf("CreateUser(%s): %v", name, err)
				}
				// Refused for its token, when the user and the key are in.
				ghost := "ghost " + name
				if err := k.store.CreateUser(k.ctx, user(ghost), key(ghost, api.DefaultKey, 1), token("alice", "first"), event("refused")); !errors.Is(err, api.ErrConflict) {
					k.Errorf("CreateUser with a taken token = %v; want a conflict", err)
				}
				if err := k.store.RecordFetch(k.ctx, user(name).ID, api.DefaultKey, 1, "w", event("fetch "+name)); err != nil {
					k.Errorf("RecordFetch(%s): %v", name, err)
				}
				if err := k.store.Record(k.ctx, event("record "+name)); err != nil {
					k.Errorf("Record: %v", err)
				}
			}
		})
	}
	all.Wait()
	seen := map[string]int{}
	for _, e := range k.chain() {
		seen[e.Action]++
	}
	k.same("events of refused changes", seen["refused"], 0)
	for _, u := range must(k.store.Users(k.ctx, "ghost", 1))(k.T, "Users") {
		k.same("user whose creation was refused", u.Name, "not there")
	}
	k.same("different events", len(seen), 1+3*racers*rounds)
	k.same("events", k.lastEvent().Seq, int64(1+3*racers*rounds))
}

// A reader never sees a user without their key or a rotation with no current
// generation, and sees what was acknowledged before it began.
func raceReaders(k *kit) {
	k.addUser("alice")
	var done atomic.Bool
	var acknowledged atomic.Int64
	acknowledged.Store(1)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for !done.Load() {
				least := acknowledged.Load()
				keys, err := k.store.Keys(k.ctx, "user-alice")
				if err != nil || len(keys) != 1 || keys[0].Generation < least {
					k.Errorf("Keys during rotations = %+v, %v; want one, of generation %d or later", keys, err, least)
					return
				}
				last, err := k.store.LastEvent(k.ctx)
				if err != nil || last.Seq < least {
					k.Errorf("LastEvent = %d, %v; want %d or later", last.Seq, err, least)
					return
				}
			}
		})
	}
	for generation := int64(2); generation <= 100; generation++ {
		k.rotate("alice", api.DefaultKey, generation, time.Time{})
		acknowledged.Store(generation)
	}
	done.Store(true)
	readers.Wait()
}
