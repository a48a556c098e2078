package importfile

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// A parseTest is a file, and what is read of it: "NAME=VALUE" each, quoted as
// Go does, or the problems.
type parseTest struct {
	name    string
	content string
	want    []string
}

func entry(name, value string, line int) string { return fmt.Sprintf("%d %q %q", line, name, value) }

func testParse(t *testing.T, format string, tests []parseTest) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := read(t, format, test.content)
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("Parse(%s, %.200q) is\n  %s\nwant\n  %s", format, test.content, strings.Join(got, "\n  "), strings.Join(test.want, "\n  "))
			}
		})
	}
}

func read(t *testing.T, format, content string) (got []string) {
	t.Helper()
	entries, err := Parse(format, []byte(content))
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || len(e.Problems) == 0 || entries != nil {
			t.Fatalf("Parse(%s, %.200q) = %d entries, %#v; want an *Error with problems, and none", format, content, len(entries), err)
		}
		for _, p := range e.Problems {
			got = append(got, p.String())
		}
		return got
	}
	for _, e := range entries {
		if e.Value == nil {
			t.Errorf("the value of %s is nil", e.Name)
		}
		got = append(got, entry(e.Name, string(e.Value), e.Line))
	}
	return got
}

func TestLimits(t *testing.T) {
	var lines, object strings.Builder
	for i := range MaxEntries {
		fmt.Fprintf(&lines, "K%d=v\n", i)
		fmt.Fprintf(&object, "\"K%d\": \"v\",\n", i)
	}
	for format, most := range map[string]string{
		"env":  lines.String(),
		"yaml": strings.ReplaceAll(lines.String(), "=", ": "),
		"json": "{" + strings.TrimSuffix(object.String(), ",\n") + "}",
	} {
		entries, err := Parse(format, []byte(most))
		if err != nil || len(entries) != MaxEntries {
			t.Errorf("%s: %d entries are %d, %v", format, MaxEntries, len(entries), err)
		}
		var further string
		switch format {
		case "env":
			further = most + "MORE=v\nEVEN_MORE=v\n"
		case "yaml":
			further = most + "MORE: v\nEVEN_MORE: v\n"
		case "json":
			further = strings.TrimSuffix(most, "}") + ",\n\"MORE\": \"v\", \"EVEN_MORE\": \"v\"}"
		}
		got := read(t, format, further)
		if want := "line 1001: holds more than 1000 entries"; len(got) != 1 || got[0] != want {
			t.Errorf("%s: two more are %q; want %q", format, got, want)
		}
	}
	if got := read(t, "env", "K="+strings.Repeat("x", MaxContent-2)); len(got) != 1 || !strings.HasPrefix(got[0], `1 "K" "xxx`) {
		t.Errorf("a file of 1 MiB is %.100q", got)
	}
	got := read(t, "env", "K="+strings.Repeat("x", MaxContent-1))
	if want := "has 1048577 bytes; at most 1048576 are allowed"; len(got) != 1 || got[0] != want {
		t.Errorf("a byte more is %q; want %q", got, want)
	}
	got = read(t, "env", strings.Repeat("wrong\n", 5000))
	if want := "line 1000: here and further on is more that is wrong"; len(got) != maxProblems || got[len(got)-1] != want {
		t.Errorf("5000 lines that are wrong are %d problems, the last one %q; want %q", len(got), got[len(got)-1], want)
	}
}

