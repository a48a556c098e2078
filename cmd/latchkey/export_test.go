package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/workspace"
)

var update = flag.Bool("update", false, "write the golden files")

// exported are values of every kind that text can hold.
func exported() []workspace.Variable {
	return []workspace.Variable{
		variable("PLAIN", "lk-1234567890"),
		variable("EMPTY", ""),
		variable("SPACES", "  two  words # not a comment "),
		variable("SPECIAL", "$HOME ${HOME} `id` $(id) %n ; & |"),
		variable("DOUBLE", `say "it"`),
		variable("SINGLE", `it's`),
		variable("BOTH", `it's "$5"`),
		variable("BACKSLASH", `C:\new\table`),
		variable("BACKSLASHES", `\\host\share\`),
		variable("UNICODE", "pässwörd 🔑"),
		variable("EQUALS", "a=b=="),
	}
}

func withLines() []workspace.Variable {
	return append(exported(),
		variable("KEY_FILE", "-----BEGIN KEY-----\nMIIE==\n-----END KEY-----\n"),
		variable("QUOTED_LINES", "it's\n\"two\"\n"),
		variable("TAB", "a\tb"))
}

func TestExportGolden(t *testing.T) {
	newHome(t)
	d := newSecretsDaemon(t)
	for _, f := range newExportFormat().all() {
		t.Run(f, func(t *testing.T) {
			vars := withLines()
			if exportFormat(f) == formatDocker {
				vars = exported()
			}
			d.set(vars...)
			got := latchkey(t, "export", "--format", f).ok(t)
			if got.stderr != "" {
				t.Errorf("export says\n%s", got.stderr)
			}
			golden := filepath.Join("testdata", "export", f)
			if *update {
				if err := os.WriteFile(golden, []byte(got.stdout), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got.stdout != string(want) {
				t.Errorf("export prints\n%s\nwant\n%s", got.stdout, want)
			}
		})
	}
	d.set(exported()...)
	latchkey(t, "export", "--only", "PLAIN,secret-EQUALS").expect(t, 0, "PLAIN='lk-1234567890'\nEQUALS='a=b=='\n", "")
}

// All that is wrong is told at once, without a value, and nothing is printed.
func TestExportRefuses(t *testing.T) {
	newHome(t)
	d := newSecretsDaemon(t)
	const hint = "latchkey: hint: leave them out with --only, or choose another format\n"
	for _, test := range []struct {
		format, stderr string
	}{
		{"docker-env-file", "latchkey: error: L, of the secret secret-L: a docker env file has a line for each variable, and it has several\n" +
			"latchkey: error: R, of the secret secret-R: a docker env file has a line for each variable, and it has several\n" +
			"latchkey: error: X, of the secret secret-X: a docker env file is text, and it is not valid UTF-8\n" +
			"latchkey: error: 3 variables can't be printed as docker-env-file\n" + hint},
		{"systemd", "latchkey: error: R, of the secret secret-R: an EnvironmentFile= has no control characters, and it does\n" +
			"latchkey: error: X, of the secret secret-X: an EnvironmentFile= is text, and it is not valid UTF-8\n" +
			"latchkey: error: 2 variables can't be printed as systemd\n" + hint},
		{"json", "latchkey: error: printing X, of the secret secret-X: JSON is text, and it is not valid UTF-8\nlatchkey: hint: leave it out with --only, or choose another format\n"},
		{"dotenv", "latchkey: error: printing X, of the secret secret-X: a dotenv file is text, and it is not valid UTF-8\nlatchkey: hint: leave it out with --only, or choose another format\n"},
	} {
		d.set(variable("GOOD", "value"), variable("L", "a\nb"), variable("R", "a\rb"), variable("X", "\xff"))
		latchkey(t, "export", "--format", test.format).expect(t, 1, "", test.stderr)
	}
	d.set(variable("B", "it's `id`"))
	latchkey(t, "export").expect(t, 1, "", "latchkey: error: printing B, of the secret secret-B: it needs double quotes in a dotenv file, and a shell that reads the file would run what is in backquotes\nlatchkey: hint: leave it out with --only, or choose another format\n")
	if got := latchkey(t, "export", "--format", "xml"); got.code != 2 || !strings.Contains(got.stderr, "want one of dotenv, json, docker-env-file, devcontainer, systemd") {
		t.Errorf("export --format xml = %+v", got)
	}
}

// docker's reader is a bufio.Scanner: what it takes is printed, one byte more not.
func TestDockerEnvFileLine(t *testing.T) {
	for n := bufio.MaxScanTokenSize - 5; n < bufio.MaxScanTokenSize+5; n++ {
		text, errs := writeDockerEnvFile([]workspace.Variable{variable("A", strings.Repeat("x", n))})
		lines := bufio.NewScanner(strings.NewReader("A=" + strings.Repeat("x", n) + "\n"))
		if takes := lines.Scan(); takes != (len(errs) == 0 && len(text) == n+3) {
			t.Errorf("a value of %d bytes: docker takes it: %t; errors: %v", n, takes, errs)
		}
	}
}

// A shell that sources a dotenv file has the same values.
func TestDotenvIsReadByShells(t *testing.T) {
	text, errs := writeDotenv(withLines())
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range allShells[:3] {
		cmd := exec.Command(needShell(t, s.program), append(s.flags, "-c", "set -a; . "+file+"; exec env -0")...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range withLines() {
			if !bytes.Contains(append([]byte{0}, out...), []byte("\x00"+v.Name+"="+string(v.Value)+"\x00")) {
				t.Errorf("%s does not read %s as it was written", s.program, v.Name)
			}
		}
	}
}

func TestJSONIsFlat(t *testing.T) {
	text, errs := writeJSONObject(withLines())
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	got, want := map[string]string{}, map[string]string{}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	for _, v := range withLines() {
		want[v.Name] = string(v.Value)
	}
	if !maps.Equal(got, want) {
		t.Errorf("the object is %q; want %q", got, want)
	}
}
