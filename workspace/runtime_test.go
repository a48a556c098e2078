package workspace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// getenv makes an environment of "NAME=VALUE".
func getenv(variables ...string) func(string) string {
	return func(name string) (value string) {
		for _, v := range variables {
			if rest, ok := strings.CutPrefix(v, name+"="); ok {
				value = rest
			}
		}
		return value
	}
}

func TestRuntimeDir(t *testing.T) {
	own := "/tmp/latchkey-" + strconv.Itoa(os.Getuid())
	for _, tt := range []struct {
		env  []string
		want string // "": an error
	}{
		{nil, own},
		{[]string{"XDG_RUNTIME_DIR=/run/user/7"}, "/run/user/7/latchkey"},
		{[]string{"XDG_RUNTIME_DIR=run"}, own},
		{[]string{"XDG_RUNTIME_DIR=/run/user/7", "LATCHKEY_RUNTIME_DIR=/w/x/"}, "/w/x"},
		{[]string{"LATCHKEY_RUNTIME_DIR="}, own},
		{[]string{"LATCHKEY_RUNTIME_DIR=x"}, ""},
	} {
		got, err := RuntimeDir(getenv(tt.env...))
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("RuntimeDir with %q = %q, %v; want %q", tt.env, got, err, tt.want)
		}
	}
}

func TestMakeRuntimeDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := CheckRuntimeDir(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("CheckRuntimeDir of nothing: %v; want ErrNotExist", err)
	}
	for range 2 {
		if err := MakeRuntimeDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("the directory has mode %v; want drwx------", info.Mode())
	}
}

func TestRuntimeDirThatCannotBeTrusted(t *testing.T) {
	base := t.TempDir()
	make := func(name string, mode fs.FileMode) string {
		dir := filepath.Join(base, name)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	link, file := filepath.Join(base, "link"), filepath.Join(base, "file")
	if err := errors.Join(os.Symlink(make("target", 0o700), link), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	type try struct{ dir, want, hint string }
	tries := []try{
		{make("others write", 0o702), "mode 0702", "chmod 700 " + base},
		{make("group reads", 0o740), "mode 0740", "chmod 700 " + base},
		{link, "not a directory", "LATCHKEY_RUNTIME_DIR"},
		{file, "not a directory", "LATCHKEY_RUNTIME_DIR"},
	}
	if os.Geteuid() == 0 {
		dir := make("of another", 0o700)
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		tries = append(tries, try{dir, "belongs to user 65534", "LATCHKEY_RUNTIME_DIR"})
	}
	for _, tt := range tries {
		for name, check := range map[string]func(string) error{"MakeRuntimeDir": MakeRuntimeDir, "CheckRuntimeDir": CheckRuntimeDir} {
			err := check(tt.dir)
			var problem *Problem
			if !errors.As(err, &problem) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(problem.Hint, tt.hint) {
				t.Errorf("%s(%s): %v; want a problem that says %q, with the hint %q", name, tt.dir, err, tt.want, tt.hint)
			}
		}
	}
}
