package sshagent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestOpenSSHClients(t *testing.T) {
	keys := testKeys()
	path := serve(t, &Server{Source: newSource(t, keys["ed25519"], keys["ecdsa"], keys["ecdsa-521"], keys["rsa"])})

	listed := strings.Split(strings.TrimSpace(run(t, path, "ssh-add", "-L")), "\n")
	if len(listed) != 4 {
		t.Fatalf("ssh-add -L printed %d keys; want 4:\n%s", len(listed), strings.Join(listed, "\n"))
	}
	dir := t.TempDir()
	message := filepath.Join(dir, "message")
	const text = "what is signed"
	if err := os.WriteFile(message, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"ed25519", "ecdsa", "ecdsa-521", "rsa"} {
		pub := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public(t, keys[name]))))
		if !strings.HasPrefix(listed[i], pub+" ") {
			t.Errorf("key %d of ssh-add -L is %q; want the %s key", i, listed[i], name)
		}
		file := filepath.Join(dir, name+".pub")
		if err := os.WriteFile(file, []byte(pub+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, path, "ssh-keygen", "-Y", "sign", "-f", file, "-n", "test", message)
		runWith(t, text, path, "ssh-keygen", "-Y", "check-novalidate", "-n", "test", "-f", file, "-s", message+".sig")
		if err := os.Remove(message + ".sig"); err != nil {
			t.Fatal(err)
		}
	}
}
