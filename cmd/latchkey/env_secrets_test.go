package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/workspace"
)

// allShells are the ones that env speaks to, and the program that each is here.
var allShells = []struct {
	shell   shell
	program string
	flags   []string
}{
	{shellSh, "dash", nil},
	{shellBash, "bash", []string{"--norc", "--noprofile"}},
	{shellZsh, "zsh", []string{"-f"}},
	{shellFish, "fish", []string{"--no-config"}},
}

// evaluate is how a user has a shell do what a command prints.
func (s shell) evaluate(command string) string {
	if s == shellFish {
		return command + " | source\n"
	}
	return `eval "$(` + command + `)"` + "\n"
}

// awkwardValues are what shells might take for something else, or drop.
func awkwardValues() []string {
	values := []string{
		"", " ", nasty, "\n", "\n\n", "a\n", "\r\n", "'", "''", `\`, `\\`, `'\''`, `\'`, "-n", "~", "~root", "a:b::c", "!!", "=ls", "*", "$(id)", "${x}", "`id`",
		"\x01\x02\x7f", "\x81\x82\x83\x84\x85\x86\x87\x88", "\xff\xfe", "\xc3", "é\u20ac\U0001f511", "\uf600\uf6ff", "\ufeffx", "\u2028", "\x1b[31m", "%s%n", "#x", "a#b", "\t", "{a,b}", "[x]",
	}
	var all []byte
	for b := 1; b < 256; b++ {
		all = append(all, byte(b))
	}
	return append(values, string(all), strings.Repeat("x'", 30<<10))
}

// readBack gives a shell variables with these values as the user would, and
// returns what programs that it starts see.
func readBack(t testing.TB, s shell, program string, flags, values []string) []string {
	t.Helper()
	var commands strings.Builder
	var names []string
	for i, v := range values {
		names = append(names, fmt.Sprint("V", i))
		commands.WriteString(s.export(names[i], v) + "\n")
	}
	file := t.TempDir() + "/commands"
	if err := os.WriteFile(file, []byte(commands.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, append(slices.Clone(flags), "-c", s.evaluate("cat "+file)+"exec env -0")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v\n%s", program, err, &stderr)
	}
	seen := make(map[string]string)
	for v := range strings.SplitSeq(string(out), "\x00") {
		name, value, _ := strings.Cut(v, "=")
		seen[name] = value
	}
	var back []string
	for _, name := range names {
		value, ok := seen[name]
		if !ok {
			t.Errorf("%s has no %s", program, name)
		}
		back = append(back, value)
	}
	return back
}

func checkReadBack(t testing.TB, s shell, program string, flags, values []string) {
	t.Helper()
	for i, got := range readBack(t, s, program, flags, values) {
		if got != values[i] {
			t.Errorf("%s has read %q; want %q", program, got, values[i])
		}
	}
}

func TestShellsReadAnyValue(t *testing.T) {
	values := awkwardValues()
	const special = "'\\\"$`\n !#~x;&|<>()[]{}*?\x81\xff"
	r := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for range 100 {
		b := make([]byte, r.IntN(20))
		for i := range b {
			b[i] = special[r.IntN(len(special))]
		}
		values = append(values, string(b))
	}
	for _, s := range allShells {
		t.Run(s.program, func(t *testing.T) {
			path := needShell(t, s.program)
			for _, locale := range []string{"C", "C.UTF-8"} {
				t.Setenv("LC_ALL", locale)
				checkReadBack(t, s.shell, path, s.flags, values)
			}
		})
	}
}

// FuzzQuote has sh read a value, and the variants of it that differ by a byte,
// in one go.
func FuzzQuote(f *testing.F) {
	for _, v := range awkwardValues() {
		f.Add([]byte(v))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) > 4<<10 {
			return
		}
		value = bytes.ReplaceAll(value, []byte{0}, nil)
		values := []string{string(value)}
		for i := range min(len(value), 8) {
			values = append(values, string(value[i:]), string(value[:i])+"'"+string(value[i:]), string(value[:i])+`\`+string(value[i:]))
		}
		checkReadBack(t, shellSh, "/bin/sh", nil, values)
	})
}

func TestEnvSecrets(t *testing.T) {
	for _, s := range allShells {
		t.Run(s.program, func(t *testing.T) {
			path := needShell(t, s.program)
			newHome(t)
			d := newSecretsDaemon(t, variable("A", nasty), variable("B", "plain"))
			t.Setenv("LATCHKEY_EXPORTED", "PATH no-name $(id) GONE") // of which one can have been set
			t.Setenv("GONE", "x")
			command := "latchkey env --secrets --shell " + string(s.shell)
			cmd := exec.Command(path, append(slices.Clone(s.flags), "-c", s.shell.evaluate(command)+
				"printenv A B LATCHKEY_EXPORTED GONE\nread line\n"+s.shell.evaluate(command)+
				"printenv A B LATCHKEY_EXPORTED\nread line\n"+s.shell.evaluate(command)+
				"printenv A B LATCHKEY_EXPORTED\nprintenv SSH_AUTH_SOCK")...)
			cmd.Env = append(os.Environ(), "PATH="+shellDir(t)+":"+os.Getenv("PATH"))
			tt := startOnPipes(t, cmd)
			tt.sees(t, nasty+"\nplain\nA B\n")
			d.set(variable("B", "changed"))
			tt.types(t, "\n")
			tt.sees(t, "plain\nA B\nchanged\nB\n")
			d.set()
			tt.types(t, "\n")
			_, screen := tt.ends(t)
			if want := nasty + "\nplain\nA B\nchanged\nB\n" + workspace.AgentSocket(d.Dir) + "\n"; screen != want {
				t.Errorf("the shell had\n%s\nwant\n%s", screen, want)
			}
		})
	}
}

// A shell's own variables are left to it, and do not keep it from setting others.
func TestEnvSecretsLeavesTheShellsOwn(t *testing.T) {
	newHome(t)
	newSecretsDaemon(t, variable("status", "a value"), variable("LINES", "a value"), variable("RANDOM", "a value"), variable("LINENO", "a value"), variable("version", "a value"), variable("LAST", "a value"))
	for _, s := range allShells {
		got := latchkey(t, "env", "--secrets", "--shell", string(s.shell)).ok(t)
		if !strings.Contains(got.stderr, "uses the name itself") {
			t.Errorf("env for %s does not say what it leaves out:\n%s", s.shell, got.stderr)
		}
		for _, reader := range allShells {
			if reader.shell != s.shell && (s.shell != shellSh || reader.shell == shellFish) {
				continue
			}
			cmd := exec.Command(needShell(t, reader.program), append(slices.Clone(reader.flags), "-c", got.stdout+"exec printenv LAST")...)
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != "a value\n" {
				t.Errorf("%s, given what is for %s, has %q, %v", reader.program, s.shell, out, err)
			}
		}
	}
}

func TestEnvSecretsPrintsAllOrNothing(t *testing.T) {
	newHome(t)
	latchkey(t, "env", "--secrets", "--shell", "sh").expect(t, 1, "", "latchkey: error: no workspace daemon runs, and no workspace token is set\nlatchkey: hint: start it: \"latchkey agent &\"; or set LATCHKEY_TOKEN_FILE\n")
}
