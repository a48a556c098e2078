package sqlstore_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/sqlstore"
)

// need is the path of a program; without it the test is skipped, or fails
// where all is promised to be installed.
func need(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		cannot(t, name+" is not installed")
	}
	return path
}

// cannot ends a test that this machine cannot run.
func cannot(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("LATCHKEY_TEST_ALL") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// raw runs SQL behind the store's back.
func raw(t *testing.T, path string, run func(*sql.DB)) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	run(db)
}

func execute(t *testing.T, path, query string) {
	t.Helper()
	raw(t, path, func(db *sql.DB) {
		if _, err := db.Exec(query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	})
}

// checkFile lets SQLite look through the whole file.
func checkFile(t *testing.T, path string) {
	t.Helper()
	raw(t, path, func(db *sql.DB) {
		var result string
		if err := db.QueryRow("PRAGMA integrity_check").Scan(&result); err != nil || result != "ok" {
			t.Errorf("integrity_check = %q, %v", result, err)
		}
		if err := db.QueryRow("PRAGMA foreign_key_check").Scan(new(any), new(any), new(any), new(any)); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("foreign_key_check: %v; want no rows", err)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, path string)
		want    []string // in the error
	}{
		{"no such directory", func(t *testing.T, path string) { os.Remove(filepath.Dir(path)) }, []string{"no such file or directory"}},
		{"a directory", func(t *testing.T, path string) { os.Mkdir(path, 0o700) }, []string{"not a regular file"}},
		{"not a database", func(t *testing.T, path string) {
			os.WriteFile(path, []byte(strings.Repeat("this is no database\n", 100)), 0o600)
		}, []string{"file is not a database"}},
		{"another program's database", func(t *testing.T, path string) {
			execute(t, path, "CREATE TABLE cookies (name TEXT)")
		}, []string{"another program"}},
		{"a newer database", func(t *testing.T, path string) {
			open(t, path).Close()
			execute(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
		}, []string{"version 99", "only versions up to ", "newer Latchkey"}},
		{"a damaged database", func(t *testing.T, path string) {
			open(t, path).Close()
			os.Truncate(path, 5000)
		}, []string{"malformed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "data", "latchkey.db")
			os.Mkdir(filepath.Dir(path), 0o700)
			c.prepare(t, path)
			before := contents(t, filepath.Dir(path))
			refused(t, path, c.want...)
			if after := contents(t, filepath.Dir(path)); after != before {
				t.Errorf("the refusal changed the directory from\n%s\nto\n%s", before, after)
			}
		})
	}
}

// refused looks whether opening fails with an error that names the path and
// holds the given words.
func refused(t *testing.T, path string, words ...string) {
	t.Helper()
	s, err := sqlstore.Open(t.Context(), path)
	if err == nil {
		s.Close()
		t.Fatalf("Open(%s) = no error; want one with %q", path, words)
	}
	for _, w := range append(words, "open database "+path) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("Open = error %q; want %q in it", err, w)
		}
	}
}

// contents is each file of a directory with its size and a part of it.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		b, _ := os.ReadFile(path)
		fmt.Fprintf(&out, "%s: %d bytes, %.20q\n", d.Name(), len(b), b)
		return nil
	})
	return out.String()
}

// All files are the owner's alone, also where the umask would let others in.
func TestFileModes(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "latchkey.db"))
	if err := createUser(t.Context(), s, "alice"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Fatalf("the directory holds %v, %v; want the database, -wal and -shm", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, %v; want 0600", e.Name(), info.Mode(), err)
		}
	}
}

// The characters that are special in SQLite's URIs are none in a path.
func TestPaths(t *testing.T) {
	for _, name := range []string{"a b", "a?mode=memory", "a%20b", "a#b", "ä", ":memory:"} {
		path := filepath.Join(t.TempDir(), name)
		s := open(t, path)
		if err := createUser(t.Context(), s, "alice"); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("the store in %q is not in a file of that name: %v", name, err)
		}
	}
}
