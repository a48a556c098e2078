package test

import (
	"crypto"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/test/witness"
)

// newSigner is a workspace whose git signs with the managed key, and the key.
func newSigner(t *testing.T) (*workspace, *user, crypto.Signer) {
	t.Helper()
	key := ed25519Key(t)
	pem, _ := encodeKey(t, key)
	u := startServer(t, nil).newUser(t, "ada", pem)
	w := u.newWorkspace(t, "main", nil)
	need(t, "git")
	need(t, "ssh-keygen")
	// The shell has another agent, or none: it must not matter.
	w.Setenv("SSH_AUTH_SOCK", "/nonexistent/agent")
	w.Setenv("XDG_CONFIG_HOME", "")
	w.Setenv("XDG_STATE_HOME", "")
	return w, u, key
}

// verified fails the test unless git says that a revision is signed by ada.
func (w *workspace) verified(t *testing.T, revision string) {
	t.Helper()
	out := w.Run(t, "git", "-C", "app", "log", "-1", "--show-signature", "--format=%G? %GS", revision)
	if !strings.Contains(out, `Good "git" signature for ada@example.com with ED25519 key`) || !strings.Contains(out, "\nG ada@example.com\n") {
		t.Errorf("git log --show-signature %s says\n%s", revision, out)
	}
	w.Run(t, "git", "-C", "app", "verify-commit", revision)
}

func TestSignedCommits(t *testing.T) {
	w, u, key := newSigner(t)
	began := time.Now()
	w.StartDaemon(t)
	w.Run(t, "latchkey", "git-config", "--global")
	w.Run(t, "git", "init", "-q", "app")
	w.Run(t, "git", "-C", "app", "commit", "-q", "--allow-empty", "-m", "by configuration")
	w.Run(t, "git", "-C", "app", "commit", "-q", "-S", "--allow-empty", "-m", "by flag")
	w.Run(t, "git", "-C", "app", "tag", "-s", "-m", "first", "v1")
	w.verified(t, "HEAD^")
	w.verified(t, "HEAD")
	if out := w.Run(t, "git", "-C", "app", "verify-tag", "v1"); !strings.Contains(out, "Good") {
		t.Errorf("git verify-tag says\n%s", out)
	}

	secrets, err := witness.Secrets(key)
	if err != nil {
		t.Fatal(err)
	}
	found, files, err := witness.Search(witness.NewMatcher(secrets...), began, w.Dir)
	if err != nil || files == 0 || len(found) > 0 {
		t.Errorf("the search of %d files found the private key: %v, %v; want it nowhere", files, found, err)
	}

	// A rotation needs no new configuration, and what was signed stays good.
	if _, err := u.RotateKey(t.Context(), api.Me, api.DefaultKey, api.RotateKeyRequest{}); err != nil {
		t.Fatal(err)
	}
	w.Run(t, "git", "-C", "app", "commit", "-q", "--allow-empty", "-m", "with the next key")
	keys := w.Run(t, "git", "-C", "app", "log", "--format=%GF")
	if lines := strings.Fields(keys); len(lines) != 3 || lines[0] == lines[1] || lines[1] != lines[2] {
		t.Errorf("the commits are signed with\n%s; want the newest with another key", keys)
	}
	for _, revision := range []string{"HEAD", "HEAD^", "HEAD^^"} {
		w.verified(t, revision)
	}
	list := w.Run(t, "latchkey", "allowed-signers")
	if !regexp.MustCompile(`^(ada@example\.com namespaces="git" ssh-ed25519 \S+\n){2}$`).MatchString(list) {
		t.Errorf("allowed-signers prints\n%s; want a line for each of two keys", list)
	}
}

