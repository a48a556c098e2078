package storetest

import (
	"fmt"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var secretTests = []test{
	{"a new secret has a value", newSecret},
	{"whose user is not there is not found", missingSecrets},
	{"lists are by name", listSecrets},
	{"what is put replaces the secret and not its values", putSecret},
	{"secrets swap names and targets", swapSecrets},
	{"names and targets are one secret's", takenSecret},
	{"an id is one secret's of all users", takenSecretID},
	{"no target is no conflict", noTargets},
	{"a change is for one revision", staleChange},
	{"a change is made whole or not at all", refusedChange},
}

// secret is a secret with all fields set, and with targets of its own.
func secret(owner, name string) keyserver.Secret {
	return keyserver.Secret{
		ID: keyserver.SecretID("secret-" + owner + "-" + name), UserID: keyserver.UserID("user-" + owner), Name: name,
		Description: "description of " + name, EnvName: "ENV " + name, FilePath: "~/" + name, Enabled: true,
		Workspaces: []string{name, "dev"}, Labels: []string{"z", name, "a"},
		Version: 1, Size: 20, CreatedAt: epoch, UpdatedAt: epoch.Add(time.Hour),
	}
}

// value is one version of the value of a secret.
func value(id keyserver.SecretID, version int64) keyserver.SecretValue {
	return keyserver.SecretValue{
		Secret: id, Version: version, Sealed: fmt.Appendf(nil, "sealed %s/%d", id, version), Size: 20,
		CreatedAt: epoch.Add(time.Duration(version) * time.Hour), RolledBackTo: version - 1,
	}
}

// creation is the change that makes secrets, each with version 1 of its value.
func creation(secrets ...keyserver.Secret) keyserver.SecretChange {
	c := keyserver.SecretChange{Put: secrets, Keep: 10}
	for _, s := range secrets {
		c.Values = append(c.Values, value(s.ID, 1))
	}
	return c
}

func (k *kit) revision(owner string) int64 {
	k.Helper()
	return must(k.store.Revision(k.ctx, keyserver.UserID("user-"+owner)))(k.T, "Revision("+owner+")")
}

// changing is a change of a user's secrets at the revision that they have now.
func (k *kit) changing(owner string, c keyserver.SecretChange) func(keyserver.Event) error {
	k.Helper()
	revision := k.revision(owner)
	return func(e keyserver.Event) error {
		return k.store.ChangeSecrets(k.ctx, keyserver.UserID("user-"+owner), revision, c, e)
	}
}

// addSecrets makes secrets with a value each.
func (k *kit) addSecrets(owner string, names ...string) []keyserver.Secret {
	k.Helper()
	var secrets []keyserver.Secret
	for _, name := range names {
		secrets = append(secrets, secret(owner, name))
	}
	k.changes("ChangeSecrets", k.changing(owner, creation(secrets...)))
	return secrets
}

func (k *kit) secrets(owner string) []keyserver.Secret {
	k.Helper()
	secrets, _, err := k.store.Secrets(k.ctx, keyserver.UserID("user-"+owner))
	return must(secrets, err)(k.T, "Secrets("+owner+")")
}

func (k *kit) values(id keyserver.SecretID) []keyserver.SecretValue {
	k.Helper()
	return must(k.store.SecretValues(k.ctx, id))(k.T, fmt.Sprintf("SecretValues(%q)", id))
}

func newSecret(k *kit) {
	u := k.addUser("alice")
	for _, read := range []func() ([]keyserver.Secret, int64, error){
		func() ([]keyserver.Secret, int64, error) { return k.store.Secrets(k.ctx, u.ID) },
		func() ([]keyserver.Secret, int64, error) {
			secrets, values, revision, err := k.store.CurrentValues(k.ctx, u.ID)
			k.same("values before there are secrets", len(values), 0)
			return secrets, revision, err
		},
	} {
		secrets, revision, err := read()
		if len(secrets) != 0 || revision != 1 || err != nil {
			k.Fatalf("the secrets of a new user = %v at revision %d, %v; want none at revision 1", secrets, revision, err)
		}
	}
	s := k.addSecrets("alice", "npm")[0]
	secrets, revision, err := k.store.Secrets(k.ctx, u.ID)
	k.same("Secrets", must(secrets, err)(k.T, "Secrets"), []keyserver.Secret{s})
	k.same("its revision", revision, int64(2))
	secrets, values, revision, err := k.store.CurrentValues(k.ctx, u.ID)
	k.same("CurrentValues", must(secrets, err)(k.T, "CurrentValues"), []keyserver.Secret{s})
	k.same("the values of CurrentValues", values, []keyserver.SecretValue{value(s.ID, 1)})
	k.same("the revision of CurrentValues", revision, int64(2))
	k.same("SecretValues", k.values(s.ID), values)
	k.same("Revision", k.revision("alice"), int64(2))
}

func missingSecrets(k *kit) {
	k.addUser("alice")
	k.addSecrets("alice", "npm")
	const nobody = "user-nobody"
	_, err := k.store.Revision(k.ctx, nobody)
	k.wantError("Revision(nobody)", err, api.ErrNotFound)
	_, _, err = k.store.Secrets(k.ctx, nobody)
	k.wantError("Secrets(nobody)", err, api.ErrNotFound)
	_, _, _, err = k.store.CurrentValues(k.ctx, nobody)
	k.wantError("CurrentValues(nobody)", err, api.ErrNotFound)
	k.same("SecretValues(none)", len(k.values("secret-none")), 0)
	for _, revision := range []int64{0, 1, 2} {
		k.refuses("ChangeSecrets(nobody)", api.ErrNotFound, func(e keyserver.Event) error {
			return k.store.ChangeSecrets(k.ctx, nobody, revision, creation(secret("nobody", "npm")), e)
		})
	}
}

func listSecrets(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	k.addSecrets("bob", "b", "z")
	k.addSecrets("alice", "z", "B", "a")
	k.addSecrets("alice", "b")
	var want []keyserver.Secret
	var values []keyserver.SecretValue
	for _, name := range []string{"B", "a", "b", "z"} {
		s := secret("alice", name)
		want, values = append(want, s), append(values, value(s.ID, 1))
	}
	k.same("Secrets", k.secrets("alice"), want)
	secrets, current, _, err := k.store.CurrentValues(k.ctx, "user-alice")
	k.same("CurrentValues", must(secrets, err)(k.T, "CurrentValues"), want)
	k.same("the values of CurrentValues", current, values)
}

func putSecret(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	npm := k.addSecrets("alice", "npm", "other")[0]
	next := secret("bob", "new") // all is different, and another user's
	next.ID, next.Enabled, next.Version, next.Size = npm.ID, false, 7, 99
	next.Workspaces, next.Labels, next.CreatedAt = nil, []string{"x"}, epoch.Add(-time.Hour)
	k.changes("ChangeSecrets", k.changing("alice", keyserver.SecretChange{Put: []keyserver.Secret{next}, Keep: 1}))
	next.UserID = npm.UserID
	k.same("Secrets", k.secrets("alice"), []keyserver.Secret{next, secret("alice", "other")})
	k.same("Secrets of another user", len(k.secrets("bob")), 0)
	k.same("SecretValues", k.values(npm.ID), []keyserver.SecretValue{value(npm.ID, 1)})

	for what, list := range map[string][]string{"no list": nil, "an empty list": {}} {
		next.Workspaces, next.Labels = list, list
		k.changes("ChangeSecrets with "+what, k.changing("alice", keyserver.SecretChange{Put: []keyserver.Secret{next}}))
		if got := k.secrets("alice")[0]; got.Workspaces != nil || got.Labels != nil {
			k.Errorf("%s came back as %#v and %#v; want nil", what, got.Workspaces, got.Labels)
		}
	}
}
