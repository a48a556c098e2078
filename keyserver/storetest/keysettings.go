package storetest

import (
	"fmt"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var keySettingTests = []test{
	{"an update is for one version", updateKey},
	{"settings are those of all generations", settingsOfGenerations},
	{"settings are stored by an update only", settingsOfNewKeys},
	{"settings go with their key", deleteSettings},
	{"empty settings come back empty", emptySettings},
	{"a signature is recorded for what allowed it", recordSign},
}

// keySettings are settings that replace those of a version.
func keySettings(version int64) keyserver.KeySettings {
	return keyserver.KeySettings{
		Mode: api.SignMode, Version: version,
		Hosts:      []api.KeyHost{{Name: "z", Fingerprint: "SHA256:z"}, {Name: "a\x00\xff", Fingerprint: ""}, {Authority: true}, {}},
		Namespaces: []string{"git", "", "\xff"}, RefuseForwarded: true, UsableUntil: epoch.Add(time.Hour),
	}
}

func (k *kit) updateKey(owner, name string, set keyserver.KeySettings) func(keyserver.Event) error {
	return func(e keyserver.Event) error {
		return k.store.UpdateKey(k.ctx, keyserver.UserID("user-"+owner), name, set, e)
	}
}

// settings are those of each generation of a key, newest first.
func (k *kit) settings(owner, name string) (all []keyserver.KeySettings) {
	k.Helper()
	for _, key := range k.keys(owner) {
		if key.Name == name {
			all = append(all, key.Settings)
		}
	}
	return all
}

func updateKey(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	k.addKey("alice", "deploy")
	k.refuses("UpdateKey(no such name)", api.ErrNotFound, k.updateKey("alice", "other", keySettings(0)))
	k.refuses("UpdateKey(no such user)", api.ErrNotFound, k.updateKey("nobody", "deploy", keySettings(0)))
	k.refuses("UpdateKey of settings that are not there", api.ErrConflict, k.updateKey("alice", "deploy", keySettings(1)))
	for version := range int64(3) {
		given := keySettings(version)
		given.Namespaces = append(given.Namespaces, fmt.Sprint(version))
		k.changes("UpdateKey", k.updateKey("alice", "deploy", given))
		want := given
		want.Version++
		k.same("settings", k.settings("alice", "deploy"), []keyserver.KeySettings{want})
		for _, other := range []int64{version, version + 2, -1} {
			k.refuses(fmt.Sprintf("UpdateKey of version %d when it is %d", other, version+1), api.ErrConflict, k.updateKey("alice", "deploy", keySettings(other)))
		}
		given.Hosts[0].Name, given.Namespaces[0] = "mallory", "mallory"
		k.same("first host when the caller has changed its own", k.settings("alice", "deploy")[0].Hosts[0].Name, "z")
		k.settings("alice", "deploy")[0].Namespaces[0] = "mallory"
		k.same("first namespace when another caller has", k.settings("alice", "deploy")[0].Namespaces[0], "git")
	}
	k.same("Keys of another name", k.keys("alice")[0], key("alice", api.DefaultKey, 1))
	k.same("Keys of another user", k.keys("bob")[0], key("bob", api.DefaultKey, 1))
}

func settingsOfGenerations(k *kit) {
	k.addUser("alice")
	k.rotate("alice", api.DefaultKey, 2, epoch.Add(1000*time.Hour))
	k.changes("UpdateKey", k.updateKey("alice", api.DefaultKey, keySettings(0)))
	next := key("alice", api.DefaultKey, 3)
	next.Settings.Mode = "none of it"
	k.changes("RotateKey", func(e keyserver.Event) error {
		return k.store.RotateKey(k.ctx, next, epoch.Add(1000*time.Hour), e)
	})
	want := keySettings(1)
	k.same("settings", k.settings("alice", api.DefaultKey), []keyserver.KeySettings{want, want, want})
	k.rotate("alice", api.DefaultKey, 4, time.Time{})
	k.changes("UpdateKey", k.updateKey("alice", api.DefaultKey, want))
	want.Version++
	k.same("settings", k.settings("alice", api.DefaultKey), []keyserver.KeySettings{want, want, want})
}

func settingsOfNewKeys(k *kit) {
	given, first := key("alice", "deploy", 1), key("alice", api.DefaultKey, 1)
	given.Settings, first.Settings = keySettings(1), keySettings(1)
	k.changes("CreateUser", func(e keyserver.Event) error {
		return k.store.CreateUser(k.ctx, user("alice"), first, token("alice", "first"), e)
	})
	k.changes("CreateKey", func(e keyserver.Event) error { return k.store.CreateKey(k.ctx, given, e) })
	k.same("Keys", k.keys("alice"), []keyserver.Key{key("alice", api.DefaultKey, 1), key("alice", "deploy", 1)})
}

func deleteSettings(k *kit) {
	k.addUser("alice")
	for range 2 {
		k.addKey("alice", "deploy")
		k.changes("UpdateKey", k.updateKey("alice", "deploy", keySettings(0)))
		k.changes("DeleteKey", func(e keyserver.Event) error { return k.store.DeleteKey(k.ctx, "user-alice", "deploy", e) })
	}
	k.changes("UpdateKey", k.updateKey("alice", api.DefaultKey, keySettings(0)))
	k.changes("DeleteUser", func(e keyserver.Event) error { return k.store.DeleteUser(k.ctx, "user-alice", e) })
	k.addUser("alice")
	k.addKey("alice", "deploy")
	k.same("Keys of one who came again", k.keys("alice"), []keyserver.Key{key("alice", api.DefaultKey, 1), key("alice", "deploy", 1)})
}

func emptySettings(k *kit) {
	k.addUser("alice")
	empty := keyserver.KeySettings{Hosts: []api.KeyHost{}, Namespaces: []string{}}
	for version := range int64(2) {
		empty.Version = version
		k.changes("UpdateKey", k.updateKey("alice", api.DefaultKey, empty))
		got := k.settings("alice", api.DefaultKey)[0]
		if got.Hosts != nil || got.Namespaces != nil || !got.UsableUntil.IsZero() || got.Mode != "" || got.Version != version+1 {
			k.Errorf("empty settings came back as %#v; want nil lists and version %d", got, version+1)
		}
	}
}

func recordSign(k *kit) {
	k.addUser("alice")
	k.rotate("alice", api.DefaultKey, 2, epoch.Add(1000*time.Hour))
	k.rotate("alice", api.DefaultKey, 3, time.Time{})
	sign := func(owner, name string, generation, settings int64) func(keyserver.Event) error {
		return func(e keyserver.Event) error {
			return k.store.RecordSign(k.ctx, keyserver.UserID("user-"+owner), name, generation, settings, e)
		}
	}
	before := k.keys("alice")
	for _, generation := range []int64{1, 3} {
		k.changes("RecordSign", sign("alice", api.DefaultKey, generation, 0))
	}
	k.same("Keys after RecordSign", k.keys("alice"), before)
	k.refuses("RecordSign(removed generation)", api.ErrNotFound, sign("alice", api.DefaultKey, 2, 0))
	k.refuses("RecordSign(no such name)", api.ErrNotFound, sign("alice", "other", 1, 0))
	k.refuses("RecordSign(no such user)", api.ErrNotFound, sign("nobody", api.DefaultKey, 1, 0))
	k.refuses("RecordSign(settings to come)", api.ErrConflict, sign("alice", api.DefaultKey, 3, 1))
	k.changes("UpdateKey", k.updateKey("alice", api.DefaultKey, keySettings(0)))
	k.refuses("RecordSign(settings that were)", api.ErrConflict, sign("alice", api.DefaultKey, 3, 0))
	k.refuses("RecordSign(settings that were, of an old generation)", api.ErrConflict, sign("alice", api.DefaultKey, 1, 0))
	k.changes("RecordSign", sign("alice", api.DefaultKey, 3, 1))
}