func TestWhatIsNoText(t *testing.T) {
	for _, format := range []string{"env", "json", "yaml"} {
		for name, content := range map[string]string{
			"Latin-1":           "A=b\nC=caf\xe9\n",
			"half a rune":       "A=b\nC=\xe2\x82",
			"a surrogate":       "A=b\nC=\xed\xa0\x80",
			"too long a form":   "A=b\nC=\xc0\x80",
			"behind a U+FFFD":   "A=\ufffd\nC=\xff",
			"UTF-16 with a BOM": "\n\xff\xfeA\x00=\x00b\x00",
		} {
			got := read(t, format, content)
			if want := "line 2: is not valid UTF-8"; len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s is %q; want %q", format, name, got, want)
			}
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	for _, format := range []string{"", "toml", "ENV", "yml"} {
		got := read(t, format, "A=b")
		if want := "is in a format that is not known; there are env, json and yaml"; len(got) != 1 || got[0] != want {
			t.Errorf("the format %q is %q; want %q", format, got, want)
		}
	}
}

func TestKeysAreShownSafely(t *testing.T) {
	for key, want := range map[string]string{
		"a\x1b[2Jb\u202ec\u2028": "a\ufffd[2Jb\ufffdc\ufffd",
		strings.Repeat("k", 64):  strings.Repeat("k", 64),
		strings.Repeat("k", 65):  strings.Repeat("k", 64) + "…",
		strings.Repeat("€", 30):  strings.Repeat("€", 21) + "…",
	} {
		if got := shown(key); got != want {
			t.Errorf("shown(%q) = %q; want %q", key, got, want)
		}
	}
	got := read(t, "json", `{"a\u001b[2J": 1}`)
	if want := "line 1: a\ufffd[2J: is a number; write it as a string"; len(got) != 1 || got[0] != want {
		t.Errorf("a key with an escape sequence is %q; want %q", got, want)
	}
}

func TestErrorIsOneLine(t *testing.T) {
	_, err := Parse("env", []byte("A=1\nwrong\nA=2\n"))
	want := "line 2: has no =; a value of several lines must be in quotes; line 3: A: is on line 1 already"
	if err == nil || err.Error() != want {
		t.Errorf("the error is %v; want %s", err, want)
	}
}

// Whatever is wrong with a file, its values are not told.
func TestProblemsShowNoValue(t *testing.T) {
	const canary = "kV9s2xQ"
	for format, files := range map[string][]string{
		"env": {
			canary, "A=1\n" + canary + "\n", "A=\"" + canary, "A='" + canary, "A='" + canary + "' " + canary, `A="\x` + canary + `"`,
			"A=x\nA=" + canary, "A=-----BEGIN PRIVATE KEY-----\n" + canary + "/+==\n", "A=\r" + canary, canary + " " + canary + "=x", "=" + canary,
			"export " + canary,
		},
		"json": {
			`"` + canary + `"`, `{"A": "` + canary, `{"A": ` + canary + `}`, `{"A": "\x` + canary + `"}`, `{"A": "x", "A": "` + canary + `"}`,
			`{"A": {"B": "` + canary + `"}}`, `{"A": ["` + canary + `"]}`, `{"A": "\ud800` + canary + `"}`, `{"A": "b"} ` + canary, `{"A": "b" "` + canary + `"}`,
			`{"": "` + canary + `"}`, "{\"A\": \"x\n" + canary + "\"}",
		},
		"yaml": {
			canary, "A: *" + canary, "A: &" + canary + " b", "A: !" + canary + " b", "A: [" + canary + "]", "A: {b: " + canary + "}", "A: 'x' " + canary,
			"A: b: " + canary, "A: b\n---\n" + canary, "A: x\nA: " + canary, "A: @" + canary, "A: \"\\" + canary + "\"", "A: |x" + canary, "- " + canary,
			"%" + canary + "\n---\nA: b", "A: \"" + canary, "? [" + canary + "]\n: x", "A: !<" + canary + " x", "A: %" + canary, "A:\n\t" + canary, "\"\": " + canary,
		},
	} {
		for _, content := range files {
			_, err := Parse(format, []byte(content))
			switch {
			case err == nil:
				t.Errorf("%s: %q is taken; want an error", format, content)
			case strings.Contains(err.Error(), canary):
				t.Errorf("%s: the error of %q shows the value: %v", format, content, err)
			}
		}
	}
}
