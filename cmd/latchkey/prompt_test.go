package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

func TestLoginShowsNoToken(t *testing.T) {
	s := newServer(t, false)
	newHome(t)
	token := s.newUser(t, "ada", api.RoleUser)
	tt := onTerminal(t, "login", s.URL)
	tt.sees(t, "token: ")
	tt.types(t, token+"\n")
	state, screen := tt.ends(t)
	if state.ExitCode() != 0 || !strings.Contains(screen, "logged in to "+s.URL+" as ada (user)") {
		t.Errorf("login on a terminal ended with %v", state)
	}
	if strings.Contains(screen, token[5:10]) {
		t.Error("the terminal shows the token that was typed")
	}
}

// An interrupt at the prompt leaves a terminal behind that shows what is typed.
func TestInterruptAtThePrompt(t *testing.T) {
	newHome(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(exe, dir+"/latchkey"); err != nil {
		t.Fatal(err)
	}
	// The shell is there after latchkey, as the user's is, and asks the terminal.
	cmd := exec.Command("/bin/sh", "-c", `trap : INT; latchkey login; echo "status $?"; stty -a | tr ' ;' '\n\n' | grep '^-\{0,1\}echo$'; echo over`)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	tt := startOnTerminal(t, cmd)
	tt.sees(t, "token: ")
	tt.types(t, "\x03")
	screen := strings.ReplaceAll(tt.sees(t, "over"), "\r\n", "\n")
	if !strings.Contains(screen, "status 130\necho\nover") {
		t.Errorf("after an interrupt at the prompt the terminal shows\n%s\nwant status 130 and echo", screen)
	}
}

func TestEndOfInputAtThePrompt(t *testing.T) {
	newHome(t)
	tt := onTerminal(t, "login")
	tt.sees(t, "token: ")
	tt.types(t, "\x04")
	if state, screen := tt.ends(t); state.ExitCode() != 1 || !strings.Contains(screen, "no token was given") {
		t.Errorf("^D at the prompt ended with %v", state)
	}
}

func TestConfirm(t *testing.T) {
	loggedIn(t)
	before := decode[api.Key](t, latchkey(t, "key", "show", "--json"))
	for _, answer := range []string{"\n", "n\n", "yess\n", "\x04"} {
		tt := onTerminal(t, "key", "rotate")
		tt.sees(t, "Go on? [y/N] ")
		tt.types(t, answer)
		if state, _ := tt.ends(t); state.ExitCode() != 1 {
			t.Errorf("after the answer %q: %v; want exit status 1", answer, state)
		}
	}
	if k := decode[api.Key](t, latchkey(t, "key", "show", "--json")); k.Generation != before.Generation {
		t.Fatalf("answers other than yes have rotated the key to generation %d", k.Generation)
	}
	tt := onTerminal(t, "key", "rotate", "--keep-old", "24h")
	question := tt.sees(t, "Go on? [y/N] ")
	for _, want := range []string{before.Fingerprint, "generation 1", "the old one is offered until "} {
		if !strings.Contains(question, want) {
			t.Errorf("the question has no %q:\n%s", want, question)
		}
	}
	tt.types(t, "y\n")
	if state, _ := tt.ends(t); state.ExitCode() != 0 {
		t.Errorf("after yes: %v", state)
	}
	if k := decode[api.Key](t, latchkey(t, "key", "show", "--json")); k.Generation != 2 {
		t.Errorf("after yes the key is of generation %d; want 2", k.Generation)
	}
}

func TestColorsOnTerminal(t *testing.T) {
	newHome(t)
	for _, test := range []struct {
		env  string
		want bool
	}{{"X=", true}, {"NO_COLOR=1", false}, {"TERM=dumb", false}} {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe, "nonsense")
		cmd.Args[0] = "latchkey"
		cmd.Env = append(os.Environ(), "TERM=xterm", "NO_COLOR=", test.env)
		_, screen := startOnTerminal(t, cmd).ends(t)
		if got := strings.Contains(screen, "\x1b[1;31merror\x1b[0m: unknown command"); got != test.want {
			t.Errorf("with %s an error on a terminal is %q; want colours: %v", test.env, screen, test.want)
		}
	}
}

func TestPassphraseIsAsked(t *testing.T) {
	loggedIn(t)
	file, public := newKeyFile(t, "correct horse")
	tt := onTerminal(t, "key", "import", "work", file)
	tt.sees(t, "passphrase of the key "+file+": ")
	tt.types(t, "wrong staple\n")
	tt.sees(t, "the passphrase is wrong\r\npassphrase of the key "+file+": ") // what is typed before the question is dropped
	tt.types(t, "correct horse\n")
	state, screen := tt.ends(t)
	if state.ExitCode() != 0 || !strings.Contains(screen, strings.Fields(public)[1]) {
		t.Errorf("import ended with %v; want the public key shown", state)
	}
	if strings.Contains(screen, "staple") || strings.Contains(screen, "horse") {
		t.Error("the terminal shows the passphrase that was typed")
	}
}

// What was confirmed is what is replaced, and not what somebody else has put in
// its place while the question stood there.
func TestConfirmedGenerationIsReplaced(t *testing.T) {
	loggedIn(t)
	tt := onTerminal(t, "key", "rotate")
	tt.sees(t, "Go on? [y/N] ")
	latchkey(t, "key", "rotate", "-y").ok(t)
	tt.types(t, "y\n")
	state, screen := tt.ends(t)
	if state.ExitCode() != 1 || !strings.Contains(screen, `"latchkey key show default" shows what is there now`) {
		t.Errorf("a rotation that came second ended with %v; want a conflict", state)
	}
	if k := decode[api.Key](t, latchkey(t, "key", "show", "--json")); k.Generation != 2 {
		t.Errorf("the key is of generation %d; want 2", k.Generation)
	}
}
