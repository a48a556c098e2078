package test

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// listenFor opens a socket as systemd would for a workspace's daemon.
func listenFor(t *testing.T, w *workspace, name string) *os.File {
	t.Helper()
	path := filepath.Join(w.Runtime, name)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	w.own(t, path)
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// startActivated starts the daemon as systemd does, with sockets and the token in
// the environment: taking it from there must not lose them.
func startActivated(t *testing.T, w *workspace, sockets ...*os.File) *process {
	t.Helper()
	const script = `LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=a:b exec latchkey agent`
	cmd := w.command(context.Background(), t, "sh", "-c", script)
	cmd.Env = append(cmd.Env, "LATCHKEY_TOKEN_FILE=", "LATCHKEY_TOKEN="+w.Token)
	cmd.ExtraFiles = sockets
	p, _ := start(t, cmd, regexp.MustCompile(`msg"?[=:]"?ready`))
	return p
}

func TestSocketActivation(t *testing.T) {
	need(t, "ssh-add")
	w := startServer(t, nil).newUser(t, "ada", nil).newWorkspace(t, "main", nil)
	notified, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(w.Dir, "notify")})
	if err != nil {
		t.Fatal(err)
	}
	defer notified.Close()
	if err := os.Chmod(filepath.Join(w.Dir, "notify"), 0o666); err != nil {
		t.Fatal(err)
	}
	expectState := func(want string) {
		t.Helper()
		notified.SetReadDeadline(time.Now().Add(patience))
		b := make([]byte, 100)
		n, err := notified.Read(b)
		if err != nil || string(b[:n]) != want {
			t.Errorf("systemd was told %q, %v; want %q", b[:n], err, want)
		}
	}
	w.Setenv("NOTIFY_SOCKET", filepath.Join(w.Dir, "notify"))
	agent, control := listenFor(t, w, "agent.sock"), listenFor(t, w, "control.sock")

	// Two lives on the same sockets, given in either order.
	for _, sockets := range [][]*os.File{{agent, control}, {control, agent}} {
		list := w.Command(t, "ssh-add", "-l")
		var out bytes.Buffer
		list.Stdout, list.Stderr = &out, &out
		if err := list.Start(); err != nil { // before there is a daemon: it waits
			t.Fatal(err)
		}
		d := startActivated(t, w, sockets...)
		expectState("READY=1")
		if err := list.Wait(); err != nil || !strings.Contains(out.String(), "(ED25519)") {
			t.Errorf("ssh-add -l: %v\n%s", err, out.String())
		}
		if out := w.Run(t, "latchkey", "status"); !strings.Contains(out, "running since") {
			t.Errorf("latchkey status says\n%s", out)
		}
		d.stop(t)
		expectState("STOPPING=1")
		for _, name := range []string{"agent.sock", "control.sock"} {
			if _, err := os.Stat(filepath.Join(w.Runtime, name)); err != nil {
				t.Errorf("the daemon has removed a socket of systemd: %v", err)
			}
		}
	}

	// Sockets for another process are not taken.
	cmd := w.Command(t, "sh", "-c", `LISTEN_PID=1 LISTEN_FDS=2 exec latchkey agent`)
	cmd.ExtraFiles = []*os.File{agent, control}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "another agent listens there") {
		t.Errorf("with LISTEN_PID of another process: %v\n%s", err, out)
	}
	// Nor what is no socket.
	file, err := os.Open(w.Write(t, "plain", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd = w.Command(t, "sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec latchkey agent`)
	cmd.ExtraFiles = []*os.File{file}
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "not a socket") || !strings.Contains(string(out), "latchkey: hint: see ListenStream=") {
		t.Errorf("with a file for a socket: %v\n%s", err, out)
	}
}
