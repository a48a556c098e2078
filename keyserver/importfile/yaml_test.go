package importfile

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestYAML(t *testing.T) {
	const (
		number = "is a number in YAML; quote it"
		truth  = "is true or false in YAML; quote it"
		date   = "is a date in YAML; quote it"
		null   = `is null; quote it, or write "" for an empty string`
		alias  = "is an alias (*), which is not supported; quote it if it is a value"
		anchor = "has an anchor (&), which is not supported; quote it if it is a value"
		tag    = "has a tag (!), which is not supported; quote it if it is a value"
	)
	testParse(t, "yaml", []parseTest{
		{"nothing", "", nil},
		{"nothing but comments", "# A: b\n\n", nil},
		{"an empty mapping", "{}", nil},
		{"in order", "B: x\n\n# then\nA: y z\n", []string{entry("B", "x", 1), entry("A", "y z", 4)}},
		{"a BOM, a document's marks, CRLF", "\ufeff---\r\nA: b\r\n...\r\n", []string{entry("A", "b", 2)}},
		{"a flow mapping", `{A: b, "C": 'd'}`, []string{entry("A", "b", 1), entry("C", "d", 1)}},
		{"quotes", "A: '1'\nB: \"true\\n\\x41\"\nC: ''\nD: 'it''s'", []string{entry("A", "1", 1), entry("B", "true\nA", 2), entry("C", "", 3), entry("D", "it's", 4)}},
		{"blocks", "A: |\n  b\n   c\nB: >-\n  d\n  e\nC: |+\n  1\n\n", []string{entry("A", "b\n c\n", 1), entry("B", "d e", 4), entry("C", "1\n\n", 7)}},
		{"a plain scalar of two lines", "A: b\n  c", []string{entry("A", "b c", 1)}},
		{"comments", "A: b # c\nD: e#f", []string{entry("A", "b", 1), entry("D", "e#f", 2)}},
		{"strings that look like others", "A: 1.2.3\nB: nope\nC: 0x\nD: ab:cd\nE: https://x.example/?a=b\nF: $X", []string{
			entry("A", "1.2.3", 1), entry("B", "nope", 2), entry("C", "0x", 3), entry("D", "ab:cd", 4), entry("E", "https://x.example/?a=b", 5), entry("F", "$X", 6)}},
		{"tagged as a string", "A: !!str 1\n!!str 2: !!str yes\nB: !!str\n", []string{entry("A", "1", 1), entry("2", "yes", 2), entry("B", "", 3)}},
		{"quoted signs", "A: '*b'\nB: '&c'\n'<<': d", []string{entry("A", "*b", 1), entry("B", "&c", 2), entry("<<", "d", 3)}},

		{"numbers", "A: 1\nB: -1.5\nC: 1e3\nD: 0x1F\nE: 0o17\nF: 017\nG: 1_000\nH: .inf\nI: .nan\nJ: +1\nK: 12:30:45\nL: 0b11", []string{
			"line 1: A: " + number, "line 2: B: " + number, "line 3: C: " + number, "line 4: D: " + number, "line 5: E: " + number, "line 6: F: " + number,
			"line 7: G: " + number, "line 8: H: " + number, "line 9: I: " + number, "line 10: J: " + number, "line 11: K: " + number, "line 12: L: " + number}},
		{"true or false", "A: true\nB: False\nC: yes\nD: NO\nE: on\nF: Off\nG: y\nH: N", []string{
			"line 1: A: " + truth, "line 2: B: " + truth, "line 3: C: " + truth, "line 4: D: " + truth, "line 5: E: " + truth, "line 6: F: " + truth, "line 7: G: " + truth, "line 8: H: " + truth}},
		{"null", "A:\nB: ~\nC: null\nD: NULL", []string{"line 1: A: " + null, "line 2: B: " + null, "line 3: C: " + null, "line 4: D: " + null}},
		{"dates", "A: 2020-01-02\nB: 2020-01-02T03:04:05Z", []string{"line 1: A: " + date, "line 2: B: " + date}},
		{"keys", "1: a\nyes: b\n? [c]\n: d\n~: e\n'': f", []string{"line 1: 1: the key " + number, "line 2: yes: the key " + truth, "line 3: the key is a list; write it as a string", "line 5: ~: the key " + null, "line 6: the key is empty"}},
		{"nested", "A:\n  b: c\nD: [e]\nF: {}\n", []string{"line 2: A: is a mapping; write it as a string", "line 3: D: is a list; write it as a string", "line 4: F: is a mapping; write it as a string"}},
		{"other than a mapping", "- a\n- b", []string{"line 1: " + oneMapping}},
		{"a string", "a", []string{"line 1: " + oneMapping}},
		{"an empty document", "---\n", []string{"line 2: " + oneMapping}},
		{"an anchor and its alias", "A: &a b\nC: *a", []string{"line 1: A: " + anchor, "line 2: C: " + alias}},
		{"an alias of nothing", "A: b\nC: *d", []string{"an alias (*) is not supported; quote what begins with *"}},
		{"an anchor of all", "&a\nA: b", []string{"line 1: has an anchor or a tag, which is not supported"}},
		{"tags", "A: !!int '1'\nB: !secret b\nC: !!binary YQ==\n!x D: e\nF: !!null ''\n", []string{"line 1: A: " + tag, "line 2: B: " + tag, "line 3: C: " + tag, "line 4: D: the key " + tag, "line 5: F: " + tag}},
		{"a merge", "A: &a {b: c}\n<<: *a", []string{"line 1: A: " + anchor, "line 2: <<: the key is a merge (<<), which is not supported"}},
		{"duplicates", "A: b\n\"A\": c\nD: 1\nD: x", []string{"line 2: A: is on line 1 already", "line 3: D: " + number, "line 4: D: is on line 3 already"}},
		{"two documents", "A: b\n---\nC: d", []string{"line 2: begins a second document; only one is allowed"}},
		{"two documents, of which the second is empty", "A: b\n---\n", []string{"line 2: begins a second document; only one is allowed"}},
		{"syntax", "A: b\nB: c: d\n", []string{"line 2: is not valid YAML: mapping values are not allowed in this context"}},
		{"an open quote", "A: \"b\n", []string{"line 2: is not valid YAML: found unexpected end of stream"}},
		{"a control character", "A: \"\x01\"", []string{"is not valid YAML: control characters are not allowed"}},
		{"a tab", "A:\n\tb: c", []string{"line 2: is not valid YAML: found character that cannot start any token"}},
	})
}

