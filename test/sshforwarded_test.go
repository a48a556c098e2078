package test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// startAgent starts the ssh-agent of the laptop's user.
func (l *laptop) startAgent(t *testing.T, env ...string) (socket string) {
	t.Helper()
	socket = filepath.Join(openDir(t), "agent.sock")
	agent := l.Command(t, "ssh-agent", "-D", "-a", socket)
	agent.Env = append(agent.Env, env...)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { agent.Process.Kill(); agent.Wait() })
	await(t, "ssh-agent listens", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return socket
}

// add adds a new key to an agent, as ssh-add does with the flags.
func (l *laptop) add(t *testing.T, socket string, flags ...string) (public string) {
	t.Helper()
	private, public := newKey(t)
	file := filepath.Join(l.Dir, "own")
	writeFile(t, file, private, 0o600)
	add := withAgent(l.Command(t, "ssh-add", append(append([]string{"-q"}, flags...), file)...), socket)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v\n%s", err, out)
	}
	return public
}

func withAgent(cmd *exec.Cmd, socket string) *exec.Cmd {
	cmd.Env = append(cmd.Env, "SSH_AUTH_SOCK="+socket)
	return cmd
}

// What the user has said of a key when they added it to their own agent holds in
// the workspace: here that each use is confirmed, on the laptop.
func TestSSHForwardedConfirm(t *testing.T) {
	l := newLaptop(t)
	answer, asked := filepath.Join(l.Dir, "answer"), filepath.Join(l.Dir, "asked")
	askpass := filepath.Join(l.Dir, "askpass")
	writeFile(t, askpass, []byte("#!/bin/sh\necho \"$1\" >> "+asked+"\nexec cat "+answer+"\n"), 0o700)
	socket := l.startAgent(t, "SSH_ASKPASS="+askpass, "SSH_ASKPASS_REQUIRE=force")
	public := l.add(t, socket, "-c")
	for _, c := range []struct {
		answer string
		signs  bool
	}{{"yes\n", true}, {"no\n", false}, {"yes\n", true}} {
		writeFile(t, answer, []byte(c.answer), 0o600)
		os.Remove(asked)
		cmd := withAgent(l.Command(t, "ssh", "-A", "-F", l.Config, "box", "echo '"+public+"' > own.pub && ssh-add -T own.pub"), socket)
		out, err := cmd.CombinedOutput()
		if (err == nil) != c.signs {
			t.Errorf("the user says %q, and ssh-add -T in the workspace: %v, %s; want it to succeed: %t", c.answer, err, out, c.signs)
		}
		if said, err := os.ReadFile(asked); err != nil || strings.Count(string(said), "\n") == 0 {
			t.Errorf("the user was asked %q, %v; want to be asked", said, err)
		}
	}
}

