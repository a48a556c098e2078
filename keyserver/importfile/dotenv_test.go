package importfile

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestDotenv(t *testing.T) {
	const (
		noEquals = "has no =; a value of several lines must be in quotes"
		badKey   = "the key must be letters, digits and . _ -; a value of several lines must be in quotes"
		behind   = `text stands behind the closing quote %s; within double quotes, write \" for a quote`
		escape   = `holds an escape other than \n \r \t \\ \" \$; write \\ for a backslash, or use single quotes`
		bareCR   = "holds a carriage return within the line; lines end with LF or CRLF"
	)
	testParse(t, "env", []parseTest{
		{"nothing", "", nil},
		{"nothing but a BOM", "\ufeff", nil},
		{"blank lines and comments", "\n  \t\n# A=b\n  # C=d = e\n", nil},
		{"one", "A=b", []string{entry("A", "b", 1)}},
		{"in order", "B=1\n\n# then\nA=2\n", []string{entry("B", "1", 1), entry("A", "2", 4)}},
		{"CRLF", "A=b\r\nC='d'\r\nE=\"f\"\r\n\r\nG=h\r", []string{entry("A", "b", 1), entry("C", "d", 2), entry("E", "f", 3), entry("G", "h", 5)}},
		{"CRLF in quotes stays", "A='b\r\nc'\r\nD=e", []string{entry("A", "b\r\nc", 1), entry("D", "e", 3)}},
		{"a BOM", "\ufeffA=b\n", []string{entry("A", "b", 1)}},
		{"a BOM elsewhere is none", "A=\ufeffb\n", []string{entry("A", "\ufeffb", 1)}},
		{"export", "export A=b\nexport\t C = d\nexport=e\nexported=f", []string{entry("A", "b", 1), entry("C", "d", 2), entry("export", "e", 3), entry("exported", "f", 4)}},
		{"blanks around", "  A \t=\t b c \t\n", []string{entry("A", "b c", 1)}},
		{"empty", "A=\nB= \nC=''\nD=\"\"\nE= # nothing", []string{entry("A", "", 1), entry("B", "", 2), entry("C", "", 3), entry("D", "", 4), entry("E", "", 5)}},
		{"equals signs", "A=b=c==\nB==", []string{entry("A", "b=c==", 1), entry("B", "=", 2)}},
		{"comments behind", "A=b # c\nB=b#c\nC=#c\nD='e'# f", []string{"line 4: D: " + fmt.Sprintf(behind, "'")}},
		{"comments", "A=b # c\nB=b#c\nC=#c\nD='e' # f\nE=\"g\"\t#\nF='#' #'\nG=a\t#b", []string{
			entry("A", "b", 1), entry("B", "b#c", 2), entry("C", "#c", 3), entry("D", "e", 4), entry("E", "g", 5), entry("F", "#", 6), entry("G", "a", 7)}},
		{"single quotes", `A='b\n$C "x" \'`, []string{entry("A", `b\n$C "x" \`, 1)}},
		{"double quotes", `A="b\n\t\r\\\"\$C 'x' $D ${E} #"`, []string{entry("A", "b\n\t\r\\\"$C 'x' $D ${E} #", 1)}},
		{"no escapes without quotes", `A=b\nc\`, []string{entry("A", `b\nc\`, 1)}},
		{"nothing is expanded", "A=$HOME ${B} $(c) `d`\n", []string{entry("A", "$HOME ${B} $(c) `d`", 1)}},
		{"quotes within", `A=b"c"'d'` + "\nB=x'", []string{entry("A", `b"c"'d'`, 1), entry("B", "x'", 2)}},
		{"several lines", "A='b\n\nc\n'\nB=\"d\n# e\nF=g\"\nC=h", []string{entry("A", "b\n\nc\n", 1), entry("B", "d\n# e\nF=g", 5), entry("C", "h", 8)}},
		{"keys", "a.b-c_1=x\n1=y", []string{entry("a.b-c_1", "x", 1), entry("1", "y", 2)}},
		{"text beyond ASCII", "A=héé €\nB='\U0001f511'", []string{entry("A", "héé €", 1), entry("B", "\U0001f511", 2)}},
		{"a NUL is a matter of the target", "A=b\x00c", []string{entry("A", "b\x00c", 1)}},

		{"no equals", "A=b\nC\nexport D\n", []string{"line 2: " + noEquals, "line 3: " + noEquals}},
		{"no key", "=b\n =c\nexport =d\n\"=e", []string{"line 1: the key is empty", "line 2: the key is empty", "line 3: the key is empty", "line 4: " + badKey}},
		{"keys that may be values", "a b=c\nx/y+z==\n'A'=b\nÄ=c", []string{"line 1: " + badKey, "line 2: " + badKey, "line 3: " + badKey, "line 4: " + badKey}},
		{"duplicates", "A=1\nB=2\nA='3\n'\nA=4\n", []string{"line 3: A: is on line 1 already", "line 5: A: is on line 1 already"}},
		{"a duplicate of what is wrong", "A='1'x\nA=2", []string{"line 1: A: " + fmt.Sprintf(behind, "'"), "line 2: A: is on line 1 already"}},
		{"keys differ in case", "A=1\na=2", []string{entry("A", "1", 1), entry("a", "2", 2)}},
		{"an open quote", "A=1\nB='2\nC=3\n", []string{"line 2: B: the quote ' is never closed"}},
		{"an open double quote", `A="b\"`, []string{`line 1: A: the quote " is never closed`}},
		{"a backslash at the end", `A="\`, []string{`line 1: A: the quote " is never closed`}},
		{"behind the quote", "A='b'c\nB=\"d\" e\nC='d''e'\nD='\n'x", []string{
			"line 1: A: " + fmt.Sprintf(behind, "'"), "line 2: B: " + fmt.Sprintf(behind, `"`), "line 3: C: " + fmt.Sprintf(behind, "'"), "line 5: D: " + fmt.Sprintf(behind, "'")}},
		{"JSON in double quotes", `A="{"b": 1}"`, []string{"line 1: A: " + fmt.Sprintf(behind, `"`)}},
		{"escapes", "A=\"\\x\\y\"\nB=\"\n\\\n\"\nC=ok\nD=\"\\é\"\nE=\"\\'\"", []string{"line 1: A: " + escape, "line 3: B: " + escape, "line 6: D: " + escape, "line 7: E: " + escape}},
		{"carriage returns", "A=b\rC=d\n# e\rF=g\nH=i\r\r\n", []string{"line 1: A: " + bareCR, "line 2: " + bareCR, "line 3: H: " + bareCR}},
		{"all at once", "A=1\nwrong\n=x\nB='1'2\nA=\"\\z\"\nC='", []string{
			"line 2: " + noEquals, "line 3: the key is empty", "line 4: B: " + fmt.Sprintf(behind, "'"), "line 5: A: " + escape, "line 5: A: is on line 1 already", "line 6: C: the quote ' is never closed"}},
		{"a key without quotes", "KEY=-----BEGIN KEY-----\nMIIB/x+=\n-----END KEY-----\n", []string{"line 2: " + badKey, "line 3: " + noEquals}},
	})
}

// What is read and written again is the same.
func FuzzDotenv(f *testing.F) {
	for _, seed := range []string{"A=b # c\nexport D='e\nf'\n", "\ufeffA=\"\\n\\$\\\\\"\r\n", "A=\r", "=", "A='", "A=\"\\", "A=''#", "# c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		entries := parseForFuzz(t, "env", content)
		var single, double strings.Builder
		escapes := strings.NewReplacer("\n", `\n`, "\r", `\r`, "\t", `\t`, `\`, `\\`, `"`, `\"`, "$", `\$`)
		for _, e := range entries {
			fmt.Fprintf(&double, "export %s=\"%s\" # %[1]s\r\n", e.Name, escapes.Replace(string(e.Value)))
			if bytes.Contains(e.Value, []byte("'")) {
				e.Value = nil
			}
			fmt.Fprintf(&single, "%s='%s'\n", e.Name, e.Value)
		}
		sameEntries(t, "env", double.String(), entries)
		for i := range entries {
			if bytes.Contains(entries[i].Value, []byte("'")) {
				entries[i].Value = nil
			}
		}
		sameEntries(t, "env", single.String(), entries)
	})
}

// parseForFuzz checks what is promised of any file.
func parseForFuzz(t *testing.T, format, content string) []Entry {
	t.Helper()
	entries, err := Parse(format, []byte(content))
	if err != nil {
		if entries != nil || err.Error() == "" || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
			t.Fatalf("the error %q with %d entries", err, len(entries))
		}
		return nil
	}
	line, known := 0, make(map[string]bool)
	for _, e := range entries {
		if e.Name == "" || e.Value == nil || e.Line < line || e.Line < 1 || known[e.Name] {
			t.Fatalf("the entry %+v", e)
		}
		line, known[e.Name] = e.Line, true
	}
	return entries
}

func sameEntries(t *testing.T, format, content string, want []Entry) {
	t.Helper()
	if len(content) > MaxContent {
		return
	}
	got, err := Parse(format, []byte(content))
	if err != nil || len(got) != len(want) {
		t.Fatalf("what is written is not read again: %v\n%s", err, content)
	}
	for i := range want {
		if got[i].Name != want[i].Name || !bytes.Equal(got[i].Value, want[i].Value) {
			t.Fatalf("what was written is read as %q=%q; want %q=%q", got[i].Name, got[i].Value, want[i].Name, want[i].Value)
		}
	}
}
