package test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Programs other than git that use $SSH_AUTH_SOCK, with each kind of key.
func TestConsumers(t *testing.T) {
	server, sshd := startServer(t, nil), startSSHD(t, nil)
	for _, kind := range []struct {
		name string
		make func() (crypto.Signer, error)
	}{
		{"ed25519", func() (crypto.Signer, error) { _, k, err := ed25519.GenerateKey(nil); return k, err }},
		{"ecdsa", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
		{"rsa", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 3072) }},
	} {
		t.Run(kind.name, func(t *testing.T) {
			key, err := kind.make()
			if err != nil {
				t.Fatal(err)
			}
			private, _ := encodeKey(t, key)
			u := server.newUser(t, kind.name, private)
			w := u.newWorkspace(t, "dev", nil)
			w.StartDaemon(t)
			w.Setenv("SSH_AUTH_SOCK", w.AgentSocket())
			sshd.Authorize(t, u.publicKey(t))
			c := consumers{w, sshd, u.publicKey(t)}
			t.Run("ssh-add", c.sshAdd)
			t.Run("ssh", c.ssh)
			t.Run("ssh-keygen", c.sshKeygen)
			t.Run("git commit -S", c.gitCommit)
			t.Run("paramiko", c.paramiko)
			t.Run("plink", c.plink)
		})
	}
}

type consumers struct {
	*workspace
	sshd   *sshd
	public string // the user's line
}

func (c consumers) sshAdd(t *testing.T) {
	if got := strings.TrimSpace(c.Run(t, "ssh-add", "-L")); got != c.public {
		t.Errorf("ssh-add -L printed %q; want %q", got, c.public)
	}
	// ssh-add -T has random bytes signed, which the agent does with no key of
	// the user's that the server holds.
	c.Run(t, "sh", "-c", "! ssh-add -T "+c.Write(t, "key.pub", c.public+"\n"))
}

func (c consumers) ssh(t *testing.T) {
	config := c.Reaches(t, c.sshd.host("forge"))
	if got := c.Run(t, "ssh", "-F", config, "forge", "echo in"); got != "in\n" {
		t.Errorf("ssh printed %q; want in", got)
	}
}

func (c consumers) sshKeygen(t *testing.T) {
	key := c.Write(t, "key.pub", c.public+"\n")
	data := c.Write(t, "data", "what is signed\n")
	signers := c.Write(t, "signers", "me "+c.public+"\n")
	os.Remove(data + ".sig")
	c.Run(t, "ssh-keygen", "-Y", "sign", "-n", "git", "-f", key, data)
	verify := c.Command(t, "ssh-keygen", "-Y", "verify", "-n", "git", "-f", signers, "-I", "me", "-s", data+".sig")
	verify.Stdin = strings.NewReader("what is signed\n")
	if out, err := verify.CombinedOutput(); err != nil {
		t.Errorf("ssh-keygen -Y verify: %v\n%s", err, out)
	}
}

func (c consumers) gitCommit(t *testing.T) {
	signers := c.Write(t, "signers", c.user.Name+"@example.com "+c.public+"\n")
	git := func(args ...string) string {
		return c.Run(t, "git", append([]string{
			"-C", "signed", "-c", "gpg.format=ssh", "-c", "user.signingKey=key::" + c.public, "-c", "gpg.ssh.allowedSignersFile=" + signers,
		}, args...)...)
	}
	c.Run(t, "git", "init", "-q", "signed")
	git("commit", "-q", "-S", "--allow-empty", "-m", "signed")
	git("verify-commit", "HEAD")
}

func (c consumers) paramiko(t *testing.T) {
	// The system's Python: another one in PATH would not have Debian's module.
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import paramiko").Run(); err != nil {
		lacks(t, "there is no paramiko for "+python+" here: on Debian, apt-get install python3-paramiko")
	}
	const script = `
import sys, paramiko
port, user, want = int(sys.argv[1]), sys.argv[2], sys.argv[3]
for key in paramiko.Agent().get_keys():
    assert key.get_base64() == want, key.get_base64()
client = paramiko.SSHClient()
client.load_host_keys(sys.argv[4])
client.connect("127.0.0.1", port, user, look_for_keys=False)
print(client.exec_command("echo in")[1].read().decode(), end="")
client.close()
`
	port := strconv.Itoa(c.sshd.Port)
	known := c.Write(t, "known", "[127.0.0.1]:"+port+" "+c.sshd.HostKey+"\n")
	if got := c.Run(t, python, "-W", "ignore", "-c", script, port, c.sshd.User, strings.Fields(c.public)[1], known); got != "in\n" {
		t.Errorf("paramiko printed %q; want in", got)
	}
}

func (c consumers) plink(t *testing.T) {
	need(t, "plink")
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(c.sshd.HostKey))
	if err != nil {
		t.Fatal(err)
	}
	got := c.Run(t, "plink", "-batch", "-agent", "-hostkey", ssh.FingerprintSHA256(hostKey),
		"-P", strconv.Itoa(c.sshd.Port), c.sshd.User+"@127.0.0.1", "echo in")
	if !strings.HasSuffix(got, "in\n") {
		t.Errorf("plink printed %q; want in", got)
	}
}
