package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

func TestCreatePrivate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := createPrivate(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); got != "before" {
		t.Errorf("before commit the file holds %q; want what it held", got)
	}
	if err := f.commit([]byte("after")); err != nil {
		t.Fatal(err)
	}
	f.abandon()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); got != "after" || info.Mode().Perm() != 0o600 {
		t.Errorf("after commit the file holds %q with mode %v; want \"after\" and 0600", got, info.Mode())
	}
	onlyFiles(t, dir, "file")
}

func TestAbandonedFileIsGone(t *testing.T) {
	dir := t.TempDir()
	f, err := createPrivate(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	f.abandon()
	f.abandon()
	onlyFiles(t, dir)
}

func TestCommitThatFailsLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	f, err := createPrivate(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil { // which a file can't take the place of
		t.Fatal(err)
	}
	if err := f.commit([]byte("x")); err == nil {
		t.Error("commit over a directory gave no error")
	}
	onlyFiles(t, dir, "file")
}

func TestReadPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "my file")
	for mode, hint := range map[os.FileMode]string{
		0o600: "", 0o400: "",
		0o640: "if nobody has: chmod 600 '" + path + "'",
		0o604: "if nobody has: chmod 600 '" + path + "'",
	} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := readPrivate(path, 10)
		if got := hintOf(err); (err != nil) != (hint != "") || got != hint {
			t.Errorf("reading a file of mode %04o: %v, hint %q; want the hint %q", mode, err, got, hint)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadPrivateIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 11<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readPrivate(path, 10<<10); err == nil || !strings.Contains(err.Error(), "over 10 KiB") {
		t.Errorf("reading 11 KiB where 10 are allowed: %v; want an error that says so", err)
	}
}

// A new token may replace one, and nothing else: --token-file ~/.bashrc is a slip.
func TestTokenFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, test := range []struct {
		name, content string
		ok            bool
	}{
		{"empty", "", true},
		{"a token", api.NewToken(api.WorkspaceToken) + "\n", true},
		{"a mistyped token", api.NewToken(api.WorkspaceToken) + "x", false},
		{"text", "alias ll='ls -l'\n", false},
		{"a long text", strings.Repeat(" ", maxAnswer+1), false},
	} {
		if err := os.WriteFile(path, []byte(test.content), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := tokenFile(path)
		f.abandon()
		if (err == nil) != test.ok {
			t.Errorf("a token file in place of %s: %v; want it to succeed: %v", test.name, err, test.ok)
		}
		if err != nil && hintOf(err) != "name another file, or remove this one" {
			t.Errorf("a token file in place of %s has the hint %q", test.name, hintOf(err))
		}
	}
	if err := os.Symlink(path, path+".link"); err != nil {
		t.Fatal(err)
	}
	if _, err := tokenFile(path + ".link"); err == nil {
		t.Error("a token file in place of a link was accepted")
	}
	if _, err := tokenFile(filepath.Join(dir, "none", "file")); err == nil || !strings.Contains(hintOf(err), "a directory that is there") {
		t.Errorf("a token file in a directory that is not there: %v, hint %q", err, hintOf(err))
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// onlyFiles fails the test if a directory holds something else.
func onlyFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %q; want %q", dir, got, want)
	}
}
