package test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Clients other than OpenSSH's.
func TestSSHClients(t *testing.T) {
	l := newLaptop(t)
	t.Run("paramiko", l.paramiko)
	t.Run("paramiko, forwarding", l.paramikoForwarding)
	t.Run("PuTTY", l.putty)
	t.Run("dropbear", l.dropbear)
}

const python = "/usr/bin/python3" // the one that Debian's packages are for

func (l *laptop) paramiko(t *testing.T) {
	if err := l.Command(t, python, "-c", "import paramiko").Run(); err != nil {
		lacks(t, "there is no paramiko here: on Debian, apt-get install python3-paramiko")
	}
	got := l.runParamiko(t, `
stdin, stdout, stderr = client.exec_command("cat; echo err >&2; exit 7")
stdin.write("through"); stdin.channel.shutdown_write()
print(stdout.read().decode(), stderr.read().decode().strip(), stdout.channel.recv_exit_status())
_, out, _ = client.exec_command("stty size; tty", get_pty=True)
print(out.read().decode().split()[:2])
sftp = client.open_sftp()
sftp.putfo(io.BytesIO(b"x" * 1000000), "paramiko.bin")
with sftp.open("paramiko.bin") as f:
    print(len(f.read()), sftp.stat("paramiko.bin").st_size)
sftp.rename("paramiko.bin", "moved.bin"); sftp.remove("moved.bin")
client.close()
`)
	if want := "through err 7\n['24', '80']\n1000000 1000000\n"; got != want {
		t.Errorf("paramiko got %q; want %q", got, want)
	}
}

// runParamiko runs a script with a client that has logged in, and args from
// sys.argv[4] on.
func (l *laptop) runParamiko(t *testing.T, script string, args ...string) string {
	t.Helper()
	known := filepath.Join(l.Dir, "paramiko_hosts")
	writeFile(t, known, []byte(l.latchkey(t, "ssh-config", "dev", "--known-hosts", "--address", "127.0.0.1:"+l.Port)), 0o600)
	return l.Run(t, python, append([]string{"-W", "ignore", "-c", `
import io, os, sys, paramiko, paramiko.agent
key, known, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = paramiko.SSHClient()
client.load_host_keys(known)
client.connect("127.0.0.1", port, "alice", key_filename=key, look_for_keys=False, allow_agent=False)
` + script, l.Key, known, l.Port}, args...)...)
}

func (l *laptop) paramikoForwarding(t *testing.T) {
	socket := l.startAgent(t)
	public := l.add(t, socket)
	page := serveHello(t, "tcp", "127.0.0.1:0")
	_, port, _ := strings.Cut(page, ":")
	got := l.runParamiko(t, `
os.environ["SSH_AUTH_SOCK"], page, public = sys.argv[4], int(sys.argv[5]), sys.argv[6]
transport = client.get_transport()

session = transport.open_session()
handler = paramiko.agent.AgentRequestHandler(session)
session.exec_command("ssh-add -L; echo '" + public + "' > own.pub && ssh-add -T own.pub && echo signs")
out = session.makefile().read().decode()
print("agent", public in out, out.endswith("signs\n"))
handler.close()

def read(channel):
    with channel, channel.makefile() as f:
        return f.read().decode()
channel = transport.open_channel("direct-tcpip", ("127.0.0.1", page), ("127.0.0.1", 1))
channel.sendall(b"GET / HTTP/1.0\r\n\r\n")
print("direct-tcpip", read(channel).split()[-1])

port = transport.request_port_forward("127.0.0.1", 0)
_, out, _ = client.exec_command("curl -sS http://127.0.0.1:%d" % port)
channel = transport.accept(60)
channel.recv(4096)
channel.sendall(b"HTTP/1.0 200 OK\r\n\r\nback\n")
channel.close()
print("forwarded-tcpip", out.read().decode().strip())
transport.cancel_port_forward("127.0.0.1", port)
_, out, _ = client.exec_command("curl -sS http://127.0.0.1:%d 2>&1" % port)
print("cancelled", out.channel.recv_exit_status() != 0)
client.close()
`, socket, port, public)
	if want := "agent True True\ndirect-tcpip hello\nforwarded-tcpip back\ncancelled True\n"; got != want {
		t.Errorf("paramiko got %q; want %q", got, want)
	}
}

