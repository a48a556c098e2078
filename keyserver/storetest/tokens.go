package storetest

import (
	"fmt"
	"time"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

var tokenTests = []test{
	{"lists are by time and id, sessions and workspaces apart", listTokens},
	{"a token needs its user and its workspace", tokenOwners},
	{"what is taken is a conflict", takenToken},
	{"a token is revoked once", revokeToken},
	{"a credential makes changes while it holds", credentials},
}

func (k *kit) addToken(t keyserver.Token) keyserver.Token {
	k.Helper()
	k.changes("CreateToken("+string(t.ID)+")", func(e keyserver.Event) error { return k.store.CreateToken(k.ctx, t, e) })
	return t
}

func listTokens(k *kit) {
	u := k.addUser("alice")
	k.addUser("bob")
	w := k.addWorkspace("alice", "dev")
	at := func(t keyserver.Token, d time.Duration) keyserver.Token {
		t.CreatedAt = epoch.Add(d)
		return t
	}
	c := k.addToken(at(token("alice", "c"), time.Microsecond))
	b := k.addToken(at(token("alice", "b"), 2*time.Microsecond))
	a := k.addToken(at(token("alice", "a"), 2*time.Microsecond))
	zero := token("alice", "zero")
	zero.CreatedAt = time.Time{}
	k.addToken(zero)
	second := k.addToken(of(w, at(token("alice", "second"), -time.Hour)))
	k.same("Tokens", must(k.store.Tokens(k.ctx, u.ID, ""))(k.T, "Tokens"), []keyserver.Token{zero, token("alice", "first"), c, a, b})
	k.same("Tokens of the workspace", must(k.store.Tokens(k.ctx, u.ID, w.ID))(k.T, "Tokens"), []keyserver.Token{second, of(w, token("alice", "dev"))})
	k.same("Tokens of another user's workspace", len(must(k.store.Tokens(k.ctx, "user-bob", w.ID))(k.T, "Tokens")), 0)
	_, err := k.store.TokenByHash(k.ctx, api.HashToken("none"))
	k.wantError("TokenByHash(none)", err, api.ErrNotFound)
}

func tokenOwners(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	w := k.addWorkspace("alice", "dev")
	for what, t := range map[string]keyserver.Token{
		"a user who is not there":      token("nobody", "new"),
		"a workspace that is not":      of(workspace("alice", "none"), token("alice", "new")),
		"a workspace of another user":  of(w, token("bob", "new")),
		"neither user nor a workspace": of(workspace("nobody", "none"), token("nobody", "new")),
	} {
		k.refuses("CreateToken with "+what, api.ErrNotFound, func(e keyserver.Event) error { return k.store.CreateToken(k.ctx, t, e) })
	}
}

func takenToken(k *kit) {
	k.addUser("alice")
	k.addUser("bob")
	first := token("bob", "first")
	for what, change := range map[string]func(*keyserver.Token){
		"id":   func(t *keyserver.Token) { t.ID = first.ID },
		"hash": func(t *keyserver.Token) { t.Hash = first.Hash },
	} {
		t := token("alice", "new")
		change(&t)
		k.refuses("CreateToken with a taken "+what, api.ErrConflict, func(e keyserver.Event) error { return k.store.CreateToken(k.ctx, t, e) })
	}
}

func revokeToken(k *kit) {
	k.addUser("alice")
	t := k.addToken(token("alice", "t"))
	k.changes("RevokeToken", func(e keyserver.Event) error { return k.store.RevokeToken(k.ctx, t.ID, e) })
	t.RevokedAt = event("").At
	k.same("TokenByHash", must(k.store.TokenByHash(k.ctx, t.Hash))(k.T, "TokenByHash"), t)

	before := len(k.chain())
	again := event("token.revoke")
	again.At = epoch.Add(time.Hour)
	if err := k.store.RevokeToken(k.ctx, t.ID, again); err != nil {
		k.Fatalf("RevokeToken a second time = %v; want no error", err)
	}
	k.same("TokenByHash after a second time", must(k.store.TokenByHash(k.ctx, t.Hash))(k.T, "TokenByHash"), t)
	k.same("events after a second time", len(k.chain()), before+1)
	k.same("another token", must(k.store.TokenByHash(k.ctx, token("alice", "first").Hash))(k.T, "TokenByHash"), token("alice", "first"))
	k.refuses("RevokeToken(none)", api.ErrNotFound, func(e keyserver.Event) error { return k.store.RevokeToken(k.ctx, "none", e) })
}

// credentials are refused from the moment when their token is revoked or gone,
// or their user was changed.
func credentials(k *kit) {
	alice := k.addUser("alice")
	t := k.addToken(token("alice", "acting"))
	by := keyserver.Credential{Token: t.ID, UserVersion: alice.Version}
	made := 0
	use := func(by keyserver.Credential) func(keyserver.Event) error {
		return func(e keyserver.Event) error {
			made++
			e.By = by
			return k.store.CreateToken(k.ctx, token("alice", fmt.Sprint("made", made)), e)
		}
	}
	k.changes("CreateToken by a credential that holds", use(by))
	k.refuses("CreateToken by a token that is not there", api.ErrUnauthenticated, use(keyserver.Credential{Token: "none", UserVersion: alice.Version}))
	k.refuses("CreateToken by a user of another version", api.ErrUnauthenticated, use(keyserver.Credential{Token: t.ID, UserVersion: alice.Version + 1}))
	k.changes("UpdateUser", func(e keyserver.Event) error { return k.store.UpdateUser(k.ctx, alice, e) })
	k.refuses("CreateToken after the user was changed", api.ErrUnauthenticated, use(by))
	by.UserVersion++
	k.changes("CreateToken by the changed user", use(by))
	k.changes("RevokeToken", func(e keyserver.Event) error {
		e.By = by
		return k.store.RevokeToken(k.ctx, t.ID, e)
	})
	k.refuses("CreateToken by a revoked token", api.ErrUnauthenticated, use(by))
	w, npm := k.addWorkspace("alice", "dev"), secret("alice", "npm")
	revision := k.revision("alice")
	for what, change := range map[string]func(keyserver.Event) error{
		"ChangeSecrets": func(e keyserver.Event) error {
			return k.store.ChangeSecrets(k.ctx, npm.UserID, revision, creation(npm), e)
		},
		"UpdateWorkspace": func(e keyserver.Event) error { return k.store.UpdateWorkspace(k.ctx, w, e) },
		"UpdateKey":       k.updateKey("alice", api.DefaultKey, keySettings(0)),
		"RecordSign":      func(e keyserver.Event) error { return k.store.RecordSign(k.ctx, alice.ID, api.DefaultKey, 1, 0, e) },
		"ReportDelivery":  func(e keyserver.Event) error { return k.store.ReportDelivery(k.ctx, delivery(w, 1), e) },
	} {
		k.refuses(what+" by a revoked token", api.ErrUnauthenticated, func(e keyserver.Event) error {
			e.By = by
			return change(e)
		})
	}
	k.changes("Record of a revoked token's refusal", func(e keyserver.Event) error {
		e.By = by
		return k.store.Record(k.ctx, e)
	})
}
