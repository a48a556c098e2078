package test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// ideServer stands for the server that an IDE leaves in the workspace: it serves
// a page on a port and on a socket, and says where when it does.
const ideServer = `
import http.server, os, socket, socketserver, sys, threading
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"hello\n")
    def address_string(self): return "client"
class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer): daemon_threads = True
tcp = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
unix = Unix(sys.argv[1], Page)
threading.Thread(target=unix.serve_forever, daemon=True).start()
with open(sys.argv[2], "w") as ready:
    ready.write("%d\n" % tcp.server_address[1])
tcp.serve_forever()
`

// ideScript is what VS Code's Remote-SSH does, in small: it runs "ssh -T -D PORT
// host sh" (or bash), and writes a script to it that starts the server, unless it
// runs, and prints marked lines, in which the extension finds what it wants.
func ideScript(dir string) string {
	return `
echo "$$: running"
mkdir -p ` + dir + ` && cd ` + dir + ` && umask 077
cat > server.py <<'END_OF_SERVER'` + ideServer + `END_OF_SERVER
mkfifo ready
if command -v setsid >/dev/null; then start=setsid; else start=; fi
nohup $start ` + python + ` server.py "$PWD/server.sock" ready >server.log 2>&1 </dev/null &
echo $! > server.pid
read port < ready
echo "SSH_AUTH_SOCK==$SSH_AUTH_SOCK=="
echo "listeningOn==$port=="
echo "$$: end"
`
}

// The way of VS Code's Remote-SSH.
func TestSSHForVSCode(t *testing.T) {
	l := newLaptop(t)
	for _, shell := range []string{"sh", "bash"} {
		t.Run(shell, func(t *testing.T) { l.vscode(t, shell) })
	}
	t.Run("long script", func(t *testing.T) {
		script := "# " + strings.Repeat("what the extension has to say ", 4000) + "\nprintf %s in\n" // 120 kB: Linux takes 128 KiB in one argument
		if got := l.SSH(t, "-T", "box", script); got != "in" {
			t.Errorf("a command of %d bytes said %q; want in", len(script), got)
		}
		cmd := l.Command(t, "ssh", "-T", "-F", l.Config, "box", "bash -s")
		cmd.Stdin = strings.NewReader(strings.Repeat(script, 10))
		if out, err := cmd.Output(); string(out) != strings.Repeat("in", 10) || err != nil {
			t.Errorf("scripts on standard input said %q, %v; want in, ten times", out, err)
		}
	})
	t.Run("terminal", func(t *testing.T) {
		socket := l.startAgent(t)
		public := l.add(t, socket)
		screen := l.onTerminal(t, 24, 300, "-t", "-A", "-o", "IdentityAgent="+socket, "box", "ssh-add -L; exec bash --norc")
		readUntil(t, screen, public)
		io.WriteString(screen, "tty -s && echo 'a' terminal; exit\r")
		readUntil(t, screen, "a terminal")
	})
}

