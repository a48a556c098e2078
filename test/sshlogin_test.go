package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
)

// TrySSH runs a command in the workspace that may fail.
func (l *laptop) trySSH(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	cmd := l.Command(t, "ssh", append([]string{"-F", l.Config}, args...)...)
	out, err := cmd.CombinedOutput()
	keepOutput(cmd.Args, out)
	return string(out), err
}

// Who may log in, and where: only with a key of the account, under two names, at
// a host that is known.
func TestSSHLogin(t *testing.T) {
	l := newLaptop(t)
	private, public := newKey(t)
	other := filepath.Join(l.Dir, "other")
	writeFile(t, other, private, 0o600)
	in := func(args ...string) bool {
		out, err := l.trySSH(t, append(args, "box", "echo in")...)
		return err == nil && out == "in\n"
	}
	if in("-i", other, "-o", "IdentityFile=none", "-F", "none", "-p", l.Port, "-o", "HostName=127.0.0.1", "-l", "alice", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes") {
		t.Error("a key that is not the account's logs in")
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil {
		t.Fatal(err)
	}
	l.daemon.await(t, regexp.MustCompile(`"SSH login refused" user=alice keys=`+regexp.QuoteMeta(ssh.FingerprintSHA256(key))+` remote=127\.0\.0\.1:\d+ why=".*latchkey login-key add`))
	await(t, "latchkey status names the key", func() bool {
		return strings.Contains(l.box.Run(t, "latchkey", "status"), " with "+ssh.FingerprintSHA256(key)+": may not log in")
	})
	if l.box.uid() != 0 {
		if in("-l", "root") {
			t.Error("one may log in as root")
		}
		l.daemon.await(t, regexp.MustCompile(`"SSH login refused" user=root keys=SHA256:.* why="may not log in: log in as alice or `))
	}
	if out := l.SSH(t, "-l", "alice", "box", "echo in"); out != "in\n" {
		t.Errorf("as alice: %q", out)
	}
	if out := l.SSH(t, "-l", strings.TrimSpace(l.box.Run(t, "id", "-un")), "box", "echo in"); out != "in\n" {
		t.Errorf("as the account of the daemon: %q", out)
	}

	// Keys come and go while the daemon runs.
	if in("-i", other, "-o", "IdentityFile="+other) != true { // beside the key of the configuration
		t.Error("the key of the configuration does not log in")
	}
	if _, err := l.box.user.CreateLoginKey(t.Context(), api.Me, api.CreateLoginKeyRequest{Name: "other", PublicKey: public}); err != nil {
		t.Fatal(err)
	}
	onlyOther := strings.ReplaceAll(string(mustRead(t, l.Config)), "IdentityFile "+l.Key, "IdentityFile "+other)
	writeFile(t, l.Config, []byte(onlyOther), 0o600)
	await(t, "a new key logs in", func() bool { return in() })
	session, _ := start(t, l.Command(t, "ssh", "-F", l.Config, "box", "echo ready; sleep 1000"), regexp.MustCompile("ready"))
	l.latchkey(t, "login-key", "delete", "--yes", "other")
	<-session.exited
	if session.cmd.ProcessState.Success() {
		t.Error("a session of a key that was deleted ended as if all were well")
	}
	if in() {
		t.Error("a key that was deleted logs in")
	}
	for _, said := range []string{"name=other", "its key may not log in any more"} {
		l.daemon.await(t, regexp.MustCompile(said))
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The host key outlives the daemon, is in no file of the workspace, and a daemon
// whose server is away lets in whom it let in before.
func TestSSHHostKey(t *testing.T) {
	l := newLaptop(t)
	listed := l.latchkey(t, "workspace", "list", "--json")
	known := strings.Fields(string(mustRead(t, l.Known)))
	if !strings.Contains(listed, known[1]+" "+known[2]) {
		t.Errorf("latchkey workspace list --json says %s; want the host key %s in it", listed, known[2])
	}
	l.daemon.stop(t)
	l.start(t, "127.0.0.1:0")
	l.configure(t)
	if out := l.SSH(t, "box", "echo in"); out != "in\n" {
		t.Errorf("after a restart: %q", out)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(known[1] + " " + known[2]))
	if err != nil {
		t.Fatal(err)
	}
	public := string(key.Marshal()[len(key.Marshal())-32:]) // an Ed25519 private key holds it too
	err = filepath.WalkDir(l.box.Dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(string(mustRead(t, path)), public) {
			t.Errorf("%s holds the host key", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	l.box.user.server.stop(t)
	if out := l.SSH(t, "box", "echo in"); out != "in\n" {
		t.Errorf("while the server is away: %q", out)
	}
}

// The agent that somebody brings along serves through the socket that does not
// change, after the managed key, and for as long as they stay.
func TestSSHAgentForwarding(t *testing.T) {
	l := newLaptop(t)
	socket := l.startAgent(t)
	public := l.add(t, socket)
	forward := func(command string) string {
		t.Helper()
		cmd := l.Command(t, "ssh", "-F", l.Config, "-o", "ForwardAgent=yes", "-o", "IdentityAgent="+socket, "box", command)
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("ssh -A box %q: %v", command, err)
		}
		return string(out)
	}
	keys := strings.Split(strings.TrimSpace(forward("ssh-add -L")), "\n")
	if len(keys) != 2 || keys[0] != l.box.user.publicKey(t) || !strings.HasPrefix(keys[1], public) {
		t.Errorf("ssh-add -L said %q; want the managed key, then the own one", keys)
	}
	gone := func() {
		t.Helper()
		await(t, "the own key goes with the session", func() bool { return !strings.Contains(l.box.Run(t, "ssh-add", "-L"), public) })
	}
	gone()
	if out := forward(`echo "$SSH_AUTH_SOCK"; echo '` + public + `' > own.pub && ssh-add -T own.pub && echo signs`); out != l.box.AgentSocket()+"\nsigns\n" {
		t.Errorf("with the own key: %q; want it to sign through the stable socket", out)
	}
	gone()
	if out := l.SSH(t, "box", "ssh-add -L"); strings.Contains(out, public) {
		t.Error("a session that brought no agent has the own key")
	}

	// Somebody in the workspace forwards the workspace's agent to it.
	l.box.mkdir(t, filepath.Join(l.box.Home, ".ssh"))
	config := l.box.Write(t, "config", strings.ReplaceAll(string(mustRead(t, l.Config)), "\tIdentityFile "+l.Key+"\n\tIdentitiesOnly yes\n", ""))
	if _, err := l.box.user.CreateLoginKey(t.Context(), api.Me, api.CreateLoginKeyRequest{Name: "managed", PublicKey: l.box.user.publicKey(t)}); err != nil {
		t.Fatal(err)
	}
	loop := func() (string, error) { return l.box.Try(t, "ssh", "-A", "-F", config, "box", "ssh-add -L") }
	await(t, "the managed key logs in", func() bool { _, err := loop(); return err == nil })
	if out, err := loop(); err != nil || strings.TrimSpace(out) != l.box.user.publicKey(t) {
		t.Errorf("an agent that is forwarded to itself lists %q, %v; want the managed key", out, err)
	}
}

// One run of "latchkey ssh-config" is enough for ssh to know the workspace by its
// host key, and by no other: without the key server, without a login, and
// whatever an admin has made known.
func TestSSHConfig(t *testing.T) {
	l := newLaptop(t)
	known := strings.TrimSpace(string(mustRead(t, l.Known)))
	alias, key, _ := strings.Cut(known, " ")
	_, impostor := newKey(t)
	refused := func(what, want string, args ...string) {
		t.Helper()
		out, err := l.trySSH(t, append(args, "box", "true")...)
		if err == nil || !strings.Contains(out, want) || !strings.Contains(out, "Host key verification failed") {
			t.Errorf("%s: %v; want ssh to refuse it, with %q:\n%s", what, err, want, out)
		}
	}
	works := func(when string) {
		t.Helper()
		if out, err := l.trySSH(t, "box", "echo in"); err != nil || out != "in\n" {
			t.Errorf("%s: %v, %q; want ssh to log in and nothing said", when, err, out)
		}
	}
	works("after one ssh-config")
	refused("with a host key that nothing knows", "", "-o", "KnownHostsCommand=none")
	right := string(mustRead(t, l.Config))
	writeFile(t, l.Config, []byte(strings.Replace(right, key, impostor, 1)), 0o600)
	refused("with another host key", "REMOTE HOST IDENTIFICATION HAS CHANGED")
	l.box.user.server.knows(t, alias+" "+key)
	login := l.latchkeyCommand(t, "login", l.box.user.server.URL, "--ca-file", l.box.user.server.CAFile, "--keep-token")
	login.Stdin = strings.NewReader(l.box.user.Token + "\n")
	if out, err := login.CombinedOutput(); err != nil {
		t.Fatalf("latchkey login: %v\n%s", err, out)
	}
	refused("with another host key, and the right one from an admin", "REMOTE HOST IDENTIFICATION HAS CHANGED")
	writeFile(t, l.Config, []byte(right), 0o600)
	works("with a login")

	// What the server has revoked is refused, by whoever is logged in.
	l.box.user.server.knows(t, "@revoked * "+key)
	refused("with a host key that is revoked", "REVOKED HOST KEY")
	l.box.user.server.stop(t)
	out, err := l.trySSH(t, "box", "echo in")
	if err != nil || strings.Count(out, "latchkey: warning: ssh goes by the key in its configuration, and does not know whether it was revoked") != 1 {
		t.Errorf("while the server is away: %v; want ssh to log in, and one warning:\n%s", err, out)
	}
}

// An ssh that would stop at the option is not given it, and the line goes to a file.
func TestSSHConfigOldSSH(t *testing.T) {
	l := newLaptop(t)
	old := filepath.Join(l.Dir, "old")
	if err := os.Mkdir(old, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(old, "ssh"), []byte("#!/bin/sh\necho OpenSSH_8.4p1 Debian-5 >&2\n"), 0o755)
	cmd := l.latchkeyCommand(t, "ssh-config", "dev", "--address", "127.0.0.1:"+l.Port, "--host", "box")
	cmd.Env = append(cmd.Env, "PATH="+old)
	var said strings.Builder
	cmd.Stderr = &said
	block, err := cmd.Output()
	const hint = "latchkey: warning: this is OpenSSH 8.4, which takes host keys from files only\nlatchkey: hint: latchkey ssh-config dev --known-hosts >> ~/.ssh/known_hosts\n"
	if err != nil || strings.Contains(string(block), "KnownHostsCommand") || said.String() != hint {
		t.Fatalf("ssh-config for an old ssh: %v, %q; want no KnownHostsCommand, and %q:\n%s", err, said.String(), hint, block)
	}
	writeFile(t, l.Config, append(block, "\tIdentityFile "+l.Key+"\n\tUserKnownHostsFile "+l.Known+"\n"...), 0o600)
	if out, err := l.trySSH(t, "box", "echo in"); err != nil || out != "in\n" {
		t.Errorf("with that block and the line in a file: %v, %q", err, out)
	}
}