func TestSigningWithoutDaemon(t *testing.T) {
	w, _, _ := newSigner(t)
	w.Run(t, "latchkey", "git-config", "--global")
	w.Run(t, "git", "init", "-q", "app")
	out, err := w.Try(t, "git", "-C", "app", "commit", "-q", "--allow-empty", "-m", "first")
	if err == nil || !strings.Contains(out, "latchkey: error: no workspace daemon runs here") || !strings.Contains(out, "latchkey: hint: latchkey agent") {
		t.Errorf("git commit without the daemon: %v\n%s", err, out)
	}
	// What the user signs with a key of their own is theirs.
	w.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(w.Home, "own"))
	w.Run(t, "git", "-C", "app", "-c", "user.signingKey="+filepath.Join(w.Home, "own.pub"), "commit", "-q", "--allow-empty", "-m", "with my key")
}

// What git-config sets it takes back, to the byte, and it replaces nothing.
func TestGitConfigUnset(t *testing.T) {
	w, _, _ := newSigner(t)
	w.Run(t, "git", "config", "--global", "gpg.format", "ssh") // set before, so not ours to unset
	read := func() string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(w.Home, ".gitconfig"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := read()
	said := w.Run(t, "latchkey", "git-config", "--global")
	for _, want := range []string{"git config --global commit.gpgSign true\n", "git config --global gpg.ssh.program " + w.Home + "/.config/latchkey/ssh-keygen\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("git-config says\n%s; want %q", said, want)
		}
	}
	if read() == before {
		t.Fatal("git-config --global changed nothing")
	}
	if set := read(); w.Run(t, "latchkey", "git-config", "--global") == "" || read() != set {
		t.Errorf("a second git-config --global made\n%s\nof\n%s", read(), set)
	}
	w.Run(t, "latchkey", "git-config", "--global", "--unset")
	if got := read(); got != before {
		t.Errorf("after git-config --unset the configuration is\n%s\nwant\n%s", got, before)
	}
	if out, err := w.Try(t, "latchkey", "git-config", "--global", "--unset"); err == nil || !strings.Contains(out, "nothing is set by latchkey") {
		t.Errorf("a second git-config --unset: %v\n%s", err, out)
	}

	for name, value := range map[string]string{"commit.gpgSign": "false", "user.signingKey": "0xABCD"} {
		w.Run(t, "git", "config", "--global", name, value)
		before := read()
		out, err := w.Try(t, "latchkey", "git-config", "--global")
		if err == nil || !strings.Contains(out, "nothing was changed: ") || !strings.Contains(out, name+" = "+value) {
			t.Errorf("git-config where %s is set: %v\n%s", name, err, out)
		}
		if read() != before {
			t.Errorf("git-config that refused made\n%s\nof\n%s", read(), before)
		}
		w.Run(t, "git", "config", "--global", "--unset", name)
	}

	// What was changed since is the user's.
	w.Run(t, "git", "init", "-q", "app")
	cmd := w.Command(t, "latchkey", "git-config", "--local")
	cmd.Dir = filepath.Join(w.Home, "app")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git-config --local: %v\n%s", err, out)
	}
	w.Run(t, "git", "-C", "app", "config", "tag.gpgSign", "false")
	cmd = w.Command(t, "latchkey", "git-config", "--local", "--unset")
	cmd.Dir = filepath.Join(w.Home, "app")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "tag.gpgSign = false stays") {
		t.Errorf("git-config --local --unset: %v\n%s", err, out)
	}
	if out := w.Run(t, "git", "-C", "app", "config", "--local", "--list"); !strings.Contains(out, "tag.gpgsign=false\n") || strings.Contains(out, "commit.gpgsign") || strings.Contains(out, "latchkey") {
		t.Errorf("after git-config --local --unset, set is\n%s", out)
	}
}

// What git-config prints is a file that git can include.
func TestGitConfigPrints(t *testing.T) {
	w, _, _ := newSigner(t)
	w.StartDaemon(t)
	cmd := w.Command(t, "latchkey", "git-config")
	printed, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	w.Run(t, "git", "config", "--global", "include.path", w.Write(t, "signing", string(printed)))
	w.Run(t, "git", "init", "-q", "app")
	w.Run(t, "git", "-C", "app", "commit", "-q", "--allow-empty", "-m", "first")
	w.verified(t, "HEAD")
}

