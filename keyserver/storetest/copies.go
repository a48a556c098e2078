package storetest

import (
	"bytes"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func givenIsCopied(k *kit) {
	u, first, check := user("alice"), key("alice", api.DefaultKey, 1), []byte("check")
	second, other := key("alice", api.DefaultKey, 2), key("alice", "other", 1)
	w, x, change := workspace("alice", "dev"), workspace("alice", "x"), creation(secret("alice", "a"), secret("alice", "b"))
	d, hosts := delivery(w, 1), []keyserver.KnownHost{knownHost("a"), knownHost("b")}
	steps := []func(keyserver.Event) error{
		func(e keyserver.Event) error {
			return k.store.CreateUser(k.ctx, u, first, token("alice", "first"), e)
		},
		func(e keyserver.Event) error { return k.store.Init(k.ctx, check, e) },
		func(e keyserver.Event) error { return k.store.CreateKey(k.ctx, other, e) },
		func(e keyserver.Event) error {
			return k.store.RotateKey(k.ctx, second, epoch.Add(1000*time.Hour), e)
		},
		func(e keyserver.Event) error {
			return k.store.CreateWorkspace(k.ctx, w, of(w, token("alice", "dev")), e)
		},
		func(e keyserver.Event) error { return k.store.CreateWorkspace(k.ctx, x, of(x, token("alice", "x")), e) },
		func(e keyserver.Event) error { return k.store.UpdateWorkspace(k.ctx, x, e) },
		func(e keyserver.Event) error { return k.store.ReportDelivery(k.ctx, d, e) },
		func(e keyserver.Event) error { return k.changing("alice", change)(e) },
		func(e keyserver.Event) error { return k.store.AddKnownHosts(k.ctx, hosts, e) },
	}
	for _, step := range steps {
		k.changes("step", step)
	}
	before := k.dump()
	for _, b := range [][]byte{u.DataKey, first.Sealed, first.PublicKey, check, second.Sealed, second.PublicKey, other.Sealed, other.PublicKey} {
		clear(b)
	}
	clear(w.Labels)
	clear(w.Requirements)
	clear(x.Labels)
	clear(x.Requirements)
	clear(d.Items)
	clear(hosts[0].Key)
	clear(hosts)
	clear(change.Put[0].Labels)
	clear(change.Put[0].Workspaces)
	clear(change.Put)
	clear(change.Values[0].Sealed)
	clear(change.Values)
	if after := k.dump(); after != before {
		k.Fatalf("the caller changed what it had given, and the store changed; before:\n%s\nafter:\n%s", before, after)
	}
}

func returnedIsCopied(k *kit) {
	k.addUser("alice")
	k.changes("Init", func(e keyserver.Event) error { return k.store.Init(k.ctx, []byte("check"), e) })
	w := k.addWorkspace("alice", "dev")
	npm := k.addSecrets("alice", "npm", "other")[0]
	k.report(delivery(w, 1))
	k.addKnownHosts(knownHost("a"), knownHost("b"))
	before := k.dump()
	clear(must(k.store.User(k.ctx, "user-alice"))(k.T, "User").DataKey)
	clear(must(k.store.UserNamed(k.ctx, "alice"))(k.T, "UserNamed").DataKey)
	clear(must(k.store.Users(k.ctx, "", 1))(k.T, "Users")[0].DataKey)
	clear(must(k.store.MasterKeyCheck(k.ctx))(k.T, "MasterKeyCheck"))
	keys := k.keys("alice")
	clear(keys[0].Sealed)
	clear(keys[0].PublicKey)
	clear(keys)
	clear(must(k.store.Tokens(k.ctx, "user-alice", ""))(k.T, "Tokens"))
	clear(must(k.store.Events(k.ctx, 0, 10))(k.T, "Events"))
	clear(must(k.store.Workspace(k.ctx, w.ID))(k.T, "Workspace").Labels)
	all := must(k.store.Workspaces(k.ctx, w.UserID))(k.T, "Workspaces")
	clear(all[0].Labels)
	clear(all[0].Requirements)
	clear(all)
	secrets, values, _, err := k.store.CurrentValues(k.ctx, npm.UserID)
	for _, secrets := range [][]keyserver.Secret{must(secrets, err)(k.T, "CurrentValues"), k.secrets("alice")} {
		clear(secrets[0].Labels)
		clear(secrets[0].Workspaces)
		clear(secrets)
	}
	for _, values := range [][]keyserver.SecretValue{values, k.values(npm.ID)} {
		clear(values[0].Sealed)
		clear(values)
	}
	reports := k.deliveries("alice")
	clear(reports[0].Items)
	clear(reports)
	hosts, _ := k.knownHosts()
	clear(hosts[0].Key)
	clear(hosts)
	if after := k.dump(); after != before {
		k.Fatalf("the caller changed what it was given, and the store changed; before:\n%s\nafter:\n%s", before, after)
	}
	if bytes.Contains([]byte(before), []byte("DataKey:[0")) {
		k.Fatal("the data key was empty from the start")
	}
}
