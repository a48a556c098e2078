package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

// A kit is a store under test and what the tests say about it.
type kit struct {
	*testing.T
	store keyserver.Store
	ctx   context.Context
}

func newKit(t *testing.T, s keyserver.Store) *kit {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return &kit{t, s, t.Context()}
}

// epoch is when the records of the tests were made.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

func user(name string) keyserver.User {
	return keyserver.User{
		ID: keyserver.UserID("user-" + name), Name: name, Role: api.RoleUser,
		DataKey: []byte("data key of " + name), Version: 1, CreatedAt: epoch, UpdatedAt: epoch,
	}
}

// key is one generation of a key; the fingerprint tells it from all others.
func key(owner, name string, generation int64) keyserver.Key {
	text := fmt.Sprintf("%s/%s/%d", owner, name, generation)
	return keyserver.Key{
		UserID: keyserver.UserID("user-" + owner), Name: name, Generation: generation, Algorithm: api.Ed25519,
		PublicKey: []byte("public " + text), Fingerprint: "SHA256:" + text, Sealed: []byte("sealed " + text),
		CreatedAt: epoch, UpdatedAt: epoch.Add(time.Duration(generation-1) * time.Hour),
	}
}

func workspace(owner, name string) keyserver.Workspace {
	return keyserver.Workspace{
		ID: keyserver.WorkspaceID("workspace-" + owner + "-" + name), UserID: keyserver.UserID("user-" + owner),
		Name: name, Version: 1, CreatedAt: epoch, Labels: []string{"z", name, "a"},
		Requirements: []api.Requirement{{EnvName: name, Help: "help"}, {FilePath: "~/" + name, Help: "get " + name}},
	}
}

// token is a session token; of makes it a workspace's.
func token(owner, id string) keyserver.Token {
	return keyserver.Token{
		ID: keyserver.TokenID("token-" + owner + "-" + id), Hash: api.HashToken(owner + "/" + id), Kind: api.SessionToken,
		UserID: keyserver.UserID("user-" + owner), Description: "description of " + id,
		CreatedAt: epoch, ExpiresAt: epoch.Add(24 * time.Hour),
	}
}

func of(w keyserver.Workspace, t keyserver.Token) keyserver.Token {
	t.Kind, t.WorkspaceID = api.WorkspaceToken, w.ID
	return t
}

func event(action string) keyserver.Event {
	return keyserver.Event{
		At: epoch.Add(time.Minute), Actor: "user:alice", ActorID: "user-alice", Action: action, Target: "target",
		TargetID: "user-alice", Remote: "192.0.2.1:4711", Result: keyserver.OK, Detail: "detail", Facts: "facts",
	}
}

// addUser makes a user with generation 1 of the default key and one token.
func (k *kit) addUser(name string) keyserver.User {
	k.Helper()
	u := user(name)
	k.changes("CreateUser("+name+")", func(e keyserver.Event) error {
		return k.store.CreateUser(k.ctx, u, key(name, api.DefaultKey, 1), token(name, "first"), e)
	})
	return u
}

// addWorkspace makes a workspace with one token.
func (k *kit) addWorkspace(owner, name string) keyserver.Workspace {
	k.Helper()
	w := workspace(owner, name)
	k.changes("CreateWorkspace("+name+")", func(e keyserver.Event) error {
		return k.store.CreateWorkspace(k.ctx, w, of(w, token(owner, name)), e)
	})
	return w
}

// changes makes a change that must succeed, and looks whether its event is the
// next one of the chain, with all its fields.
func (k *kit) changes(what string, change func(keyserver.Event) error) {
	k.Helper()
	before := k.lastEvent()
	e := event(what)
	if err := change(e); err != nil {
		k.Fatalf("%s = %v; want no error", what, err)
	}
	after := k.lastEvent()
	e.Chain(before)
	if after != e {
		k.Fatalf("%s: the last event is\n%+v\nwant\n%+v", what, after, e)
	}
}

// refuses makes a change that must fail, and looks whether the store is as it
// was before: not a part of the change is there, and no event.
func (k *kit) refuses(what string, want error, change func(keyserver.Event) error) {
	k.Helper()
	before := k.dump()
	k.wantError(what, change(event(what)), want)
	if after := k.dump(); after != before {
		k.Fatalf("%s was refused, but the store changed; before:\n%s\nafter:\n%s", what, before, after)
	}
}

