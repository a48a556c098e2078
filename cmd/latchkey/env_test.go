package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// nasty holds what shells would act on.
const nasty = `it's a "path" with $HOME, $(id), ` + "`id`" + ` \ \\ \' and 'both'` + "\nand a second line; * ? ~ # !! %"

func TestExportIsReadByRealShells(t *testing.T) {
	for _, s := range []shell{shellSh, shellBash, shellZsh, shellFish} {
		t.Run(string(s), func(t *testing.T) {
			path, err := exec.LookPath(string(s))
			if err != nil {
				if os.Getenv("CI") != "" {
					t.Fatalf("there is no %s here, and CI promises one", s)
				}
				t.Skipf("there is no %s here", s)
			}
			script := s.export("A", nasty) + "\n" + s.export("B", "plain") + "\nprintenv A B"
			out, err := exec.Command(path, "-c", script).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if want := nasty + "\nplain\n"; string(out) != want {
				t.Errorf("%s has read\n%s\nwant\n%s", s, out, want)
			}
		})
	}
}

func TestGitRunsTheHelperFromAnyPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.ReplaceAll(nasty, "/", ""))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	helper, seen := filepath.Join(dir, "latchkey"), filepath.Join(dir, "seen")
	if err := os.WriteFile(helper, []byte("#!/bin/sh\nprintf '%s\\n' \"$@\" >\"$SEEN\"\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("git", "ls-remote", "git@forge.example:app.git")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "SEEN=" + seen, "GIT_SSH_VARIANT=ssh", "GIT_SSH_COMMAND=" + gitSSHCommand(helper)}
	out, _ := cmd.CombinedOutput() // the helper fails, having seen what it was to see
	got, err := os.ReadFile(seen)
	if err != nil {
		t.Fatalf("git did not run the helper: %v\n%s", err, out)
	}
	if want := "gitssh\n--\n"; !strings.HasPrefix(string(got), want) || !strings.Contains(string(got), "git-upload-pack 'app.git'") {
		t.Errorf("the helper was run with the arguments\n%s\nwant %q first, and git-upload-pack", got, want)
	}
}

func TestEnv(t *testing.T) {
	newHome(t)
	dir := filepath.Join(t.TempDir(), "a b")
	t.Setenv("LATCHKEY_RUNTIME_DIR", dir)
	t.Setenv("SHELL", "/bin/bash")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want := "export SSH_AUTH_SOCK='" + dir + "/agent.sock';\n" +
		"export GIT_SSH_COMMAND=''\\''" + self + "'\\'' gitssh --';\n" +
		"export GIT_SSH_VARIANT='ssh';\n"
	latchkey(t, "env").expect(t, 0, want, "")
	latchkey(t, "env", "--shell", "zsh").expect(t, 0, want, "")
	want = "set -gx SSH_AUTH_SOCK '" + dir + "/agent.sock';\n" +
		"set -gx GIT_SSH_COMMAND '\\'" + self + "\\' gitssh --';\n" +
		"set -gx GIT_SSH_VARIANT 'ssh';\n"
	latchkey(t, "env", "--shell=fish").expect(t, 0, want, "")
	t.Setenv("SHELL", "/usr/bin/fish")
	latchkey(t, "env").expect(t, 0, want, "")
}

func TestEnvRefuses(t *testing.T) {
	newHome(t)
	t.Setenv("SHELL", "/bin/tcsh")
	latchkey(t, "env").expect(t, 1, "", `latchkey: error: printing variables for tcsh: it is not one of sh, bash, zsh, fish
latchkey: hint: "latchkey env --shell sh" shows what to set
`)
	t.Setenv("LATCHKEY_RUNTIME_DIR", "here")
	latchkey(t, "env", "--shell", "sh").expect(t, 1, "", `latchkey: error: LATCHKEY_RUNTIME_DIR=here: not an absolute path
latchkey: hint: programs in other directories must find it: give a path that begins with /
`)
	// A directory that another user may have made.
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LATCHKEY_RUNTIME_DIR", open)
	latchkey(t, "env", "--shell", "sh").expect(t, 1, "", "latchkey: error: the runtime directory "+open+" has mode 0755: other users may enter it\nlatchkey: hint: chmod 700 "+open+"\n")
	if got := latchkey(t, "env", "--shell", "csh"); got.code != 2 || !strings.Contains(got.stderr, "want one of sh, bash, zsh, fish") {
		t.Errorf("latchkey env --shell csh = %+v; want status 2 and the shells that it takes", got)
	}
}
