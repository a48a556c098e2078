package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Clients other than OpenSSH's.
func TestSSHClients(t *testing.T) {
	l := newLaptop(t)
	t.Run("paramiko", l.paramiko)
	t.Run("PuTTY", l.putty)
	t.Run("dropbear", l.dropbear)
}

func (l *laptop) paramiko(t *testing.T) {
	const python = "/usr/bin/python3" // the one that Debian's package is for
	if err := l.Command(t, python, "-c", "import paramiko").Run(); err != nil {
		lacks(t, "there is no paramiko here: on Debian, apt-get install python3-paramiko")
	}
	known := filepath.Join(l.Dir, "paramiko_hosts")
	writeFile(t, known, []byte("[127.0.0.1]:"+l.Port+" "+l.hostKey(t)+"\n"), 0o600)
	got := l.Run(t, python, "-W", "ignore", "-c", `
import io, sys, paramiko
key, known, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = paramiko.SSHClient()
client.load_host_keys(known)
client.connect("127.0.0.1", port, "alice", key_filename=key, look_for_keys=False, allow_agent=False)
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
`, l.Key, known, l.Port)
	if want := "through err 7\n['24', '80']\n1000000 1000000\n"; got != want {
		t.Errorf("paramiko got %q; want %q", got, want)
	}
}

// hostKey is the kind of the host key, and the key.
func (l *laptop) hostKey(t *testing.T) string {
	t.Helper()
	_, key, _ := strings.Cut(strings.TrimSpace(string(mustRead(t, l.Known))), " ")
	return key
}

func (l *laptop) putty(t *testing.T) {
	ppk := filepath.Join(l.Dir, "id.ppk")
	l.Run(t, "puttygen", l.Key, "-o", ppk)
	// PuTTY takes a host key by its fingerprint.
	fingerprint := strings.Fields(l.Run(t, "ssh-keygen", "-lf", l.Known))[1]
	common := []string{"-batch", "-P", l.Port, "-l", "alice", "-i", ppk, "-hostkey", fingerprint}
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
	_, wrong := newKey(t)
	other := filepath.Join(l.Dir, "other.pub")
	writeFile(t, other, []byte(wrong+"\n"), 0o600)
	common[len(common)-1] = strings.Fields(l.Run(t, "ssh-keygen", "-lf", other))[1]
	if err := l.Command(t, "plink", append(common, "127.0.0.1", "true")...).Run(); err == nil {
		t.Error("plink takes another host key")
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
	// dbclient knows hosts by name only, and reads its own file of them.
	l.mkdirSSH(t, "127.0.0.1 "+l.hostKey(t)+"\n")
	run := func(command string) (string, int) {
		cmd := l.Command(t, "dbclient", "-T", "-i", key, "-p", l.Port, "alice@127.0.0.1", command)
		out, _ := cmd.Output()
		return string(out), cmd.ProcessState.ExitCode()
	}
	await(t, "the key of dropbear logs in", func() bool { out, _ := run("echo in"); return out == "in\n" })
	if _, code := run("exit 12"); code != 12 {
		t.Errorf("dbclient with exit 12 ended with %d", code)
	}
}

func (l *laptop) mkdirSSH(t *testing.T, known string) {
	t.Helper()
	dir := filepath.Join(l.Dir, ".ssh")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "known_hosts"), []byte(known), 0o600)
}
