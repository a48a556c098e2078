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

// A new token may replace one of its kind, and nothing else: --token-file ~/.bashrc
// is a slip. That of a new workspace replaces none.
func TestTokenFile(t *testing.T) {
	const anotherFile = "name another file, or remove this one"
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, test := range []struct {
		name, content string
		replaces      api.TokenKind
		hint          string // "": it may
	}{
		{"nothing", "", "", ""},
		{"a token", api.NewToken(api.WorkspaceToken) + "\n", api.WorkspaceToken, ""},
		{"a session token", api.NewToken(api.SessionToken) + "\n", api.SessionToken, ""},
		{"another workspace's", api.NewToken(api.WorkspaceToken) + "\n", "", anotherFile + `; for a workspace that is there, "latchkey workspace token create NAME --token-file ` + path + `" makes a new token, which takes the place of the one in the file`},
		{"a user's, by a workspace's", api.NewToken(api.SessionToken), api.WorkspaceToken, anotherFile},
		{"a workspace's, by a user's", api.NewToken(api.WorkspaceToken), api.SessionToken, anotherFile + `; for a workspace that is there, "latchkey workspace token create NAME --token-file ` + path + `" makes a new token, which takes the place of the one in the file`},
		{"a mistyped token", api.NewToken(api.WorkspaceToken) + "x", api.WorkspaceToken, anotherFile},
		{"text", "alias ll='ls -l'\n", api.WorkspaceToken, anotherFile},
		{"a long text", strings.Repeat(" ", maxAnswer+1), api.WorkspaceToken, anotherFile},
	} {
		if err := os.WriteFile(path, []byte(test.content), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := tokenFile(path, test.replaces)
		f.abandon()
		if (err == nil) != (test.hint == "") || err != nil && hintOf(err) != test.hint {
			t.Errorf("a token file in place of %s: %v, hint %q; want the hint %q", test.name, err, hintOf(err), test.hint)
		}
	}
	if err := os.Symlink(path, path+".link"); err != nil {
		t.Fatal(err)
	}
	if _, err := tokenFile(path+".link", api.WorkspaceToken); err == nil {
		t.Error("a token file in place of a link was accepted")
	}
	if _, err := tokenFile(filepath.Join(dir, "none", "file"), ""); err == nil || !strings.Contains(hintOf(err), "a directory that is there") {
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
