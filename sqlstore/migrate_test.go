package sqlstore_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/pressly/goose/v3"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/sqlstore"
)

// firstVersion makes a database as the first version of the schema had it,
// with a user who has two generations of a key, a workspace and a token.
func firstVersion(t *testing.T, path string) {
	t.Helper()
	first, err := os.ReadFile("migrations/sqlite/00001_first.sql")
	if err != nil {
		t.Fatal(err)
	}
	raw(t, path, func(db *sql.DB) {
		p, err := goose.NewProvider(goose.DialectSQLite3, db, fstest.MapFS{"00001_first.sql": {Data: first}},
			goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
		if err == nil {
			_, err = p.Up(t.Context())
		}
		if err != nil {
			t.Fatalf("make the first version: %v", err)
		}
		hash := api.HashToken("text")
		for _, insert := range []string{
			`users VALUES (CAST('u' AS BLOB), CAST('alice' AS BLOB), CAST('admin' AS BLOB), 0, x'0102', 3, 1000000, 2000000)`,
			`keys VALUES (CAST('u' AS BLOB), CAST('default' AS BLOB), 1, CAST('ed25519' AS BLOB), x'01', CAST('SHA256:1' AS BLOB), x'11', 1, 1000000, 1000000, 9000000, 3000000, CAST('w' AS BLOB))`,
			`keys VALUES (CAST('u' AS BLOB), CAST('default' AS BLOB), 2, CAST('ed25519' AS BLOB), x'02', CAST('SHA256:2' AS BLOB), x'22', 0, 1000000, 2000000, NULL, NULL, x'')`,
			`workspaces VALUES (CAST('w' AS BLOB), CAST('u' AS BLOB), CAST('dev' AS BLOB), 1000000)`,
			`tokens VALUES ($1, CAST('t' AS BLOB), CAST('workspace' AS BLOB), CAST('u' AS BLOB), CAST('w' AS BLOB), x'', 1000000, NULL, NULL)`,
			`events VALUES (1, 1000000, x'', x'', CAST('user.create' AS BLOB), x'', x'', x'', CAST('ok' AS BLOB), x'', $1)`,
		} {
			if _, err := db.Exec("INSERT INTO "+insert, hash[:]); err != nil {
				t.Fatalf("%s: %v", insert, err)
			}
		}
	})
}

// A database that an older Latchkey has made keeps all that is in it, and has
// what is new.
func TestFirstVersionOpens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "latchkey.db")
	firstVersion(t, path)
	ctx := t.Context()
	for range 2 {
		s := open(t, path)
		if u, err := s.UserNamed(ctx, "alice"); err != nil || u.ID != "u" || u.Version != 3 || u.Role != api.RoleAdmin || string(u.DataKey) != "\x01\x02" {
			t.Errorf("UserNamed = %+v, %v", u, err)
		}
		keys, err := s.Keys(ctx, "u")
		if err != nil || len(keys) != 2 || string(keys[0].Sealed) != "\x22" || string(keys[1].Sealed) != "\x11" || keys[1].LastFetchedBy != "w" || keys[0].Settings.Version != 0 {
			t.Errorf("Keys = %+v, %v", keys, err)
		}
		w, err := s.Workspace(ctx, "w")
		if err != nil || w.UserID != "u" || w.Name != "dev" || w.Version != 1 || w.Labels != nil || w.RefuseSecrets || w.Requirements != nil || w.KeyMode != "" || w.HostKey != nil || w.CreatedAt.Unix() != 1 {
			t.Errorf("Workspace = %+v, %v; want version 1 without settings", w, err)
		}
		if token, err := s.TokenByHash(ctx, api.HashToken("text")); err != nil || token.WorkspaceID != "w" {
			t.Errorf("TokenByHash = %+v, %v", token, err)
		}
		if e, err := s.LastEvent(ctx); err != nil || e.Seq != 1 || e.Action != "user.create" || e.Facts != "" {
			t.Errorf("LastEvent = %+v, %v", e, err)
		}
		if secrets, revision, err := s.Secrets(ctx, "u"); len(secrets) != 0 || revision != 1 || err != nil {
			t.Errorf("Secrets = %+v at revision %d, %v; want none at revision 1", secrets, revision, err)
		}
		if hosts, revision, err := s.KnownHosts(ctx); len(hosts) != 0 || revision != 0 || err != nil {
			t.Errorf("KnownHosts = %+v at revision %d, %v; want none at revision 0", hosts, revision, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		checkFile(t, path)
	}

	s := open(t, path)
	useSecrets(t, s)
	if err := s.UpdateKey(ctx, "u", "default", keyserver.KeySettings{Mode: api.SignMode}, keyserver.Event{}); err != nil {
		t.Fatalf("UpdateKey: %v", err)
	}
	if err := s.DeleteUser(ctx, "u", keyserver.Event{}); err != nil {
		t.Fatalf("DeleteUser: %v", err)
	}
	s.Close()
	checkFile(t, path)
	raw(t, path, func(db *sql.DB) {
		for _, table := range []string{"users", "keys", "workspaces", "tokens", "secrets", "secret_values", "deliveries", "key_settings", "login_keys"} {
			var rows int
			if err := db.QueryRow("SELECT COUNT(*) FROM " + table).Scan(&rows); err != nil || rows != 0 {
				t.Errorf("%s has %d rows, %v, when the only user is deleted; want none", table, rows, err)
			}
		}
	})
}

// useSecrets makes each change that the second version of the schema brought.
func useSecrets(t *testing.T, s *sqlstore.Store) {
	t.Helper()
	ctx := t.Context()
	w := keyserver.Workspace{ID: "w", Version: 1, Labels: []string{"gpu"}, RefuseSecrets: true}
	if err := s.UpdateWorkspace(ctx, w, keyserver.Event{}); err != nil {
		t.Fatalf("UpdateWorkspace: %v", err)
	}
	change := keyserver.SecretChange{
		Put:    []keyserver.Secret{{ID: "s", Name: "npm", EnvName: "NPM_TOKEN", Version: 1}},
		Values: []keyserver.SecretValue{{Secret: "s", Version: 1, Sealed: []byte("sealed")}},
	}
	if err := s.ChangeSecrets(ctx, "u", 2, change, keyserver.Event{}); err != nil {
		t.Fatalf("ChangeSecrets: %v", err)
	}
	if err := s.ReportDelivery(ctx, keyserver.Delivery{WorkspaceID: "w", Revision: 3}, keyserver.Event{}); err != nil {
		t.Fatalf("ReportDelivery: %v", err)
	}
	if _, values, revision, err := s.CurrentValues(ctx, "u"); err != nil || revision != 3 || len(values) != 1 || string(values[0].Sealed) != "sealed" {
		t.Errorf("CurrentValues = %+v at revision %d, %v", values, revision, err)
	}
}
