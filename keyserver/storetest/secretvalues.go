package storetest

import (
	"fmt"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var secretValueTests = []test{
	{"versions are listed newest first", listValues},
	{"a version is one value's", takenVersion},
	{"the newest are kept, of what gets a value", keepValues},
	{"a version that is not kept has no value", currentNotKept},
	{"deleting a secret deletes its values", deleteSecret},
	{"values may be empty, and large", valueSizes},
	{"a user may have hundreds", manySecrets},
}

// versions is which versions of a secret's value there are, in the store's
// order.
func (k *kit) versions(id keyserver.SecretID) string {
	k.Helper()
	var versions []int64
	for _, v := range k.values(id) {
		k.same("SecretValues", v, value(id, v.Version))
		versions = append(versions, v.Version)
	}
	return fmt.Sprint(versions)
}

// further is a change that brings versions of the value of a secret.
func further(id keyserver.SecretID, keep int, versions ...int64) keyserver.SecretChange {
	c := keyserver.SecretChange{Keep: keep}
	for _, v := range versions {
		c.Values = append(c.Values, value(id, v))
	}
	return c
}

func listValues(k *kit) {
	k.addUser("alice")
	npm := k.addSecrets("alice", "npm", "other")[0]
	k.changes("ChangeSecrets", k.changing("alice", further(npm.ID, 10, 9, 2, 10)))
	k.same("versions", k.versions(npm.ID), "[10 9 2 1]")
	k.same("versions of another", k.versions(secret("alice", "other").ID), "[1]")

	for _, current := range []int64{9, 2, 10} {
		npm.Version = current
		k.changes("ChangeSecrets", k.changing("alice", keyserver.SecretChange{Put: []keyserver.Secret{npm}}))
		_, values, _, err := k.store.CurrentValues(k.ctx, npm.UserID)
		want := []keyserver.SecretValue{value(npm.ID, current), value(secret("alice", "other").ID, 1)}
		k.same("CurrentValues", must(values, err)(k.T, "CurrentValues"), want)
	}
}

func takenVersion(k *kit) {
	k.addUser("alice")
	npm := k.addSecrets("alice", "npm")[0]
	k.refuses("a value of a version that is there", api.ErrConflict, k.changing("alice", further(npm.ID, 10, 1)))
	k.refuses("two values of one version", api.ErrConflict, k.changing("alice", further(npm.ID, 10, 2, 2)))
	k.refuses("a value of one that is there, which would go", api.ErrConflict, k.changing("alice", further(npm.ID, 1, 2, 1)))
	k.refuses("a value of no secret", api.ErrNotFound, k.changing("alice", further("secret-none", 10, 1)))
	gone := further(npm.ID, 10, 2)
	gone.Delete = []keyserver.SecretID{npm.ID}
	k.refuses("a value of a secret that goes", api.ErrNotFound, k.changing("alice", gone))
}

func keepValues(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	secrets := k.addSecrets("alice", "a", "b", "c")
	k.addSecrets("bob", "a")
	a, b, c := secrets[0].ID, secrets[1].ID, secrets[2].ID
	for _, id := range []keyserver.SecretID{a, b, c} {
		k.changes("ChangeSecrets", k.changing("alice", further(id, 0, 2, 3, 4)))
		k.same("versions when all stay", k.versions(id), "[4 3 2 1]")
	}
	k.changes("ChangeSecrets", k.changing("alice", further(a, 3, 6)))
	k.same("versions when three stay", k.versions(a), "[6 4 3]")
	k.changes("ChangeSecrets", k.changing("alice", further(a, 4, 7)))
	k.same("versions when there are as many as stay", k.versions(a), "[7 6 4 3]")
	k.changes("ChangeSecrets", k.changing("alice", further(a, 1, 5, 8)))
	k.same("versions when one stays", k.versions(a), "[8]")
	k.same("versions of another", k.versions(b), "[4 3 2 1]")

	// What is only put loses none; of two that get values each keeps its own.
	change := further(b, 2, 5, 6)
	change.Put, change.Values = secrets[:1], append(change.Values, value(c, 9))
	k.changes("ChangeSecrets", k.changing("alice", change))
	k.same("versions of a, b and c", k.versions(a)+k.versions(b)+k.versions(c), "[8][6 5][9 4]")
	k.same("versions of another user's", k.versions(secret("bob", "a").ID), "[1]")
}

func currentNotKept(k *kit) {
	k.addUser("alice")
	npm := secret("alice", "npm")
	npm.Version = 5
	k.changes("ChangeSecrets", k.changing("alice", creation(npm, secret("alice", "other"))))
	secrets, values, _, err := k.store.CurrentValues(k.ctx, npm.UserID)
	k.same("CurrentValues", must(secrets, err)(k.T, "CurrentValues"), []keyserver.Secret{npm, secret("alice", "other")})
	k.same("the values of CurrentValues", values, []keyserver.SecretValue{{Secret: npm.ID, Version: 5}, value(secret("alice", "other").ID, 1)})
}

func deleteSecret(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	secrets := k.addSecrets("alice", "a", "b", "c")
	k.addSecrets("bob", "a")
	a, b := secrets[0].ID, secrets[1].ID
	remove := func(ids ...keyserver.SecretID) keyserver.SecretChange { return keyserver.SecretChange{Delete: ids} }
	k.refuses("deleting none", api.ErrNotFound, k.changing("alice", remove(a, "secret-none")))
	k.refuses("deleting one twice", api.ErrNotFound, k.changing("alice", remove(a, a)))
	k.changes("ChangeSecrets", k.changing("alice", remove(a, b)))
	k.same("Secrets", k.secrets("alice"), secrets[2:])
	k.same("SecretValues of deleted ones", len(k.values(a))+len(k.values(b)), 0)
	k.same("versions of others", k.versions(secrets[2].ID)+k.versions(secret("bob", "a").ID), "[1][1]")
	k.refuses("deleting again", api.ErrNotFound, k.changing("alice", remove(a)))

	// What was deleted may come again, with nothing of what it had.
	k.changes("ChangeSecrets", k.changing("alice", keyserver.SecretChange{Put: secrets[:1]}))
	k.same("versions of one that came again", k.versions(a), "[]")
	k.changes("ChangeSecrets", k.changing("alice", further(a, 10, 1, 2)))
	k.changes("ChangeSecrets", k.changing("alice", keyserver.SecretChange{
		Delete: []keyserver.SecretID{a}, Put: secrets[:1], Values: []keyserver.SecretValue{value(a, 2)}, Keep: 10,
	}))
	k.same("versions of one that went and came in one change", k.versions(a), "[2]")
}

func valueSizes(k *kit) {
	k.addUser("alice")
	large := make([]byte, 1<<20+100)
	for i := range large {
		large[i] = byte(i * 7)
	}
	for i, sealed := range [][]byte{nil, {}, {0}, large} {
		s := secret("alice", fmt.Sprint(i))
		change := creation(s)
		change.Values[0].Sealed, change.Values[0].Version = sealed, 1
		k.changes("ChangeSecrets", k.changing("alice", change))
		k.same(fmt.Sprintf("a value of %d bytes", len(sealed)), string(k.values(s.ID)[0].Sealed) == string(sealed), true)
		_, values, _, err := k.store.CurrentValues(k.ctx, s.UserID)
		k.same(fmt.Sprintf("a current value of %d bytes", len(sealed)), string(must(values, err)(k.T, "CurrentValues")[i].Sealed) == string(sealed), true)
	}
	const last = 1<<63 - 1
	s := secret("alice", "last")
	s.Version, s.Size = last, last
	v := value(s.ID, last)
	v.Size, v.CreatedAt = last, epoch
	k.changes("ChangeSecrets", k.changing("alice", keyserver.SecretChange{Put: []keyserver.Secret{s}, Values: []keyserver.SecretValue{v}}))
	k.same("SecretValues", k.values(s.ID), []keyserver.SecretValue{v})
	k.same("Secrets", k.secrets("alice")[4], s)
}

func manySecrets(k *kit) {
	const n = 300
	k.addUser("alice")
	var want []keyserver.Secret
	for i := range n {
		want = append(want, secret("alice", fmt.Sprintf("%03d", i)))
	}
	k.changes("ChangeSecrets", k.changing("alice", creation(want...)))
	secrets, values, _, err := k.store.CurrentValues(k.ctx, "user-alice")
	k.same("CurrentValues", must(secrets, err)(k.T, "CurrentValues"), want)
	for i, v := range values {
		k.same("a value of CurrentValues", v, value(want[i].ID, 1))
	}
}
