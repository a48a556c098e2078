package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// completed is what "latchkey complete" offers for the last word.
func completed(t *testing.T, words ...string) (offered []string) {
	t.Helper()
	got := latchkey(t, append([]string{"complete", "--"}, words...)...).ok(t)
	for line := range strings.Lines(got.stdout) {
		word, _, tab := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !tab {
			t.Errorf("completing %q gave a line without a tab: %q", words, line)
		}
		offered = append(offered, word)
	}
	return offered
}

func TestComplete(t *testing.T) {
	s := loggedIn(t)
	latchkey(t, "key", "create", "work").ok(t)
	latchkey(t, "workspace", "create", "box").ok(t)
	latchkey(t, "workspace", "update", "box", "--label", "gpu").ok(t)
	latchkey(t, "secret", "create", "api-key", "--env", "API_KEY", "--value", "v").ok(t)
	latchkey(t, "key", "rotate", "--keep-old", "1h", "-y").ok(t) // whose two generations have one name
	for _, test := range []struct {
		typed string // up to the cursor
		want  string
	}{
		{"pub", "publickey"},
		{"--h", "--help"},
		{"key r", "rotate"},
		{"key show ", "default work"},
		{"key show w", "work"},
		{"key show work ", ""},
		{"key rotate -", "--keep-old --algorithm --generation --yes -y --json --help"},
		{"key rotate --k", "--keep-old"},
		{"key rotate --algorithm e", "ed25519 ecdsa-p256"},
		{"key rotate --algorithm rsa4096 ", "default work"},
		{"key rotate --algorithm=e", "--algorithm=ed25519 --algorithm=ecdsa-p256"}, // as zsh and fish see it
		{"key rotate --algorithm = e", "ed25519 ecdsa-p256"},                       // as bash does
		{"key rotate --algorithm =", "ed25519 ecdsa-p256 rsa4096"},
		{"key rotate --keep-old ", ""},
		{"key rotate -y ", "default work"},
		{"key delete -- ", "default work"},
		{"key set --mode ", "fetch sign"},
		{"key set --mode sign ", "default work"},
		{"key import work ", ":files"},
		{"key create ", ""}, // a new name
		{"publickey ", "default work"},
		{"pubkey ", "default work"},
		{"workspace delete ", "box"},
		{"ws token create ", "box"},
		{"ws token revoke ", "box"},
		{"ws token revoke box ", ""},
		{"workspace create ", ""},
		{"workspace create x --token-file ", ":files"},
		{"user set-role ada a", "admin auditor"},
		{"secret list ", "api-key"},
		{"secret ls a", "api-key"},
		{"secrets rm ", "api-key"},
		{"secret update api-key --swap ", "api-key"},
		{"secret create ", ""},
		{"secret create x --workspace ", "box"},
		{"secret create x --label ", "gpu"},
		{"secret create x --file ", ":files"},
		{"secret rename ", "api-key"},
		{"secret rename api-key ", ""},
		{"secret import ", ":files"},
		{"secret import --format ", "env json yaml"},
		{"secret import .env --input-format=j", "--input-format=json"},
		{"workspace check ", "box"},
		{"completion ", "bash zsh fish"},
		{"env --shell ", "sh bash zsh fish"},
		{"agent --token-file ", ":files"},
		{"agent ", "attach detach"},
		{"agent --id", "--idle"},
		{"agent attach ", ":files"},
		{"agent attach x ", ""},
		{"gitssh ", ":files"},
		{"run --w", "--watch"},
		{"run --signal H", "HUP"},
		{"run -- ", ":files"},
		{"run --mask -- npm run ", ":files"},
		{"export --format d", "dotenv docker-env-file devcontainer"},
		{"nonsense ", ""},
		{"key nonsense ", ""},
	} {
		if got := completed(t, strings.Split(test.typed, " ")...); strings.Join(got, " ") != test.want {
			t.Errorf("completing %q offers %q; want %q", test.typed, got, test.want)
		}
	}
	if got := completed(t); !slices.Contains(got, "login") || slices.Contains(got, "complete") {
		t.Errorf("completing nothing offers %q; want the commands, less the hidden one", got)
	}
	// A key press is no place for errors.
	s.Close()
	if got := completed(t, "key", "show", ""); len(got) > 0 {
		t.Errorf("without a server key names are %q; want none", got)
	}
}

// shellDir is a directory for PATH in which this test binary is latchkey.
func shellDir(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(exe, dir+"/latchkey"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// needShell returns the path of a shell. Without it the test is skipped, but
// fails where CI promised that all is installed.
func needShell(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		reason := "there is no " + name + " here: on Debian, apt-get install " + name
		if os.Getenv("CI") != "" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	return path
}

// The scripts, each in its real shell, which is typed to.
func TestCompletionInShells(t *testing.T) {
	s := newServer(t, false)
	home := newHome(t)
	latchkeyWith(t, s.newUser(t, "ada", api.RoleUser), "login", s.URL).ok(t)
	latchkey(t, "key", "create", "working").ok(t)
	if err := os.WriteFile(home+"/identity file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, shell := range []struct {
		name  string
		args  []string
		setup string
	}{
		{"bash", []string{"--norc", "--noprofile", "-i"}, "bind 'set enable-bracketed-paste off'; source <(latchkey completion bash)"},
		{"zsh", []string{"-f", "-i"}, "unsetopt zle_bracketed_paste; autoload -U compinit; compinit -u -D; source <(latchkey completion zsh)"},
		{"fish", []string{"--no-config", "-i"}, "latchkey completion fish | source"},
	} {
		t.Run(shell.name, func(t *testing.T) {
			cmd := exec.Command(needShell(t, shell.name), shell.args...)
			cmd.Dir = home
			cmd.Env = append(os.Environ(), "PATH="+shellDir(t)+":"+os.Getenv("PATH"), "TERM=dumb", "PS1=% ", "PROMPT=% ", "HISTFILE=")
			tt := startOnTerminal(t, cmd)
			tt.types(t, shell.setup+"; echo rea''dy\r")
			tt.sees(t, "ready")
			// What is completed is run, and shows that it came out right.
			for i, test := range []struct{ typed, want string }{
				{"latchkey publ\t work\t --fing\t | sed 's/SHA.*/<public/'", "<public"},
				{"latchkey key show defau\t | sed -n 's/^name */<name /p'", "<name default"},
				{"latchkey key import x ident\t", "reading the key identity file:"},
			} {
				tt.types(t, fmt.Sprintf("%s; echo do''ne %d\r", test.typed, i))
				tt.sees(t, fmt.Sprint("done ", i))
				tt.sees(t, test.want)
			}
			tt.types(t, "exit\r")
		})
	}
}
