package storetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var contextTests = []test{
	{"a cancelled context gives its own error", cancelled},
	{"one caller's context does not reach the others", othersContexts},
}

func cancelled(k *kit) {
	k.addUser("alice")
	w := k.addWorkspace("alice", "dev")
	npm := k.addSecrets("alice", "npm")[0]
	k.report(delivery(w, 1))
	k.addKnownHosts(knownHost("a"))
	k.changes("Init", func(e keyserver.Event) error { return k.store.Init(k.ctx, []byte("check"), e) })
	ctx, cancel := context.WithCancel(k.ctx)
	cancel()
	s, u := k.store, user("alice")
	for what, change := range map[string]func(keyserver.Event) error{
		"CreateUser": func(e keyserver.Event) error {
			return s.CreateUser(ctx, user("new"), key("new", "default", 1), token("new", "first"), e)
		},
		"UpdateUser": func(e keyserver.Event) error { return s.UpdateUser(ctx, u, e) },
		"DeleteUser": func(e keyserver.Event) error { return s.DeleteUser(ctx, u.ID, e) },
		"CreateKey":  func(e keyserver.Event) error { return s.CreateKey(ctx, key("alice", "new", 1), e) },
		"RotateKey": func(e keyserver.Event) error {
			return s.RotateKey(ctx, key("alice", api.DefaultKey, 2), time.Time{}, e)
		},
		"DeleteKey":   func(e keyserver.Event) error { return s.DeleteKey(ctx, u.ID, api.DefaultKey, e) },
		"RecordFetch": func(e keyserver.Event) error { return s.RecordFetch(ctx, u.ID, api.DefaultKey, 1, w.ID, e) },
		"UpdateKey":   func(e keyserver.Event) error { return s.UpdateKey(ctx, u.ID, api.DefaultKey, keySettings(0), e) },
		"RecordSign":  func(e keyserver.Event) error { return s.RecordSign(ctx, u.ID, api.DefaultKey, 1, 0, e) },
		"CreateWorkspace": func(e keyserver.Event) error {
			return s.CreateWorkspace(ctx, workspace("alice", "new"), token("alice", "new"), e)
		},
		"UpdateWorkspace": func(e keyserver.Event) error { return s.UpdateWorkspace(ctx, w, e) },
		"ChangeSecrets": func(e keyserver.Event) error {
			return s.ChangeSecrets(ctx, u.ID, k.revision("alice"), creation(secret("alice", "new")), e)
		},
		"CreateLoginKey": func(e keyserver.Event) error { return s.CreateLoginKey(ctx, loginKey("alice", "new"), e) },
		"DeleteLoginKey": func(e keyserver.Event) error { return s.DeleteLoginKey(ctx, u.ID, "new", e) },
		"CreateHostKey": func(e keyserver.Event) error {
			return s.CreateHostKey(ctx, w.ID, []byte("public"), []byte("sealed"), e)
		},
		"ReportDelivery":  func(e keyserver.Event) error { return s.ReportDelivery(ctx, delivery(w, 2), e) },
		"DeleteWorkspace": func(e keyserver.Event) error { return s.DeleteWorkspace(ctx, w.ID, e) },
		"CreateToken":     func(e keyserver.Event) error { return s.CreateToken(ctx, token("alice", "new"), e) },
		"RevokeToken":     func(e keyserver.Event) error { return s.RevokeToken(ctx, token("alice", "first").ID, e) },
		"AddKnownHosts": func(e keyserver.Event) error {
			return s.AddKnownHosts(ctx, []keyserver.KnownHost{knownHost("b")}, e)
		},
		"DeleteKnownHost": func(e keyserver.Event) error { return s.DeleteKnownHost(ctx, knownHost("a").ID, e) },
		"Record":          func(e keyserver.Event) error { return s.Record(ctx, e) },
		"Init":            func(e keyserver.Event) error { return s.Init(ctx, []byte("check"), e) },
	} {
		k.refuses(what, context.Canceled, change)
	}
	for what, read := range map[string]func() error{
		"User":               func() error { _, err := s.User(ctx, u.ID); return err },
		"UserNamed":          func() error { _, err := s.UserNamed(ctx, u.Name); return err },
		"Users":              func() error { _, err := s.Users(ctx, "", 1); return err },
		"Keys":               func() error { _, err := s.Keys(ctx, u.ID); return err },
		"Workspace":          func() error { _, err := s.Workspace(ctx, w.ID); return err },
		"Workspaces":         func() error { _, err := s.Workspaces(ctx, u.ID); return err },
		"TokenByHash":        func() error { _, err := s.TokenByHash(ctx, token("alice", "first").Hash); return err },
		"Tokens":             func() error { _, err := s.Tokens(ctx, u.ID, ""); return err },
		"Revision":           func() error { _, err := s.Revision(ctx, u.ID); return err },
		"Secrets":            func() error { _, _, err := s.Secrets(ctx, u.ID); return err },
		"CurrentValues":      func() error { _, _, _, err := s.CurrentValues(ctx, u.ID); return err },
		"SecretValues":       func() error { _, err := s.SecretValues(ctx, npm.ID); return err },
		"Deliveries":         func() error { _, err := s.Deliveries(ctx, u.ID); return err },
		"KnownHosts":         func() error { _, _, err := s.KnownHosts(ctx); return err },
		"KnownHostsRevision": func() error { _, err := s.KnownHostsRevision(ctx); return err },
		"Events":             func() error { _, err := s.Events(ctx, 0, 1); return err },
		"LastEvent":          func() error { _, err := s.LastEvent(ctx); return err },
		"MasterKeyCheck":     func() error { _, err := s.MasterKeyCheck(ctx); return err },
		"LoginKeys":          func() error { _, err := s.LoginKeys(ctx, u.ID); return err },
		"SealedHostKey":      func() error { _, err := s.SealedHostKey(ctx, w.ID); return err },
	} {
		k.wantError(what, read(), context.Canceled)
	}
	late, cancel := context.WithDeadline(k.ctx, epoch)
	defer cancel()
	k.wantError("Record after its deadline", s.Record(late, event("late")), context.DeadlineExceeded)
}

// Half of the callers cancel at some moment of their call: whatever becomes of
// theirs, the others' changes are all stored.
func othersContexts(k *kit) {
	const writers, rounds = 8, 25
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			for j := range rounds {
				name := fmt.Sprintf("user %d %d", i, j)
				ctx, cancel := context.WithCancel(k.ctx)
				leaves := i%2 == 1
				if leaves {
					go cancel()
				}
				err := k.store.CreateUser(ctx, user(name), key(name, api.DefaultKey, 1), token(name, "first"), event(name))
				if err != nil && (!leaves || ctx.Err() == nil) {
					k.Errorf("CreateUser(%s) = %v; its own context was not cancelled", name, err)
				}
				cancel()
			}
		})
	}
	all.Wait()
	stored := map[string]bool{}
	for _, e := range k.chain() {
		stored[e.Action] = true
	}
	for i := range writers {
		for j := range rounds {
			name := fmt.Sprintf("user %d %d", i, j)
			_, err := k.store.UserNamed(k.ctx, name)
			if (err == nil) != stored[name] {
				k.Errorf("%s: user there: %t; event there: %t", name, err == nil, stored[name])
			}
			if i%2 == 0 && err != nil {
				k.Errorf("UserNamed(%s) = %v; want the user whose creation was acknowledged", name, err)
			}
		}
	}
}