func (l *laptop) dropbear(t *testing.T) {
	key := filepath.Join(l.Dir, "id.dropbear")
	l.Run(t, "dropbearkey", "-t", "ed25519", "-f", key)
	var public string
	for line := range strings.Lines(l.Run(t, "dropbearkey", "-y", "-f", key)) {
		if strings.HasPrefix(line, "ssh-ed25519 ") {
			public = strings.TrimSpace(line)
		}
	}
	l.latchkey(t, "login-key", "add", public, "--name", "dropbear")
	// dbclient knows hosts by name only, whatever the port.
	l.mkdirSSH(t, l.latchkey(t, "ssh-config", "dev", "--known-hosts", "--address", "127.0.0.1"))
	run := func(command string) (string, int) {
		cmd := l.Command(t, "dbclient", "-T", "-i", key, "-p", l.Port, "alice@127.0.0.1", command)
		out, _ := cmd.Output()
		return string(out), cmd.ProcessState.ExitCode()
	}
	await(t, "the key of dropbear logs in", func() bool { out, _ := run("echo in"); return out == "in\n" })
	if _, code := run("exit 12"); code != 12 {
		t.Errorf("dbclient with exit 12 ended with %d", code)
	}

	// scp with dbclient in the place of ssh, with the protocol of old and SFTP.
	content := bytes.Repeat([]byte("dropbear"), 50_000)
	writeFile(t, filepath.Join(l.Dir, "up"), content, 0o600)
	dbclient := need(t, "dbclient")
	for _, protocol := range []string{"-O", "-s"} {
		args := []string{protocol, "-S", dbclient, "-i", key, "-P", l.Port}
		l.Run(t, "scp", append(args, "up", "alice@127.0.0.1:dropbear"+protocol)...)
		l.Run(t, "scp", append(args, "alice@127.0.0.1:dropbear"+protocol, "down")...)
		if got, err := os.ReadFile(filepath.Join(l.Dir, "down")); err != nil || !bytes.Equal(got, content) {
			t.Errorf("scp %s -S dbclient brought back %d bytes, %v; want %d", protocol, len(got), err, len(content))
		}
		os.Remove(filepath.Join(l.Dir, "down"))
	}

	page := serveHello(t, "tcp", "127.0.0.1:0")
	local, remote := freePort(t), freePort(t)
	start(t, l.Command(t, "dbclient", "-T", "-i", key, "-p", l.Port, "-L", local+":"+page, "-R", remote+":"+page, "alice@127.0.0.1", "echo ready; exec sleep 1000"), regexp.MustCompile("ready"))
	l.wantPage(t, "dbclient -L", "http://127.0.0.1:"+local)
	l.wantPageInBox(t, "dbclient -R", "http://127.0.0.1:"+remote)
}

// hostKey is the kind of the host key, and the key.
func (l *laptop) hostKey(t *testing.T) string {
	t.Helper()
	_, key, _ := strings.Cut(strings.TrimSpace(string(mustRead(t, l.Known))), " ")
	return key
}

func (l *laptop) mkdirSSH(t *testing.T, known string) {
	t.Helper()
	dir := filepath.Join(l.Dir, ".ssh")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "known_hosts"), []byte(known), 0o600)
}

// wantPage fetches what serveHello serves.
func (l *laptop) wantPage(t *testing.T, what, url string, flags ...string) {
	t.Helper()
	need(t, "curl")
	if got := l.Run(t, "curl", append(flags, "-sS", url)...); got != "hello\n" {
		t.Errorf("through %s came %q; want the page", what, got)
	}
}

// wantPageInBox does so in the workspace, once the port is open there: a client
// may run its command before it has the answer to that.
func (l *laptop) wantPageInBox(t *testing.T, what, url string) {
	t.Helper()
	await(t, what+" brings the page", func() bool {
		out, err := l.trySSH(t, "box", "curl -sS "+url)
		return err == nil && out == "hello\n"
	})
}
