package test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ownKey writes a key of the workspace's user that the server does not know.
func (w *workspace) ownKey(t testing.TB, name string) (file, public string) {
	t.Helper()
	private, public := newKey(t)
	return w.Write(t, name, string(private)), strings.Join(strings.Fields(public)[:2], " ")
}

// list is what ssh-add -L prints, a key a line, without comments.
func (w *workspace) list(t testing.TB) (keys []string) {
	t.Helper()
	out, _ := w.Try(t, "ssh-add", "-L")
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) >= 2 && strings.HasPrefix(f[0], "ssh-") {
			keys = append(keys, f[0]+" "+f[1])
		}
	}
	return keys
}

// lock and unlock lock the daemon's agent, and unlock it again.
func (w *workspace) lock(t testing.TB)   { t.Helper(); w.padlock(t, "-x") }
func (w *workspace) unlock(t testing.TB) { t.Helper(); w.padlock(t, "-X") }

func (w *workspace) padlock(t testing.TB, option string) {
	t.Helper()
	w.Run(t, "env", "SSH_AUTH_SOCK="+w.AgentSocket(), "SSH_ASKPASS_REQUIRE=force", "SSH_ASKPASS="+w.script(t, "password", "echo sesame"), "ssh-add", option)
}

// The user's own keys are beside the managed one, behind it, and go again; that
// one stays, whatever a client asks for.
func TestAgentTakesOwnKeys(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	managed := strings.Join(strings.Fields(s.user.publicKey(t))[:2], " ")
	file, own := s.ownKey(t, "own")
	want := func(what string, keys ...string) {
		t.Helper()
		if got := s.list(t); strings.Join(got, "\n") != strings.Join(keys, "\n") {
			t.Errorf("%s: the agent lists %q; want %q", what, got, keys)
		}
	}
	s.Run(t, "ssh-add", "-q", file)
	want("added", managed, own)

	// A host that knows the own key only lets it in, by way of the agent alone.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	other := startSSHD(t, nil)
	other.Authorize(t, own)
	config := s.Reaches(t, other.host("other"))
	s.Run(t, "ssh", "-F", config, "other", "true")

	if out, err := s.Try(t, "ssh-add", "-d", s.Write(t, "managed.pub", managed+"\n")); err == nil {
		t.Errorf("ssh-add -d of the managed key succeeds: %s", out)
	}
	want("the managed key removed", managed, own)
	s.lock(t)
	want("locked")
	s.unlock(t)
	want("unlocked", managed, own)
	s.Run(t, "ssh-add", "-q", "-D")
	want("all removed", managed)
}

// A key that was added without a lifetime has the daemon's.
func TestAgentAddsForAWhile(t *testing.T) {
	s := newStage(t)
	daemon := s.StartDaemon(t, "--add-lifetime", "2s")
	file, own := s.ownKey(t, "own")
	out := s.Run(t, "ssh-add", file)
	if strings.Contains(out, "Lifetime") {
		t.Fatalf("ssh-add asked for a lifetime itself:\n%s", out)
	}
	await(t, "the key is removed", func() bool { return strings.Contains(daemon.said(), "its lifetime is over") })
	if slices.Contains(s.list(t), own) {
		t.Error("a key whose lifetime is over is listed")
	}
}

// script writes a program of the workspace's user.
func (w *workspace) script(t testing.TB, name, body string) (path string) {
	t.Helper()
	path = w.Write(t, name, "#!/bin/sh\n"+body+"\n")
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// A key that was added with -c is used only when the askpass program says yes.
func TestAgentAsksForOwnKeys(t *testing.T) {
	s := newStage(t)
	s.Setenv("SSH_ASKPASS", s.script(t, "askpass", `echo "$SSH_ASKPASS_PROMPT: $1" >> "$HOME/asked"; test -e "$HOME/yes"`))
	s.StartDaemon(t)
	file, own := s.ownKey(t, "own")
	s.Run(t, "ssh-add", "-q", "-c", file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	other := startSSHD(t, nil)
	other.Authorize(t, own)
	config := s.Reaches(t, other.host("other"))
	if out, err := s.Try(t, "ssh", "-F", config, "other", "true"); err == nil {
		t.Errorf("a key signed that the user said no to: %s", out)
	}
	s.Write(t, "yes", "")
	s.Run(t, "ssh", "-F", config, "other", "true")
	if asked := readFile(t, filepath.Join(s.Home, "asked")); !strings.HasPrefix(asked, "confirm: ") {
		t.Errorf("the askpass program was asked %q", asked)
	}
}

// With --no-add nobody adds keys.
func TestAgentWithoutOwnKeys(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t, "--no-add")
	file, _ := s.ownKey(t, "own")
	if out, err := s.Try(t, "ssh-add", file); err == nil {
		t.Errorf("ssh-add succeeds: %s", out)
	}
	if got := s.list(t); len(got) != 1 {
		t.Errorf("the agent lists %q; want the managed key alone", got)
	}
}
