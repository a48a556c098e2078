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
	if in("-l", "root") && l.box.uid() != 0 {
		t.Error("one may log in as root")
	}
	if out := l.SSH(t, "-l", "alice", "box", "echo in"); out != "in\n" {
		t.Errorf("as alice: %q", out)
	}
	if out := l.SSH(t, "-l", strings.TrimSpace(l.box.Run(t, "id", "-un")), "box", "echo in"); out != "in\n" {
		t.Errorf("as the account of the daemon: %q", out)
	}

	out, err := l.trySSH(t, "-o", "UserKnownHostsFile=/dev/null", "box", "true")
	if err == nil || !strings.Contains(out, "Host key verification failed") {
		t.Errorf("with an unknown host key: %v, %s; want ssh to refuse it", err, out)
	}
	_, impostor := newKey(t)
	alias, _, _ := strings.Cut(string(mustRead(t, l.Known)), " ")
	wrong := filepath.Join(l.Dir, "wrong_hosts")
	writeFile(t, wrong, []byte(alias+" "+impostor+"\n"), 0o600)
	out, err = l.trySSH(t, "-o", "UserKnownHostsFile="+wrong, "box", "true")
	if err == nil || !strings.Contains(out, "REMOTE HOST IDENTIFICATION HAS CHANGED") {
		t.Errorf("with another host key: %v, %s; want ssh's own warning", err, out)
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
	if said := l.daemon.said(); !strings.Contains(said, "name=other") || !strings.Contains(said, "its key may not log in any more") {
		t.Error("the log does not name the key that logged in, or does not say why its connection ended")
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
	l.configure(t, l.Known)
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
	if out := forward(`echo "$SSH_AUTH_SOCK"; echo '` + public + `' > own.pub && ssh-add -T own.pub && echo signs`); out != l.box.AgentSocket()+"\nsigns\n" {
		t.Errorf("with the own key: %q; want it to sign through the stable socket", out)
	}
	await(t, "the own key goes with the session", func() bool { return !strings.Contains(l.box.Run(t, "ssh-add", "-L"), public) })
	if out := l.SSH(t, "box", "ssh-add -L"); strings.Contains(out, public) {
		t.Error("a session that brought no agent has the own key")
	}

	// Somebody in the workspace forwards the workspace's agent to it.
	l.box.mkdir(t, filepath.Join(l.box.Home, ".ssh"))
	known := l.box.Write(t, "known", string(mustRead(t, l.Known)))
	config := l.box.Write(t, "config", strings.ReplaceAll(strings.ReplaceAll(string(mustRead(t, l.Config)), l.Known, known), "\tIdentityFile "+l.Key+"\n\tIdentitiesOnly yes\n", ""))
	if _, err := l.box.user.CreateLoginKey(t.Context(), api.Me, api.CreateLoginKeyRequest{Name: "managed", PublicKey: l.box.user.publicKey(t)}); err != nil {
		t.Fatal(err)
	}
	loop := func() (string, error) { return l.box.Try(t, "ssh", "-A", "-F", config, "box", "ssh-add -L") }
	await(t, "the managed key logs in", func() bool { _, err := loop(); return err == nil })
	if out, err := loop(); err != nil || strings.TrimSpace(out) != l.box.user.publicKey(t) {
		t.Errorf("an agent that is forwarded to itself lists %q, %v; want the managed key", out, err)
	}
}
