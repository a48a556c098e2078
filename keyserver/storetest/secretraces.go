package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/latchkey/latchkey/keyserver"
)

func raceSecrets(k *kit) {
	k.addUser("alice")
	for round := range 10 {
		revision := k.revision("alice")
		k.race("ChangeSecrets", func(racer int, e keyserver.Event) error {
			s := secret("alice", fmt.Sprint(round, " by ", racer))
			return k.store.ChangeSecrets(k.ctx, s.UserID, revision, creation(s), e)
		})
		k.same("Revision", k.revision("alice"), revision+1)
		k.same("secrets", len(k.secrets("alice")), round+1)
	}
}

func raceWorkspaceUpdates(k *kit) {
	k.addUser("alice")
	w := k.addWorkspace("alice", "dev")
	for range 10 {
		k.race("UpdateWorkspace", func(racer int, e keyserver.Event) error {
			w := w
			w.Labels = []string{fmt.Sprint(racer)}
			return k.store.UpdateWorkspace(k.ctx, w, e)
		})
		w = must(k.store.Workspace(k.ctx, w.ID))(k.T, "Workspace")
		k.same("last event", k.lastEvent().Action, "UpdateWorkspace by "+w.Labels[0])
	}
	k.same("Version", w.Version, int64(11))
}

// Every change gives all secrets the version that the revision will be, and
// there is one secret more at even revisions.
func raceSecretReaders(k *kit) {
	const count = 5
	k.addUser("alice")
	change := func(version int64) keyserver.SecretChange {
		c := keyserver.SecretChange{Keep: 1}
		for i := range count + 1 {
			s := secret("alice", fmt.Sprint(i))
			if s.Version = version; i == count && version%2 == 1 {
				c.Delete = append(c.Delete, s.ID)
				continue
			}
			c.Put, c.Values = append(c.Put, s), append(c.Values, value(s.ID, version))
		}
		return c
	}
	k.changes("ChangeSecrets", k.changing("alice", change(2)))
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for !done.Load() {
				secrets, values, revision, err := k.store.CurrentValues(k.ctx, "user-alice")
				if err != nil || !momentary(secrets, values, revision, count) {
					k.Errorf("CurrentValues during changes = %+v, %+v, %d, %v", secrets, values, revision, err)
					return
				}
				secrets, revision, err = k.store.Secrets(k.ctx, "user-alice")
				if err != nil || !momentary(secrets, nil, revision, count) {
					k.Errorf("Secrets during changes = %+v, %d, %v", secrets, revision, err)
					return
				}
			}
		})
	}
	for version := int64(3); version < 100; version++ {
		k.changes("ChangeSecrets", k.changing("alice", change(version)))
	}
	done.Store(true)
	readers.Wait()
}

// momentary reports whether all belongs to one revision. values may be nil.
func momentary(secrets []keyserver.Secret, values []keyserver.SecretValue, revision int64, count int) bool {
	if revision%2 == 0 {
		count++
	}
	for i, s := range secrets {
		if s.Version != revision || values != nil && string(values[i].Sealed) != string(value(s.ID, revision).Sealed) {
			return false
		}
	}
	return len(secrets) == count && (values == nil || len(values) == count)
}