// Each of these grows or nests without an end in some readers.
func TestYAMLBombs(t *testing.T) {
	var laughs strings.Builder
	laughs.WriteString("a: &a [x,x,x,x,x,x,x,x,x]\n")
	for c := 'b'; c <= 'z'; c++ {
		laughs.WriteString(string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 9) + "]\n")
	}
	for name, content := range map[string]string{
		"aliases":       laughs.String(),
		"a cycle":       "a: &a [*a]",
		"lists":         "a: " + strings.Repeat("[", MaxContent-3),
		"mappings":      strings.Repeat("{", MaxContent),
		"block lists":   strings.Repeat("- ", MaxContent/2),
		"keys":          strings.Repeat("? ", MaxContent/2),
		"empty items":   "a: [" + strings.Repeat("x,", MaxContent/2-4) + "]",
		"empty keys":    strings.Repeat(":\n", MaxContent/2),
		"anchors":       strings.Repeat("&a ", MaxContent/3),
		"indentation":   "a:" + strings.Repeat("\n ", MaxContent/2-1),
		"double quotes": `a: "` + strings.Repeat("\\", MaxContent-4),
	} {
		if _, err := Parse("yaml", []byte(content)); err == nil {
			t.Errorf("%s: is taken; want an error", name)
		}
	}
}

func FuzzYAML(f *testing.F) {
	for _, seed := range []string{"A: b\nC: |\n  d\n", "{A: 'b', \"C\": \"\\u00e9\"}", "A: &a b\nC: *a", "<<: {a: b}", "? A\n: !!str 1", "A: b\n---\nC: d", "%YAML 1.1\n---\nA: b", "A: >\n\n x\n# y\n", "A:\n\t- b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		entries := parseForFuzz(t, "yaml", content)
		if entries == nil {
			return
		}
		// JSON is YAML, as far as the quoted strings go.
		values := make(map[string]string)
		for _, e := range entries {
			values[e.Name] = string(e.Value)
		}
		sameEntries(t, "yaml", jsonObject(t, entries, values), entries)
		// Where another reader takes it for strings, it has the same ones.
		reference := make(map[string]string)
		if err := yaml.Unmarshal([]byte(content), &reference); err != nil || len(reference) != len(entries) {
			t.Fatalf("the library reads %d entries, %v; we read %d", len(reference), err, len(entries))
		}
		for _, e := range entries {
			if reference[e.Name] != string(e.Value) {
				t.Fatalf("the library reads %q as %q; we read %q", e.Name, reference[e.Name], e.Value)
			}
		}
	})
}