func (l *laptop) vscode(t *testing.T, shell string) {
	socks := freePort(t)
	cmd := l.Command(t, "ssh", "-F", l.Config, "-T", "-D", socks, "box", shell)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(l.box.Home, ".ide-"+shell)
	t.Cleanup(func() {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(mustRead(t, dir+"/server.pid")))); err == nil {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	go io.WriteString(stdin, ideScript(dir)) // and not the end: it stays for what it forwards
	first, m := start(t, cmd, regexp.MustCompile(`(?s)\d+: running.*SSH_AUTH_SOCK==(\S+)==.*listeningOn==(\d+)==.*\d+: end`))
	if m[1] != l.box.AgentSocket() {
		t.Errorf("the script saw the agent's socket %q; want %q", m[1], l.box.AgentSocket())
	}
	page := "http://127.0.0.1:" + m[2]
	l.wantPage(t, "-D of the connection that started the server", page, "--socks5-hostname", "127.0.0.1:"+socks)

	// The window is closed: the session ends, and the server does not.
	stdin.Close()
	<-first.exited
	if !first.cmd.ProcessState.Success() {
		t.Errorf("the session ended with %v", first.cmd.ProcessState)
	}
	socks, local := freePort(t), freePort(t)
	here := filepath.Join(openDir(t), "s")
	l.background(t, "-T", "-D", socks, "-L", local+":"+dir+"/server.sock", "-L", here+":"+dir+"/server.sock", "box", "echo ready; exec sleep 1000")
	l.wantPage(t, "-D of another connection", page, "--socks5-hostname", "127.0.0.1:"+socks)
	l.wantPage(t, "-L of a port to the server's socket", "http://127.0.0.1:"+local)
	l.wantPage(t, "-L of a socket to it", "http://page", "--unix-socket", here)
}

// A client that is killed, as with the laptop's battery, comes back and has the
// same ports and sockets again.
func TestSSHComesBack(t *testing.T) {
	need(t, "curl")
	l := newLaptop(t)
	page := serveHello(t, "tcp", "127.0.0.1:0")
	port, there := freePort(t), filepath.Join(l.box.Home, "there.sock")
	fetch := "curl -s http://127.0.0.1:" + port + " && curl -s --unix-socket " + there + " http://page"
	come := func() (cmd *exec.Cmd, exited chan error) {
		cmd = l.Command(t, "ssh", "-F", l.Config, "-N", "-o", "ExitOnForwardFailure=yes", "-R", port+":"+page, "-R", there+":"+page, "box")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		exited = make(chan error, 1)
		go func() { exited <- cmd.Wait() }()
		return cmd, exited
	}
	for range 3 {
		cmd, exited := come()
		await(t, "the port and the socket bring the page", func() bool {
			select {
			case <-exited: // the server has not yet seen the end of the one before
				cmd, exited = come()
				return false
			default:
			}
			out, err := l.trySSH(t, "box", fetch)
			return out == "hello\nhello\n" && err == nil
		})
		cmd.Process.Kill()
		<-exited
	}
}

// The way of JetBrains' Gateway: a client of its own, one connection, over which
// it brings its server, runs it, and reaches it.
func TestSSHForJetBrains(t *testing.T) {
	l := newLaptop(t)
	key, err := ssh.ParsePrivateKey(mustRead(t, l.Key))
	if err != nil {
		t.Fatal(err)
	}
	host, _, _, _, err := ssh.ParseAuthorizedKey([]byte(l.hostKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	client, err := ssh.Dial("tcp", "127.0.0.1:"+l.Port, &ssh.ClientConfig{User: "alice", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(host)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	files, err := sftp.NewClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	dir := filepath.Join(l.box.Home, ".cache/JetBrains/RemoteDev")
	if err := files.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
	launcher := filepath.Join(dir, "launch.sh")
	upload(t, files, launcher, "#!/bin/sh\nmkfifo ready wait\n"+python+" server.py \"$PWD/server.sock\" ready </dev/null >server.log 2>&1 &\n"+
		"read port <ready\necho joinLink=$port\nread line <wait\necho \"after a pause: $line\"\nkill $!\n")
	upload(t, files, filepath.Join(dir, "server.py"), ideServer)
	if err := files.Chmod(launcher, 0o755); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(launcher); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("what was uploaded is %v, %v; want mode 0755", info, err)
	}

	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := session.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("cd " + dir + " && exec ./launch.sh"); err != nil {
		t.Fatal(err)
	}
	var port int
	if _, err := fmt.Fscanf(out, "joinLink=%d\n", &port); err != nil {
		t.Fatal(err)
	}
	for network, address := range map[string]string{"tcp": fmt.Sprint("127.0.0.1:", port), "unix": dir + "/server.sock"} {
		conn, err := client.Dial(network, address)
		if err != nil {
			t.Errorf("to %s: %v", address, err)
			continue
		}
		wantHello(t, network, conn)
	}
	// For as long as nothing comes, the session and the connection stay.
	second, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run("echo go on > " + dir + "/wait"); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(out); string(rest) != "after a pause: go on\n" || err != nil {
		t.Errorf("after a pause came %q, %v", rest, err)
	}
	if err := session.Wait(); err != nil {
		t.Errorf("the launcher ended with %v", err)
	}
}

func upload(t *testing.T, files *sftp.Client, path, content string) {
	t.Helper()
	f, err := files.Create(path)
	if err == nil {
		_, err = io.WriteString(f, content)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// wantHello asks for the page over a connection.
func wantHello(t *testing.T, what string, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
	if all, err := io.ReadAll(conn); !strings.HasSuffix(string(all), "\r\n\r\nhello\n") || err != nil {
		t.Errorf("over %s came %q, %v; want the page", what, all, err)
	}
}
