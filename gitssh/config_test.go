package gitssh

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeFiles makes files, "NAME" to content, below a new directory.
func writeFiles(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestMayName(t *testing.T) {
	long := strings.Repeat("x", maxConfigBytes)
	tests := []struct {
		name   string
		config string
		more   map[string]string // further files, relative to the home
		want   bool
	}{
		{name: "nothing of the kind", config: "Host *\n\tUser git\n\tForwardAgent yes\n", want: false},
		{name: "in a comment", config: "# IdentityFile x\n  #IdentityFile x\n", want: false},
		{name: "as a value", config: "Host IdentityFile\nUser identityfile\n", want: false},
		{name: "a longer word", config: "IdentityFiles x\nIdentitiesOnly yes\n", want: false},
		{name: "plain", config: "IdentityFile ~/.ssh/x\n", want: true},
		{name: "in another case, indented", config: "Host a\r\n\t iDENTITYfILE x\r\n", want: true},
		{name: "with =", config: "IdentityFile=x", want: true},
		{name: "with = between blanks", config: "IdentityFile = x", want: true},
		{name: "quoted", config: `"IdentityFile" x`, want: true},
		{name: "an agent", config: "Match host a\nIdentityAgent none\n", want: true},
		{name: "a token", config: "PKCS11Provider /lib/p.so\n", want: true},
		{name: "known hosts", config: "KnownHostsCommand /bin/cat hosts\n", want: true},
		{name: "other known hosts", config: "UserKnownHostsFile x\nGlobalKnownHostsFile y\n", want: false},
		{name: "included", config: "Include more\n", more: map[string]string{".ssh/more": "IdentityFile x"}, want: true},
		{name: "included from the home", config: "include=\"~/more\"\n", more: map[string]string{"more": "IdentityFile x"}, want: true},
		{name: "included twice over, by pattern", config: "Include a/*\n", more: map[string]string{".ssh/a/b": "Include c", ".ssh/c": "IdentityAgent x"}, want: true},
		{name: "included, nothing there", config: "Include a/* b ~/c\n", more: map[string]string{".ssh/a/b": "User git"}, want: false},
		{name: "included, not understood", config: "Include \"a b\"\n", want: true},
		{name: "included by a variable", config: "Include ${HOME}/x\n", want: true},
		{name: "included from another home", config: "Include ~root/x\n", want: true},
		{name: "included by itself", config: "Include config\n", want: true},
		{name: "larger than is read", config: long + "\n", want: true},
		{name: "one long line", config: long[:maxConfigBytes-1], want: false},
	}
	for _, tt := range tests {
		files := map[string]string{".ssh/config": tt.config}
		for name, content := range tt.more {
			files[name] = content
		}
		home := writeFiles(t, files)
		if got := (Args{Host: "forge"}).MayName(home, t.TempDir()); got != tt.want {
			t.Errorf("%s: MayName = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestMayNameInArguments(t *testing.T) {
	home := writeFiles(t, map[string]string{
		".ssh/config": "IdentityFile x\n",
		"empty":       "",
		"other":       "IdentityFile x\n",
	})
	tests := map[string]bool{
		"-F HOME/empty forge":                         false,
		"-F none forge":                               false,
		"-F HOME/none forge":                          false,
		"-F HOME/other forge":                         true,
		"-F HOME/other -F HOME/empty forge":           false, // the last one counts
		"-F HOME/empty -i x forge":                    true,
		"-F HOME/empty -4ix forge":                    true,
		"-F HOME/empty forge -I /lib/p.so":            true,
		"-F HOME/empty -oIdentityFile=x forge":        true,
		"-F HOME/empty -o identityagent=x forge":      true,
		"-F HOME/empty -o User=IdentityFile forge":    false,
		"-F HOME/empty forge ssh -i x -oIdentityFile": false, // the command's
		"forge": true,
	}
	for args, want := range tests {
		a, err := Parse(strings.Fields(strings.ReplaceAll(args, "HOME", home)))
		if err != nil {
			t.Errorf("Parse(%q): %v", args, err)
		} else if got := a.MayName(home, t.TempDir()); got != want {
			t.Errorf("MayName of %q = %v, want %v", args, got, want)
		}
	}
}

// The scan never overlooks a word that ssh's own parser would find.
func FuzzSplitWord(f *testing.F) {
	f.Add("IdentityFile x")
	f.Add("\t\"IdentityFile\" = \"x y\" # z")
	f.Add("==")
	f.Fuzz(func(t *testing.T, line string) {
		word, _ := splitWord(line)
		if strings.ContainsAny(word, " \t=") && !strings.HasPrefix(strings.Trim(line, " \t\r\n\f"), `"`) {
			t.Errorf("splitWord(%q) = %q, which is more than a word", line, word)
		}
		for _, form := range []string{"IdentityFile " + line, " IDENTITYFILE=" + line, "\"IdentityFile\" " + line} {
			if word, _ := splitWord(form); word != "identityfile" {
				t.Errorf("splitWord(%q) = %q, want identityfile", form, word)
			}
		}
	})
}
