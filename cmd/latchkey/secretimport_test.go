package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

func importFile(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What a file is read as, its name says, unless a flag does.
func TestImport(t *testing.T) {
	const dotenv, object, mapping = "A='b\nc\n'\nD=\n", `{"A": "b\nc\n", "D": ""}`, "A: |\n  b\n  c\nD: ''\n"
	for _, test := range []struct {
		name, text string
		flags      []string
	}{
		{".env", dotenv, nil},
		{"secrets", dotenv, nil},
		{"prod.env", "\ufeff" + strings.ReplaceAll(dotenv, "'\nD=\n", "'\r\nD=\r\n"), nil},
		{"a.json", object, nil},
		{"A.JSON", object, nil},
		{"a.yaml", mapping, nil},
		{"a.yml", mapping, nil},
		{"a.json", dotenv, []string{"--format", "env"}},
		{"a", object, []string{"--input-format=json"}},
		{"-", dotenv, nil},
		{"-", mapping, []string{"--format", "yaml"}},
	} {
		s := loggedIn(t)
		var got result
		if test.name == "-" {
			got = latchkeyWith(t, test.text, append([]string{"secret", "import", "-", "--json"}, test.flags...)...)
		} else {
			got = latchkey(t, append([]string{"secret", "import", "--json", importFile(t, test.name, test.text)}, test.flags...)...)
		}
		if list := decode[[]api.Secret](t, got); len(list) != 2 || list[0].EnvName != "A" || list[1].Name != "D" || !list[0].Enabled {
			t.Errorf("%s, %q: made %+v", test.name, test.text, list)
		}
		if values := delivered(t, s); len(values) != 2 || values["A"] != "b\nc\n" || values["D"] != "" {
			t.Errorf("%s, %q: workspaces get %q", test.name, test.text, values)
		}
	}
}

// A file with a problem is not even sent.
func TestImportOfProblemsSendsNothing(t *testing.T) {
	s := loggedIn(t)
	front := refusing(t, s, func(r *http.Request) bool {
		if r.Method != http.MethodGet {
			t.Errorf("%s %s was sent", r.Method, r.URL)
		}
		return false
	})
	t.Setenv("LATCHKEY_SESSION_TOKEN", savedToken(t))
	t.Setenv("LATCHKEY_URL", front.URL)
	file := importFile(t, "bad.env", "A=1\nB\nC='2' 3\nA=4\n")
	latchkey(t, "secret", "import", file).expect(t, exitError, "", file+": line 2: has no =; a value of several lines must be in quotes\n"+
		file+": line 3: C: text stands behind the closing quote '; within double quotes, write \\\" for a quote\n"+
		file+": line 4: A: is on line 1 already\n"+
		"latchkey: error: nothing was imported: 3 problems in "+file+"\nlatchkey: hint: change the file, or a copy of it\n")
	got := latchkey(t, "secret", "import", importFile(t, "large.env", "A="+strings.Repeat("x", 1<<20)))
	if got.code != exitError || !strings.Contains(got.stderr, "large.env is over 1024 KiB\n") {
		t.Errorf("a file that is too large = %+v", got)
	}
	latchkey(t, "secret", "import", importFile(t, ".env", "# nothing\n")).hints(t, "it was read as env; --format says otherwise")
}

// What only the server can know leaves it as it was.
func TestImportIsAllOrNothing(t *testing.T) {
	s := loggedIn(t)
	latchkeyWith(t, "before", "secret", "create", "B", "--env", "OTHER").ok(t)
	file := importFile(t, ".env", "A=1\nB=2\nOTHER=3\n")
	got := latchkey(t, "secret", "import", file)
	if got.code != exitError || !strings.HasPrefix(got.stderr, "latchkey: error: nothing was imported: ") ||
		!strings.Contains(got.stderr, "line 2, B: ") || !strings.Contains(got.stderr, "line 3, OTHER: ") {
		t.Errorf("import of what is there = %+v; want all that is in its way, by line", got)
	}
	got.hints(t, `import does not overwrite: take out the entries, or "latchkey secret delete" what is in their way`)
	if values := delivered(t, s); len(values) != 1 || values["B"] != "before" {
		t.Errorf("then workspaces get %q; want what was there before", values)
	}
}
