package test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey/latchkey/test/witness"
)

// sshServer is the process that serves SSH for the laptop's workspace.
func (l *laptop) sshServer(t *testing.T) (pid int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		status, _ := os.ReadFile(file) // processes come and go
		if strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", l.daemon.cmd.Process.Pid)) {
			if pid != 0 {
				t.Errorf("the daemon has more children than one: %d, and %s", pid, file)
			}
			pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(file)))
		}
	}
	if pid == 0 {
		t.Fatal("the daemon has no child that serves SSH")
	}
	return pid
}

// gone reports whether a process has ended; who has waited for it does not matter.
func gone(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return errors.Is(err, os.ErrNotExist) || strings.Contains(string(status), "\nState:\tZ")
}

// A daemon that has SSH served is confined as any, and what runs in sessions is not.
func TestSSHDaemonIsConfined(t *testing.T) {
	l := newLaptop(t)
	confined(t, "latchkey agent --sshd", l.daemon)
	if name := string(mustRead(t, fmt.Sprintf("/proc/%d/cmdline", l.sshServer(t)))); name != "latchkey\x00ssh-server\x00text\x00" {
		t.Errorf("what serves SSH is called %q; want latchkey ssh-server", name)
	}
	if said := l.daemon.said(); strings.Contains(said, "Landlock") || strings.Contains(said, "seccomp") || strings.Contains(said, "not confined") {
		t.Errorf("the log has gaps:\n%s", said)
	}
	if out := l.box.Run(t, "latchkey", "status"); !strings.Contains(out, "no new privileges, seccomp, Landlock ") || strings.Contains(out, "not confined") {
		t.Errorf("latchkey status says\n%s", out)
	}
	const show = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status"
	if got, want := l.SSH(t, "box", show), l.box.Run(t, "sh", "-c", show); got != want || !strings.Contains(got, "NoNewPrivs:\t0") {
		t.Errorf("a session has\n%swant\n%sas what is started beside the daemon: it could not run sudo", got, want)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", l.daemon.cmd.Process.Pid))
	if never := regexp.MustCompile(`Max core file size +0 +0 `); err != nil || !never.Match(limits) {
		t.Errorf("the limits of the daemon are\n%s%v; want that it can't leave a core file again", limits, err)
	}
}

// What strangers talk to has neither the user's key nor the token: not in its memory,
// not in its environment, and no descriptor but those that it needs.
func TestSSHServerHoldsNoKey(t *testing.T) {
	needRoot(t, "it reads the memory of a process that nobody else may look into")
	key := ed25519Key(t)
	private, public := encodeKey(t, key)
	w := startServer(t, nil).newUser(t, "alice", private).newWorkspace(t, "dev", nil)
	w.Env = slices.DeleteFunc(w.Env, func(v string) bool { return strings.HasPrefix(v, "LATCHKEY_TOKEN_FILE=") })
	w.Setenv("LATCHKEY_TOKEN", w.Token)
	l := newLaptopFor(t, w)
	l.daemon.stop(t)
	file, err := os.Open(l.box.Write(t, "a-token", w.Token))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := l.box.command(context.Background(), t, "latchkey", "agent", "--sshd", "127.0.0.1:0", "--idle", "24h")
	cmd.ExtraFiles = []*os.File{file, file, file} // as of --token-file /dev/fd/5
	var m []string
	l.daemon, m = start(t, cmd, servingSSH)
	l.Port = m[1]
	l.configure(t)
	server := l.sshServer(t)

	l.box.Write(t, "key.pub", public+"\n")
	const sign = "ssh-keygen -q -Y sign -n git -f key.pub < key.pub > signature"
	need(t, "ssh-keygen")
	l.background(t, "box", "for i in 1 2 3 4 5 6 7 8; do "+sign+" || exit; done; echo ready; exec sleep 1000")

	secrets, err := witness.MemorySecrets(key)
	if err != nil {
		t.Fatal(err)
	}
	token := witness.Secret{Name: "the token", Bytes: []byte(w.Token[len("lk_w_"):])}
	found, err := witness.Memory(witness.NewMatcher(append(secrets, token)...), server)
	if err != nil || len(found) > 0 {
		t.Errorf("while a session uses the key, this is in the memory of what serves it: %v\n%s", err, lines(found))
	}
	// It sees what is there, or this shows nothing.
	socket := witness.Secret{Name: "the agent's socket", Bytes: []byte(w.AgentSocket())}
	if found, err := witness.Memory(witness.NewMatcher(socket), server); err != nil || len(found) == 0 {
		t.Errorf("what sessions get was not found in the same memory: %v", err)
	}
	if environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", server)); err != nil || !strings.Contains(string(environ), "LATCHKEY_URL=") || strings.Contains(string(environ), "LATCHKEY_TOKEN") {
		t.Errorf("the environment of what serves SSH is %q, %v; want it without the token", environ, err)
	}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", server))
	if err != nil || len(files) == 0 {
		t.Fatalf("no descriptors of process %d: %v", server, err)
	}
	for _, file := range files {
		if to, _ := os.Readlink(file); strings.Contains(to, "secret") || strings.Contains(to, "token") || strings.Contains(to, w.Runtime) {
			t.Errorf("what serves SSH has %s open", to)
		}
	}
	if out := l.SSH(t, "box", "ls -l /proc/self/fd"); strings.Contains(out, "token") {
		t.Errorf("a session has open\n%s", out)
	}
	if out, err := l.box.Try(t, "head", "-c", "1", fmt.Sprintf("/proc/%d/mem", server)); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("another process of the user reads the memory of what serves SSH: %v, %s", err, out)
	}
}

