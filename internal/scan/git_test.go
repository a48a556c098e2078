package scan

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A repository is a git repository in a directory of its own.
type repository struct {
	testing.TB
	dir string
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no git here")
		}
		t.Skip("there is no git here: on Debian, apt-get install git")
	}
	t.Setenv("GIT_CONFIG_GLOBAL", "/dev/null")
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	t.Setenv("GIT_CEILING_DIRECTORIES", os.TempDir())
	r := &repository{t, t.TempDir()}
	r.git("init", "-q", "-b", "main")
	r.git("config", "user.name", "ada")
	r.git("config", "user.email", "ada@example.com")
	return r
}

func (r *repository) git(args ...string) string {
	r.Helper()
	out, err := exec.Command("git", append([]string{"-C", r.dir}, args...)...).CombinedOutput()
	if err != nil {
		r.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *repository) write(name, content string) {
	r.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		r.Fatal(err)
	}
}

// commit commits all there is, and returns the commit's ID.
func (r *repository) commit(message string) string {
	r.git("add", "-A")
	r.git("commit", "-q", "-m", message)
	return r.git("rev-parse", "HEAD")
}

// walked is what a walk has looked into, "path" or "commit path" to content.
func walked(t *testing.T, walk func(Walk) error) (files map[string]string, skipped []Skipped) {
	t.Helper()
	files = map[string]string{}
	w := Walk{Add: func(f File) error {
		files[strings.TrimSpace(f.Commit+" "+f.Name)] = string(f.Content)
		return nil
	}, Skip: func(s Skipped) { skipped = append(skipped, s) }}
	if err := walk(w); err != nil {
		t.Fatal(err)
	}
	return files, skipped
}

func TestTreeOfARepository(t *testing.T) {
	r := newRepository(t)
	r.write(".gitignore", "ignored\n")
	r.write("ignored", "x")
	r.write("sub/tracked", "tracked")
	r.commit("first")
	r.write("new file\nwith a line break", "new")
	r.write("ümlaut", "u")
	if err := os.Symlink("/etc/passwd", filepath.Join(r.dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(r.dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(r.dir, ".gitignore")); err != nil { // tracked, and gone
		t.Fatal(err)
	}
	r.write(".git/info/exclude", "ignored\n")
	got, skipped := walked(t, func(w Walk) error { return w.Tree(t.Context(), r.dir) })
	want := map[string]string{
		r.dir + "/sub/tracked": "tracked", r.dir + "/new file\nwith a line break": "new", r.dir + "/ümlaut": "u",
	}
	if !reflect.DeepEqual(got, want) || len(skipped) != 0 {
		t.Errorf("looked into %q, skipped %v; want %q", got, skipped, want)
	}
	if got, _ := walked(t, func(w Walk) error { return w.Tree(t.Context(), r.dir+"/sub") }); len(got) != 1 {
		t.Errorf("below sub: looked into %q; want the one file there", got)
	}
	if got, _ := walked(t, func(w Walk) error { return w.Tree(t.Context(), r.dir+"/ignored") }); got[r.dir+"/ignored"] != "x" {
		t.Errorf("a file that was named is not looked into, but %q", got)
	}
}

func TestTreeOfADirectory(t *testing.T) {
	newRepository(t) // for its environment
	dir := t.TempDir()
	for name, content := range map[string]string{"a": "1", "b/c": "2", ".git/config": "3"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := walked(t, func(w Walk) error { return w.Tree(t.Context(), dir) })
	if want := map[string]string{dir + "/a": "1", dir + "/b/c": "2"}; !reflect.DeepEqual(got, want) {
		t.Errorf("looked into %q; want %q", got, want)
	}
}

func TestStaged(t *testing.T) {
	r := newRepository(t)
	r.write("first", "in the index")
	r.git("add", "first")
	r.write("first", "changed since")
	got, _ := walked(t, func(w Walk) error { return w.Staged(t.Context(), r.dir) })
	if want := map[string]string{"first": "in the index"}; !reflect.DeepEqual(got, want) {
		t.Errorf("before the first commit: looked into %q; want %q", got, want)
	}
	r.commit("first")
	if got, _ := walked(t, func(w Walk) error { return w.Staged(t.Context(), r.dir) }); len(got) != 0 {
		t.Errorf("with nothing staged: looked into %q", got)
	}
	r.git("rm", "-q", "first")
	r.write("sp ace", "s")
	r.git("add", "-A")
	got, _ = walked(t, func(w Walk) error { return w.Staged(t.Context(), r.dir) })
	if want := map[string]string{"sp ace": "s"}; !reflect.DeepEqual(got, want) {
		t.Errorf("looked into %q; want %q", got, want)
	}
}

func TestStagedElsewhere(t *testing.T) {
	newRepository(t) // for its environment
	err := Walk{}.Staged(t.Context(), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "not a git repository") {
		t.Errorf("outside of a repository: %v; want git's words for that", err)
	}
}

func TestRange(t *testing.T) {
	r := newRepository(t)
	r.write("kept", "kept")
	r.commit("first")
	r.write("leak", "leaked, then removed")
	second := r.commit("second")
	if err := os.Remove(filepath.Join(r.dir, "leak")); err != nil {
		t.Fatal(err)
	}
	third := r.commit("third")
	r.git("checkout", "-q", "-b", "side", "HEAD~2")
	r.write("side", "on the side")
	side := r.commit("on the side")
	r.git("checkout", "-q", "main")
	r.git("merge", "-q", "--no-ff", "--no-commit", "side")
	r.write("evil", "only in the merge")
	merge := r.commit("merged")

	got, _ := walked(t, func(w Walk) error { return w.Range(t.Context(), r.dir, "HEAD~2..HEAD") })
	for _, want := range []string{side + " side", merge + " evil", third + " (the commit itself)"} {
		if _, ok := got[want]; !ok {
			t.Errorf("HEAD~2..HEAD: did not look into %q, but into %q", want, got)
		}
	}
	if _, ok := got[second+" leak"]; ok {
		t.Error("HEAD~2..HEAD: looked into a commit outside of the range")
	}
	got, _ = walked(t, func(w Walk) error { return w.Range(t.Context(), r.dir, "HEAD") })
	if got[second+" leak"] != "leaked, then removed" {
		t.Errorf("HEAD: did not look into the file that was removed, but into %q", got)
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(got)), func(c string) bool { return strings.Contains(c, "on the side\n") && strings.Contains(c, "author ada") }) {
		t.Error("HEAD: did not look into the messages of commits")
	}
}

// What git says is wrong is said, and nothing of the range is taken for a flag.
func TestRangeThatIsNone(t *testing.T) {
	r := newRepository(t)
	r.write("a", "a")
	r.commit("first")
	for _, revisions := range []string{"nowhere..HEAD", "--all", "-x", "HEAD --all", ""} {
		w := Walk{Add: func(File) error { return nil }, Skip: func(Skipped) {}}
		if err := w.Range(t.Context(), r.dir, revisions); err == nil {
			t.Errorf("Range(%q) succeeds; want git's error", revisions)
		}
	}
}
