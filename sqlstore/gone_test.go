package sqlstore_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/sqlstore"
)

// What is deleted is gone from the file, not only from the tables; also what
// fills pages of its own, and what others follow in the file.
func TestDeletedIsGone(t *testing.T) {
	const user = keyserver.UserID("id of alice")
	change := func(c keyserver.SecretChange) func(context.Context, *sqlstore.Store) error {
		return func(ctx context.Context, s *sqlstore.Store) error {
			revision, err := s.Revision(ctx, user)
			if err != nil {
				return err
			}
			return s.ChangeSecrets(ctx, user, revision, c, keyserver.Event{})
		}
	}
	second := keyserver.SecretChange{Keep: 1, Values: []keyserver.SecretValue{{Secret: "small", Version: 2}, {Secret: "large", Version: 2}}}
	deleteUser := func(ctx context.Context, s *sqlstore.Store) error { return s.DeleteUser(ctx, user, keyserver.Event{}) }
	for _, c := range []struct {
		name   string
		remove func(context.Context, *sqlstore.Store) error
		gone   []string
	}{
		{"user", deleteUser, []string{"data key", "sealed small 1", "sealed large 1", "sealed other 1", "description of small"}},
		{"secret", change(keyserver.SecretChange{Delete: []keyserver.SecretID{"small"}}), []string{"sealed small 1", "description of small"}},
		{"large secret", change(keyserver.SecretChange{Delete: []keyserver.SecretID{"large"}}), []string{"sealed large 1"}},
		{"version", change(second), []string{"sealed small 1", "sealed large 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "latchkey.db")
			within := func(do func(context.Context, *sqlstore.Store) error) {
				t.Helper()
				s := open(t, path)
				if err := do(t.Context(), s); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			holds := func(text string) bool {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				return strings.Contains(string(b), text)
			}
			within(func(ctx context.Context, s *sqlstore.Store) error { return createUser(ctx, s, "alice") })
			within(change(secretsOfSizes(map[keyserver.SecretID]int{"small": 1, "large": 40_000, "other": 1})))
			for _, text := range c.gone {
				if !holds(text) {
					t.Fatalf("the file does not hold %q: this test looks for the wrong thing", text)
				}
			}
			within(c.remove)
			for _, text := range c.gone {
				if holds(text) {
					t.Errorf("the file holds %q, which was deleted", text)
				}
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 1 {
				t.Errorf("a closed store leaves %v; want only the database", entries)
			}
		})
	}
}

// secretsOfSizes is a change that makes secrets, each with a value that says
// "sealed ID 1" as often as its size says.
func secretsOfSizes(sizes map[keyserver.SecretID]int) keyserver.SecretChange {
	var c keyserver.SecretChange
	for id, size := range sizes {
		c.Put = append(c.Put, keyserver.Secret{ID: id, Name: string(id), Description: "description of " + string(id), Version: 1})
		sealed := bytes.Repeat(fmt.Appendf(nil, "sealed %s 1,", id), size)
		c.Values = append(c.Values, keyserver.SecretValue{Secret: id, Version: 1, Sealed: sealed})
	}
	return c
}