// Who can't commit as the key's time is over, or as the agent is locked, is told so.
func TestSigningKeptBack(t *testing.T) {
	w, u, _ := newSigner(t)
	w.StartDaemon(t)
	w.Run(t, "latchkey", "git-config", "--global")
	w.Run(t, "git", "init", "-q", "app")
	w.lock(t)
	commit := func(want string) {
		t.Helper()
		if out, err := w.Try(t, "git", "-C", "app", "commit", "-q", "--allow-empty", "-m", "x"); err == nil || !strings.Contains(out, want) {
			t.Errorf("git commit: %v\n%s\nwant in it\n%s", err, out, want)
		}
	}
	commit("latchkey: error: the agent of the workspace daemon is locked\nlatchkey: hint: ssh-add -X unlocks it")
	w.unlock(t)
	if _, err := u.UpdateKey(t.Context(), api.Me, api.DefaultKey, api.UpdateKeyRequest{UsableSeconds: new(int64(1))}); err != nil {
		t.Fatal(err)
	}
	await(t, "the key's time is over", func() bool {
		out, err := w.Try(t, "latchkey", "status")
		return err == nil && strings.Contains(out, "was usable until")
	})
	commit("latchkey: hint: \"latchkey key set default --usable 8h\" lets it be used again")
}

// ssh-keygen says only that the agent refuses: git's user hears why.
func TestSigningRefused(t *testing.T) {
	w, u, _ := newSigner(t)
	daemon := w.StartDaemon(t)
	w.Run(t, "latchkey", "git-config", "--global")
	w.Run(t, "git", "init", "-q", "app")
	public := w.Write(t, "managed.pub", u.publicKey(t)+"\n")
	refused := func(want string, command ...string) {
		t.Helper()
		out, err := w.Try(t, command[0], command[1:]...)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v\n%s\nwant in it\n%s", command, err, out, want)
		}
	}
	keygen := filepath.Join(w.Home, ".config/latchkey/ssh-keygen")
	refused("latchkey: error: the workspace daemon has not signed: the key makes SSH signatures in the namespace git only, not in \"file\" "+
		"(\"latchkey key set default --namespace …\", with all it signs for, allows another)\n",
		keygen, "-Y", "sign", "-n", "file", "-f", public, w.Write(t, "text", "text\n"))
	if !strings.Contains(daemon.said(), "latchkey key set default --namespace") {
		t.Error("the daemon's log does not say what allows another namespace")
	}
	w.lock(t)
	refused("latchkey: error: the agent of the workspace daemon is locked\nlatchkey: hint: ssh-add -X unlocks it\n",
		"git", "-C", "app", "-c", "user.signingKey="+public, "commit", "-q", "--allow-empty", "-m", "x")
	w.unlock(t)
	u.server.stop(t)
	if out, err := w.Try(t, "git", "-C", "app", "commit", "-q", "--allow-empty", "-m", "x"); err == nil || !signingAway.MatchString(out) {
		t.Errorf("git commit without the server: %v\n%s\nwant in it\n%s", err, out, signingAway)
	}
}

// A key that the server signs with is not had either while that is away, and git's user
// hears where to look.
func TestSigningInSignModeWithoutServer(t *testing.T) {
	w, u, _ := newSigner(t)
	if _, err := u.UpdateKey(t.Context(), api.Me, api.DefaultKey, api.UpdateKeyRequest{Mode: new(api.SignMode)}); err != nil {
		t.Fatal(err)
	}
	w.StartDaemon(t)
	w.Run(t, "latchkey", "git-config", "--global")
	w.Run(t, "git", "init", "-q", "app")
	w.Run(t, "git", "-C", "app", "commit", "-q", "--allow-empty", "-m", "first")
	u.server.stop(t)
	if out, err := w.Try(t, "git", "-C", "app", "commit", "-q", "--allow-empty", "-m", "x"); err == nil || !signingAway.MatchString(out) {
		t.Errorf("git commit without the server: %v\n%s\nwant in it\n%s", err, out, signingAway)
	}
}

var signingAway = regexp.MustCompile(`latchkey: error: the workspace daemon has not signed: reaching the key server.*\nlatchkey: hint: latchkey status\n`)
