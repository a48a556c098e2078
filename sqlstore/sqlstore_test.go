package sqlstore_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/keyserver/storetest"
	"github.com/latchkey/latchkey/memstore"
	"github.com/latchkey/latchkey/sqlstore"
)

func TestStore(t *testing.T) {
	storetest.RunDurable(t, func(t *testing.T, dir string) keyserver.Store {
		return open(t, filepath.Join(dir, "latchkey.db"))
	})
}

func TestLikeMemory(t *testing.T) {
	for range 5 {
		storetest.Compare(t, memstore.New(), open(t, filepath.Join(t.TempDir(), "latchkey.db")))
	}
}

// Close waits for the changes under way: each is stored, or was refused.
func TestCloseWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "latchkey.db")
	s := open(t, path)
	var all sync.WaitGroup
	var acknowledged sync.Map
	begun := make(chan struct{}, 8)
	for i := range cap(begun) {
		all.Go(func() {
			for j := 0; ; j++ {
				name := fmt.Sprint(i, "-", j)
				err := createUser(t.Context(), s, name)
				if errors.Is(err, api.ErrUnavailable) && strings.Contains(err.Error(), "the store is closed") {
					return
				}
				if err != nil {
					t.Errorf("CreateUser while the store closes: %v", err)
					return
				}
				acknowledged.Store(name+" 1", true)
				if j == 3 {
					begun <- struct{}{}
				}
			}
		})
	}
	for range cap(begun) {
		<-begun
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	var lines []string
	acknowledged.Range(func(line, _ any) bool { lines = append(lines, line.(string)); return true })
	s = open(t, path)
	checkKept(t, s, lines)
	if last, err := s.LastEvent(t.Context()); err != nil || last.Seq != int64(len(lines)) {
		t.Errorf("%d changes were acknowledged, %d are there (%v)", len(lines), last.Seq, err)
	}
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