// And here that it is for one host by way of the workspace, and for no other. ssh
// in the workspace proves the host to the laptop's agent, through all there is
// between them.
func TestSSHForwardedDestination(t *testing.T) {
	l := newLaptop(t)
	forge, other := startSSHD(t, nil), startSSHD(t, nil)
	hosts := filepath.Join(l.Dir, "hosts")
	writeFile(t, hosts, []byte("box "+l.hostKey(t)+"\nforge "+forge.HostKey+"\n"), 0o600)
	socket := l.startAgent(t)
	public := l.add(t, socket, "-H", hosts, "-h", "box", "-h", "box>forge")
	for _, s := range []*sshd{forge, other} {
		s.Authorize(t, public)
	}
	config := l.box.Reaches(t, forge.host("forge"), other.host("other"))
	in := func(args ...string) (string, error) {
		out, err := withAgent(l.Command(t, "ssh", append([]string{"-F", l.Config}, args...)...), socket).CombinedOutput()
		return string(out), err
	}
	if out, err := in("-A", "box", "ssh -F "+config+" forge echo in"); out != "in\n" || err != nil {
		t.Errorf("by way of the workspace to the host that the key is for: %q, %v", out, err)
	}
	before := len(other.Log(t))
	if out, err := in("-A", "box", "ssh -F "+config+" other echo in"); err == nil {
		t.Errorf("by way of the workspace to another host: %q; want it refused", out)
	}
	if strings.Contains(other.Log(t)[before:], fingerprintOf(t, public)) {
		t.Error("the key was offered to a host that it is not for")
	}
	if out, err := in("box", "ssh -F "+config+" forge echo in"); err == nil {
		t.Errorf("without -A: %q; want it refused", out)
	}
	// It logs in to the workspace itself, whose login names no host.
	l.latchkey(t, "login-key", "add", public, "--name", "constrained")
	onlyAgent := filepath.Join(l.Dir, "agent_config")
	text := strings.ReplaceAll(string(mustRead(t, l.Config)), "IdentitiesOnly yes", "IdentitiesOnly no")
	writeFile(t, onlyAgent, []byte(strings.ReplaceAll(text, "IdentityFile "+l.Key, "IdentityFile none")), 0o600)
	await(t, "the key logs in", func() bool {
		out, err := withAgent(l.Command(t, "ssh", "-F", onlyAgent, "box", "echo in"), socket).Output()
		return string(out) == "in\n" && err == nil
	})
}

// A key that is for certain hosts, and is forwarded, signs only logins that name
// their host, which this server does not take: docs/ssh.md says so. It is reached
// by -J, where nothing is forwarded.
func TestSSHIsNotHostbound(t *testing.T) {
	l := newLaptop(t)
	forge, other := startSSHD(t, nil), startSSHD(t, nil)
	box := strings.NewReplacer("IdentitiesOnly yes", "IdentitiesOnly no", "IdentityFile "+l.Key, "IdentityFile none").Replace(string(mustRead(t, l.Config)))
	alias, _, _ := strings.Cut(string(mustRead(t, l.Known)), " ")
	hosts := alias + " " + l.hostKey(t) + "\n"
	for name, s := range map[string]*sshd{"forge": forge, "other": other} {
		hosts += name + " " + s.HostKey + "\n"
		box += fmt.Sprintf("\nHost %s\n\tHostName 127.0.0.1\n\tPort %d\n\tUser %s\n\tHostKeyAlias %s\n\tUserKnownHostsFile %s\n\tBatchMode yes\n", name, s.Port, s.User, name, l.Known)
	}
	writeFile(t, l.Known, []byte(hosts), 0o600)
	config := filepath.Join(l.Dir, "way")
	writeFile(t, config, []byte(box), 0o600)
	socket := l.startAgent(t)
	public := l.add(t, socket, "-H", l.Known, "-h", "forge", "-h", "forge>other", "-h", "forge>"+alias, "-h", alias)
	l.latchkey(t, "login-key", "add", public, "--name", "constrained")
	forge.Authorize(t, public)
	other.Authorize(t, public)
	in := func(args ...string) (string, error) {
		out, err := withAgent(l.Command(t, "ssh", append([]string{"-F", config}, args...)...), socket).CombinedOutput()
		return string(out), err
	}
	await(t, "the key logs in", func() bool { out, err := in("box", "echo in"); return out == "in\n" && err == nil })
	if out, err := in("-J", "forge", "box", "echo in"); out != "in\n" || err != nil {
		t.Errorf("by -J: %q, %v", out, err)
	}
	if out, err := in("-A", "forge", "ssh -F "+config+" other echo in"); out != "in\n" || err != nil {
		t.Errorf("with -A by way of one host to another, both OpenSSH's: %q, %v", out, err)
	}
	if out, err := in("-A", "forge", "ssh -F "+config+" box echo in"); err == nil {
		t.Errorf("with -A by way of a host to the workspace: %q; if it takes such logins now, docs/ssh.md is to say so", out)
	}
}
