package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

func TestKeyImport(t *testing.T) {
	loggedIn(t)
	file, public := newKeyFile(t, "")
	got := latchkey(t, "key", "import", "work", file).ok(t)
	if !strings.HasPrefix(got.stdout, public+" ") && got.stdout != public+"\n" {
		t.Errorf("import printed\n%s\nwant the public key\n%s", got.stdout, public)
	}
	if k := decode[api.Key](t, latchkey(t, "key", "show", "work", "--json")); !k.Imported || k.Generation != 1 {
		t.Errorf("the imported key is %+v; want generation 1, imported", k)
	}

	again, _ := newKeyFile(t, "")
	got = latchkey(t, "key", "import", "work", again)
	if got.code != 1 || !strings.HasSuffix(got.stderr, "latchkey: hint: to replace it, add --replace; else choose another name\n") {
		t.Errorf("import over a key = %+v; want a hint about --replace", got)
	}
	got = latchkey(t, "key", "import", "--replace", "work", again)
	if got.code != exitUsage || !strings.Contains(got.stderr, "generation 1) is replaced by the one in "+again) {
		t.Errorf("import --replace without a confirmation = %+v", got)
	}
	latchkey(t, "key", "import", "--replace", "--keep-old", "1h", "work", again, "-y").ok(t)
	if k := decode[api.Key](t, latchkey(t, "key", "show", "work", "--json")); k.Generation != 2 {
		t.Errorf("after import --replace the key is of generation %d; want 2", k.Generation)
	}
}

func TestKeyImportFromStdin(t *testing.T) {
	loggedIn(t)
	file, public := newKeyFile(t, "")
	got := latchkeyWith(t, content(t, file), "key", "import", "work", "-").ok(t)
	if !strings.HasPrefix(got.stdout, public) {
		t.Errorf("import printed\n%s\nwant the public key\n%s", got.stdout, public)
	}
}

func TestKeyImportWithPassphraseFile(t *testing.T) {
	loggedIn(t)
	file, public := newKeyFile(t, "correct horse")
	pass := filepath.Join(t.TempDir(), "pass")
	for content, hint := range map[string]string{
		"wrong\n":         "try it: ssh-keygen -y -f FILE",
		"correct horse\n": "",
	} {
		if err := os.WriteFile(pass, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got := latchkey(t, "key", "import", "work", file, "--passphrase-file", pass)
		if hint == "" && !strings.HasPrefix(got.ok(t).stdout, public) {
			t.Errorf("import printed\n%s\nwant the public key\n%s", got.stdout, public)
		}
		if hint != "" {
			got.expect(t, 1, "", "latchkey: error: reading the key "+file+": the passphrase is wrong\nlatchkey: hint: "+hint+"\n")
		}
	}
}

// What is not a private key is found out here, and goes nowhere.
func TestKeyImportRefused(t *testing.T) {
	s := loggedIn(t)
	encrypted, _ := newKeyFile(t, "pass")
	dir := t.TempDir()
	files := map[string]string{
		"id.pub":  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUKgSNAwZ6vYMyq5BSB4DHwSsWwLlhqpQTfzYlmhyRa me\n",
		"ecdsa":   "ecdsa-sha2-nistp256 AAAA me\n",
		"key.ppk": "PuTTY-User-Key-File-3: ssh-ed25519\n",
		"pkcs8":   "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
		"text":    "hello\n",
		"empty":   "",
		"cut":     content(t, encrypted)[:120],
		"huge":    strings.Repeat("x", maxKeyFile+1),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unknown := "it is not a private key of a kind that is known, or it is damaged"
	keygen := "ssh-keygen can tell: ssh-keygen -y -f FILE"
	s.Close() // a request would be an error of its own
	t.Chdir(dir)
	for _, test := range []struct{ file, message, hint string }{
		{"id.pub", "it is a public key", "the private key is likely in id"},
		{"ecdsa", "it is a public key", "the private key is in the file of the same name without .pub"},
		{"key.ppk", "it is in PuTTY's format", "puttygen converts it: puttygen FILE -O private-openssh -o /dev/stdout | latchkey key import NAME -"},
		{"pkcs8", "it is PKCS #8 with a passphrase, which is not supported", "openssl takes the passphrase off on the way: openssl pkey -in FILE | latchkey key import NAME -"},
		{"text", unknown, keygen},
		{"empty", unknown, keygen},
		{"cut", unknown, keygen},
		{encrypted, "it is protected by a passphrase", "give it with --passphrase-file FILE"},
	} {
		if test.file == encrypted && hasTerminal() {
			continue // it would be asked for
		}
		t.Run(filepath.Base(test.file), func(t *testing.T) {
			latchkey(t, "key", "import", "work", test.file).expect(t, 1, "",
				"latchkey: error: reading the key "+test.file+": "+test.message+"\nlatchkey: hint: "+test.hint+"\n")
		})
	}
	latchkey(t, "key", "import", "work", "huge").expect(t, 1, "", "latchkey: error: huge is over 64 KiB\n")
	latchkey(t, "key", "import", "work", "text", "--keep-old", "1h").expect(t, exitUsage, "",
		"latchkey: error: key import: --keep-old is for a key that is replaced\nlatchkey: hint: add --replace, or leave it out\n")
}

// hasTerminal reports whether the test itself was started on a terminal.
func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}