func (k *kit) wantError(what string, err, want error) {
	k.Helper()
	if !errors.Is(err, want) {
		k.Fatalf("%s = error %v; want %v", what, err, want)
	}
	for _, kind := range []error{api.ErrNotFound, api.ErrConflict, api.ErrUnauthenticated, api.ErrUnavailable, context.Canceled} {
		if kind != want && errors.Is(err, kind) {
			k.Fatalf("%s = error %v; it is %v and %v at once", what, err, want, kind)
		}
	}
}

func (k *kit) lastEvent() keyserver.Event {
	k.Helper()
	e, err := k.store.LastEvent(k.ctx)
	if errors.Is(err, api.ErrNotFound) {
		return keyserver.Event{}
	}
	if err != nil {
		k.Fatalf("LastEvent: %v", err)
	}
	return e
}

// dump is all that a store returns, as text that says the same for stores that
// hold the same.
func (k *kit) dump() string { return dump(k.T, k.store) }

func dump(t *testing.T, s keyserver.Store) string {
	t.Helper()
	ctx := t.Context()
	var out strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	check, err := s.MasterKeyCheck(ctx)
	line("check %q %t", check, err == nil)
	users := must(s.Users(ctx, "", 1<<30))(t, "Users")
	for _, u := range users {
		line("user %+v", u)
		for _, key := range must(s.Keys(ctx, u.ID))(t, "Keys") {
			line("  key %+v", key)
		}
		for _, tok := range must(s.Tokens(ctx, u.ID, ""))(t, "Tokens") {
			line("  token %+v", tok)
		}
		for _, key := range must(s.LoginKeys(ctx, u.ID))(t, "LoginKeys") {
			line("  login key %+v", key)
		}
		for _, w := range must(s.Workspaces(ctx, u.ID))(t, "Workspaces") {
			line("  workspace %+v", w)
			sealed, err := s.SealedHostKey(ctx, w.ID)
			line("    host key %q %t", sealed, err == nil)
			for _, tok := range must(s.Tokens(ctx, u.ID, w.ID))(t, "Tokens") {
				line("    token %+v", tok)
			}
		}
		dumpSecrets(t, s, u.ID, line)
	}
	hosts, revision, err := s.KnownHosts(ctx)
	line("revision %d of the known hosts", must(revision, err)(t, "KnownHosts"))
	for _, h := range hosts {
		line("  known host %+v", h)
	}
	for _, e := range must(s.Events(ctx, 0, 1<<30))(t, "Events") {
		line("event %+v", e)
	}
	return out.String()
}

func dumpSecrets(t *testing.T, s keyserver.Store, user keyserver.UserID, line func(format string, args ...any)) {
	t.Helper()
	ctx := t.Context()
	secrets, current, revision, err := s.CurrentValues(ctx, user)
	line("  revision %d, %d values", must(revision, err)(t, "CurrentValues"), len(current))
	for i, secret := range secrets {
		line("  secret %+v, value %+v", secret, current[i])
		for _, v := range must(s.SecretValues(ctx, secret.ID))(t, "SecretValues") {
			line("    value %+v", v)
		}
	}
	for _, d := range must(s.Deliveries(ctx, user))(t, "Deliveries") {
		line("  delivery %+v", d)
	}
	listed, at, err := s.Secrets(ctx, user)
	if g, w := fmt.Sprint(listed, at, err), fmt.Sprint(secrets, revision, nil); g != w {
		t.Fatalf("Secrets =\n%s\nbut CurrentValues =\n%s", g, w)
	}
	if r, err := s.Revision(ctx, user); r != revision || err != nil {
		t.Fatalf("Revision = %d, %v; CurrentValues has %d", r, err, revision)
	}
}

// must takes what a call returned, then the test to end if that is an error:
// must(s.User(ctx, id))(t, "User").
func must[V any](v V, err error) func(t *testing.T, what string) V {
	return func(t *testing.T, what string) V {
		t.Helper()
		if err != nil {
			t.Fatalf("%s = error %v; want none", what, err)
		}
		return v
	}
}

// same compares records. Empty and missing bytes are the same.
func (k *kit) same(what string, got, want any) {
	k.Helper()
	g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want)
	if g != w || reflect.TypeOf(got) != reflect.TypeOf(want) {
		k.Fatalf("%s =\n%s\nwant\n%s", what, g, w)
	}
}

// chain looks whether all events follow each other without a gap, and returns
// them.
func (k *kit) chain() []keyserver.Event {
	k.Helper()
	events := must(k.store.Events(k.ctx, 0, 1<<30))(k.T, "Events")
	var last keyserver.Event
	for _, e := range events {
		if !e.Follows(last) {
			k.Fatalf("event %d (%s) does not follow event %d (%s)", e.Seq, e.Action, last.Seq, last.Action)
		}
		last = e
	}
	return events
}