// What serves SSH is killed: the daemon goes on, and says that it is not served.
func TestSSHServerIsKilled(t *testing.T) {
	l := newLaptop(t)
	syscall.Kill(l.sshServer(t), syscall.SIGKILL)
	l.daemon.await(t, regexp.MustCompile(`SSH is not served any more.*signal: killed`))
	if got := l.box.Run(t, "ssh-add", "-L"); !strings.Contains(got, l.box.user.publicKey(t)) {
		t.Errorf("ssh-add -L says %q; want the managed key", got)
	}
	if out, err := l.box.Try(t, "latchkey", "status"); err == nil || !strings.Contains(out, "SSH is not served any more") || !strings.Contains(out, "signal: killed") {
		t.Errorf("latchkey status: %v\n%s\nwant a failure that says that SSH is not served, and why", err, out)
	}
	if conn, err := net.Dial("tcp", "127.0.0.1:"+l.Port); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a client gets %v, %v; want it refused, and not kept waiting", conn, err)
	}
	l.daemon.stop(t)
	if status := l.daemon.cmd.ProcessState; !status.Success() {
		t.Errorf("the daemon has ended with %v", status)
	}
}

// The daemon is killed: sessions are hung up, and nothing is left of them.
func TestSSHDaemonIsKilled(t *testing.T) {
	l := newLaptop(t)
	server := l.sshServer(t)
	session := func(args ...string) (pid int) {
		cmd := l.Command(t, "ssh", append([]string{"-F", l.Config}, args...)...)
		_, m := start(t, cmd, regexp.MustCompile(`runs as (\d+)\.`))
		pid, _ = strconv.Atoi(m[1])
		return pid
	}
	plain := session("box", "echo runs as $$.; sleep 1000; true")
	screen := session("-tt", "box", "echo runs as $$.; sleep 1000; true")
	stubborn := session("box", "trap '' HUP; echo runs as $$.; while :; do sleep 1; done")
	syscall.Kill(l.daemon.cmd.Process.Pid, syscall.SIGKILL)
	<-l.daemon.exited // also of what serves SSH, which has the same log
	for what, pid := range map[string]int{"the process that served SSH": server, "a command": plain, "a command on a terminal": screen, "a command that bears to be hung up": stubborn} {
		await(t, what+" has ended", func() bool { return gone(pid) })
	}
}

// Nobody but a daemon starts what serves SSH.
func TestSSHServerIsNoCommand(t *testing.T) {
	w := startServer(t, nil).newUser(t, "alice", nil).newWorkspace(t, "dev", nil)
	for _, args := range [][]string{{"ssh-server"}, {"ssh-server", "text"}, {"ssh-server", "text", "more"}} {
		if out, err := w.Try(t, "latchkey", args...); err == nil || !strings.Contains(out, "run by latchkey agent --sshd") {
			t.Errorf("latchkey %s: %v, %s; want it refused", strings.Join(args, " "), err, out)
		}
	}
}
