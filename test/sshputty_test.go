package test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (l *laptop) putty(t *testing.T) {
	ppk := filepath.Join(l.Dir, "id.ppk")
	l.Run(t, "puttygen", l.Key, "-o", ppk)
	// PuTTY reads no known_hosts, and takes a host key by its fingerprint.
	var key api.HostKey
	if err := json.Unmarshal([]byte(l.latchkey(t, "ssh-config", "dev", "--json")), &key); err != nil {
		t.Fatal(err)
	}
	common := []string{"-batch", "-P", l.Port, "-l", "alice", "-i", ppk, "-hostkey", key.Fingerprint}
	if got := l.Run(t, "plink", append(common, "127.0.0.1", "echo in; exit 0")...); got != "in\n" {
		t.Errorf("plink said %q", got)
	}
	cmd := l.Command(t, "plink", append(common, "127.0.0.1", "exit 9")...)
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("plink with exit 9: %v", err)
	}
	batch := filepath.Join(l.Dir, "psftp.batch")
	writeFile(t, batch, []byte("put id.pub putty.pub\nls\nget putty.pub putty.back\nrm putty.pub\n"), 0o600)
	l.Run(t, "psftp", append(common, "-b", batch, "127.0.0.1")...)
	if got := string(mustRead(t, filepath.Join(l.Dir, "putty.back"))); got != l.Public+"\n" {
		t.Errorf("psftp brought back %q", got)
	}
	l.puttyFiles(t, common)
	l.puttyTerminal(t, common)
	l.puttyForwarding(t, common)
	_, wrong := newKey(t)
	other := filepath.Join(l.Dir, "other.pub")
	writeFile(t, other, []byte(wrong+"\n"), 0o600)
	common[len(common)-1] = strings.Fields(l.Run(t, "ssh-keygen", "-lf", other))[1]
	if err := l.Command(t, "plink", append(common, "127.0.0.1", "true")...).Run(); err == nil {
		t.Error("plink takes another host key")
	}
}

func (l *laptop) puttyFiles(t *testing.T, common []string) {
	content := bytes.Repeat([]byte("putty"), 50_000)
	writeFile(t, filepath.Join(l.Dir, "putty.up"), content, 0o600)
	for _, protocol := range []string{"-sftp", "-scp"} {
		args := append([]string{protocol, "-q"}, common...)
		l.Run(t, "pscp", append(args, "putty.up", "127.0.0.1:putty"+protocol)...)
		l.Run(t, "pscp", append(args, "127.0.0.1:putty"+protocol, "putty.down")...)
		if got, err := os.ReadFile(filepath.Join(l.Dir, "putty.down")); err != nil || !bytes.Equal(got, content) {
			t.Errorf("pscp %s brought back %d bytes, %v; want %d", protocol, len(got), err, len(content))
		}
		os.Remove(filepath.Join(l.Dir, "putty.down"))
	}
}

func (l *laptop) puttyTerminal(t *testing.T, common []string) {
	cmd := l.Command(t, "plink", append(common, "-t", "127.0.0.1", `echo size $(stty size) $TERM; read line; echo "got $line"; exit 3`)...)
	screen, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 101})
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	readUntil(t, screen, "size 33 101 xterm")
	io.WriteString(screen, "typed\r")
	readUntil(t, screen, "got typed")
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("plink -t with exit 3: %v", cmd.ProcessState)
	}
}

func (l *laptop) puttyForwarding(t *testing.T, common []string) {
	page := serveHello(t, "tcp", "127.0.0.1:0")
	local, remote, dynamic := freePort(t), freePort(t), freePort(t)
	start(t, l.Command(t, "plink", append(common, "-L", local+":"+page, "-R", remote+":"+page, "-D", dynamic, "127.0.0.1", "echo ready; exec sleep 1000")...), regexp.MustCompile("ready"))
	l.wantPage(t, "plink -L", "http://127.0.0.1:"+local)
	l.wantPage(t, "plink -D", "http://"+page, "--socks5-hostname", "127.0.0.1:"+dynamic)
	l.wantPageInBox(t, "plink -R", "http://127.0.0.1:"+remote)

	// On Unix PuTTY takes the agent that SSH_AUTH_SOCK names, Pageant or another.
	socket := l.startAgent(t)
	public := l.add(t, socket)
	plink := func(flag string) string {
		out, err := withAgent(l.Command(t, "plink", append(common, flag, "127.0.0.1", "ssh-add -L; echo '"+public+"' > own.pub; ssh-add -T own.pub && echo signs")...), socket).Output()
		if (err == nil) != (flag == "-A") {
			t.Errorf("plink %s: %v, %q", flag, err, out)
		}
		return string(out)
	}
	if out := plink("-A"); !strings.Contains(out, public) || !strings.HasSuffix(out, "signs\n") {
		t.Errorf("with plink -A the workspace's agent says %q; want the own key, and its signature", out)
	}
	if out := plink("-a"); strings.Contains(out, public) {
		t.Errorf("with plink -a the workspace's agent says %q; want no own key", out)
	}
}
