package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestHelpersDir(t *testing.T) {
	inTmp := "/tmp/latchkey-" + strconv.Itoa(os.Getuid())
	for runtimeDir, want := range map[string]string{
		"/run/user/1000/latchkey":        "/run/user/1000/latchkey",
		"/tmp/latchkey-1000":             "/tmp/latchkey-1000",
		"/home/a b/run":                  inTmp, // ssh starts its hops by a shell
		"/home/%h/run":                   inTmp, // ssh expands tokens in the path of an agent
		"/" + strings.Repeat("long", 25): inTmp, // a socket's path has its limit
	} {
		if above, dir := helpersDir(runtimeDir); above != want || dir != want+"/ssh" {
			t.Errorf("helpersDir(%q) = %q, %q; want %q and its ssh", runtimeDir, above, dir, want)
		}
	}
}

func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestPlace(t *testing.T) {
	dir := shortDir(t)
	first, l, err := newPlace(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	second, l2, err := newPlace(dir) // as of a process with the same ID elsewhere
	if err != nil {
		t.Fatal(err)
	}
	defer l2.Close()
	if first.name == second.name {
		t.Fatalf("two helpers have the place %s", first.name)
	}
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	dead := strconv.Itoa(ended.Process.Pid) + "-0"
	for _, name := range []string{dead + placeAgent, dead + placeKeys, dead + placeWarned, "notes", "0-0.sock", "-1-0.sock"} {
		if err := os.WriteFile(filepath.Join(first.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first.removeOthers()
	want := []string{"-1-0.sock", "0-0.sock", first.name + placeAgent, second.name + placeAgent, "notes"}
	slices.Sort(want)
	if got := filesIn(t, first.dir); !slices.Equal(got, want) {
		t.Errorf("after removeOthers there is %q; want %q", got, want)
	}
	if err := first.remove(); err != nil {
		t.Error(err)
	}
	if got := filesIn(t, first.dir); slices.Contains(got, first.name+placeAgent) {
		t.Errorf("after remove there is still %q", got)
	}
}

// A process that seems dead, because its ID is another PID namespace's, but
// answers, keeps its socket.
func TestPlaceOfAnotherNamespace(t *testing.T) {
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	own := place{shortDir(t), "1-0"}
	other := place{own.dir, strconv.Itoa(ended.Process.Pid) + "-0"}
	l, err := other.listen(placeAgent)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	own.removeOthers()
	if got := filesIn(t, own.dir); !slices.Equal(got, []string{other.name + placeAgent}) {
		t.Errorf("after removeOthers there is %q; want the socket that answers", got)
	}
}

func TestPlaceLink(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := place{t.TempDir(), "1-0"}
	if err := os.Symlink("/an/older/latchkey", filepath.Join(p.dir, helperSSH)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		path, err := p.link()
		if err != nil {
			t.Fatal(err)
		}
		if to, err := os.Readlink(path); err != nil || to != self {
			t.Errorf("the link leads to %q, %v; want %q", to, err, self)
		}
	}
	if got := filesIn(t, p.dir); !slices.Equal(got, []string{helperSSH}) {
		t.Errorf("beside the link there is %q", got)
	}
}

func TestOwnAgent(t *testing.T) {
	runtimeDir := shortDir(t)
	ours := filepath.Join(runtimeDir, "agent.sock")
	elsewhere := filepath.Join(shortDir(t), "own.sock")
	alias := filepath.Join(shortDir(t), "alias.sock")
	for _, path := range []string{ours, elsewhere} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(ours, alias); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, configured, variable, want string }{
		{"nothing", "", "", ""},
		{"the variable", "", elsewhere, elsewhere},
		{"the variable, named", "SSH_AUTH_SOCK", elsewhere, elsewhere},
		{"none", "none", elsewhere, ""},
		{"another one", elsewhere, ours, elsewhere},
		{"ours", "", ours, ""},
		{"ours by another name", "", alias, ""},
		{"gone", "", elsewhere + ".gone", ""},
	}
	for _, tt := range tests {
		t.Setenv("SSH_AUTH_SOCK", tt.variable)
		if got := ownAgent(tt.configured, runtimeDir); got != tt.want {
			t.Errorf("%s: ownAgent = %q, want %q", tt.name, got, tt.want)
		}
	}
}
