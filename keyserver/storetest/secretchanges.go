package storetest

import (
	"slices"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func swapSecrets(k *kit) {
	k.addUser("alice")
	all := k.addSecrets("alice", "a", "b", "c", "d")
	a, b, c, d := &all[0], &all[1], &all[2], &all[3]
	for _, swap := range []struct {
		what string
		make func()
	}{
		{"variables", func() { a.EnvName, b.EnvName = b.EnvName, a.EnvName }},
		{"files", func() { a.FilePath, b.FilePath = b.FilePath, a.FilePath }},
		{"names", func() { a.Name, b.Name = b.Name, a.Name }},
		{"all in a ring", func() {
			a.Name, b.Name, c.Name = b.Name, c.Name, a.Name
			a.EnvName, b.EnvName, c.EnvName = c.EnvName, a.EnvName, b.EnvName
			a.FilePath, b.FilePath, c.FilePath = b.FilePath, c.FilePath, a.FilePath
		}},
		{"a variable for a file", func() { a.EnvName, b.EnvName, a.FilePath, b.FilePath = "", a.EnvName, b.FilePath, "" }},
	} {
		swap.make()
		k.changes("swap "+swap.what, k.changing("alice", keyserver.SecretChange{Put: slices.Clone(all), Keep: 1}))
		want := slices.Clone(all)
		slices.SortFunc(want, func(a, b keyserver.Secret) int { return int(a.Name[0]) - int(b.Name[0]) })
		k.same("Secrets after a swap of "+swap.what, k.secrets("alice"), want)
		for _, s := range all {
			k.same("SecretValues after a swap of "+swap.what, k.values(s.ID), []keyserver.SecretValue{value(s.ID, 1)})
		}
	}
	// One that goes makes room for one that comes, in the same change.
	heir := *d
	heir.ID = "secret-heir"
	change := creation(heir)
	change.Delete = []keyserver.SecretID{d.ID}
	k.changes("a secret in the place of another", k.changing("alice", change))
	k.same("Secrets", k.secrets("alice")[3], heir)
	k.same("SecretValues of the one that went", len(k.values(d.ID)), 0)
}

func takenSecret(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	k.addSecrets("alice", "npm", "other")
	for what, take := range map[string]func(s *keyserver.Secret, from keyserver.Secret){
		"name":     func(s *keyserver.Secret, from keyserver.Secret) { s.Name = from.Name },
		"variable": func(s *keyserver.Secret, from keyserver.Secret) { s.EnvName = from.EnvName },
		"file":     func(s *keyserver.Secret, from keyserver.Secret) { s.FilePath = from.FilePath },
	} {
		fresh, other := secret("alice", "new"), secret("alice", "other")
		take(&fresh, secret("alice", "npm"))
		k.refuses("a new secret with a taken "+what, api.ErrConflict, k.changing("alice", creation(fresh)))
		take(&other, secret("alice", "npm"))
		k.refuses("a secret with the "+what+" of another", api.ErrConflict, k.changing("alice", keyserver.SecretChange{Put: []keyserver.Secret{other}}))
		one, two := secret("alice", "one"), secret("alice", "two")
		take(&one, two)
		k.refuses("two new secrets with one "+what, api.ErrConflict, k.changing("alice", creation(one, two)))
		disabled := secret("alice", "new")
		take(&disabled, secret("alice", "npm"))
		disabled.Enabled = false
		k.refuses("a disabled secret with a taken "+what, api.ErrConflict, k.changing("alice", creation(disabled)))
	}
	// They are each user's own.
	his := secret("alice", "npm")
	his.ID, his.UserID = "secret-his", "user-bob"
	k.changes("another user's secret with all of the same", k.changing("bob", creation(his)))
	k.same("Secrets", k.secrets("bob"), []keyserver.Secret{his})
}

func takenSecretID(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	npm := k.addSecrets("alice", "npm")[0]
	stolen := secret("bob", "new")
	stolen.ID = npm.ID
	k.refuses("a secret with the id of another user's", api.ErrConflict,
		k.changing("bob", keyserver.SecretChange{Put: []keyserver.Secret{stolen}}))
	k.refuses("a value for another user's", api.ErrNotFound,
		k.changing("bob", keyserver.SecretChange{Values: []keyserver.SecretValue{value(npm.ID, 2)}, Keep: 1}))
	k.refuses("deleting another user's", api.ErrNotFound,
		k.changing("bob", keyserver.SecretChange{Delete: []keyserver.SecretID{npm.ID}}))
	for what, id := range map[string]keyserver.SecretID{"a new one": "secret-new", "one that is there": npm.ID} {
		one, two := secret("alice", "one"), secret("alice", "two")
		one.ID, two.ID = id, id
		k.refuses("two secrets with the id of "+what, api.ErrConflict,
			k.changing("alice", keyserver.SecretChange{Put: []keyserver.Secret{one, two}}))
	}
}

func noTargets(k *kit) {
	k.addUser("alice")
	a, b, c, d := secret("alice", "a"), secret("alice", "b"), secret("alice", "c"), secret("alice", "d")
	a.EnvName, a.FilePath, b.EnvName, b.FilePath = "", "", "", ""
	c.EnvName, d.FilePath = "", ""
	k.changes("ChangeSecrets", k.changing("alice", creation(a, c)))
	k.changes("ChangeSecrets", k.changing("alice", creation(b, d)))
	k.same("Secrets", k.secrets("alice"), []keyserver.Secret{a, b, c, d})
}

// refusedChange has a part that would go well before and behind each part that
// does not.
func refusedChange(k *kit) {
	k.addUser("alice")
	secrets := k.addSecrets("alice", "a", "b", "c")
	base := func() keyserver.SecretChange {
		renamed, fresh := secrets[1], secret("alice", "new")
		renamed.Name, renamed.EnvName, renamed.FilePath = "renamed", "RENAMED", "~/renamed"
		c := further(secrets[1].ID, 1, 2)
		c.Delete, c.Put = []keyserver.SecretID{secrets[0].ID}, []keyserver.Secret{renamed, fresh}
		c.Values = append(c.Values, value(fresh.ID, 1))
		return c
	}
	for _, c := range []struct {
		what  string
		want  error
		spoil func(*keyserver.SecretChange)
	}{
		{"a secret to delete that is not there", api.ErrNotFound, func(c *keyserver.SecretChange) { c.Delete = append(c.Delete, "secret-none") }},
		{"a taken name", api.ErrConflict, func(c *keyserver.SecretChange) { c.Put[1].Name = "c" }},
		{"a taken variable", api.ErrConflict, func(c *keyserver.SecretChange) { c.Put[0].EnvName = secrets[2].EnvName }},
		{"a value of none", api.ErrNotFound, func(c *keyserver.SecretChange) { c.Values = append(c.Values, value(secrets[0].ID, 2)) }},
		{"a taken version", api.ErrConflict, func(c *keyserver.SecretChange) { c.Values[0].Version = 1 }},
	} {
		change := base()
		c.spoil(&change)
		k.refuses("ChangeSecrets with "+c.what, c.want, k.changing("alice", change))
	}
	k.changes("ChangeSecrets", k.changing("alice", base()))
}
