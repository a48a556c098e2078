package sqlstore_test

import (
	"path/filepath"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/storetest"
	"github.com/latchkey/latchkey/sqlstore"
)

func TestStore(t *testing.T) {
	storetest.RunDurable(t, func(t *testing.T, dir string) keyserver.Store {
		return open(t, filepath.Join(dir, "latchkey.db"))
	})
}

func open(t testing.TB, path string) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
