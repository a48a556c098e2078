package importfile

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestJSON(t *testing.T) {
	const (
		early   = "is not valid JSON: the file ends too early"
		invalid = "is not valid JSON"
		half    = `holds half a pair of surrogates (\ud800 to \udfff), which is no text`
		behind  = "text stands behind the object; it " + oneObject
	)
	testParse(t, "json", []parseTest{
		{"an empty object", " {} \n", nil},
		{"a BOM", "\ufeff{}", nil},
		{"in order", "{\"B\": \"1\",\n\n\"A\"\n:\n\"2\"}", []string{entry("B", "1", 1), entry("A", "2", 3)}},
		{"escapes", `{"a\tb": "\n\r\t\"\\\/\u00e9\u0000 $X"}`, []string{entry("a\tb", "\n\r\t\"\\/é\x00 $X", 1)}},
		{"a pair of surrogates", `{"A": "\uD83D\udd11 \\ud800 \\\ud83d\udd11"}`, []string{entry("A", "\U0001f511 \\ud800 \\\U0001f511", 1)}},
		{"U+FFFD", `{"A": "` + "\ufffd" + `\ufffd"}`, []string{entry("A", "\ufffd\ufffd", 1)}},
		{"empty", `{"A": ""}`, []string{entry("A", "", 1)}},
		{"keys differ in case", `{"A": "1", "a": "2"}`, []string{entry("A", "1", 1), entry("a", "2", 1)}},

		{"nothing", "", []string{"line 1: " + early}},
		{"nothing but blanks", "\n\n", []string{"line 3: " + early}},
		{"other than an object", `["a"]`, []string{"line 1: " + oneObject}},
		{"null", "\nnull", []string{"line 2: " + oneObject}},
		{"other than strings", "{\"A\": 1,\n\"B\": true, \"C\": false,\n\"D\": null,\n\"E\": {\"A\": [\"A\", {}]}, \"F\": [],\n\"G\": 1e999, \"H\": \"h\"}", []string{
			"line 1: A: is a number; write it as a string", "line 2: B: is true or false; write it as a string", "line 2: C: is true or false; write it as a string",
			"line 3: D: is null; write it as a string", "line 4: E: is an object; write it as a string", "line 4: F: is a list; write it as a string",
			"line 5: G: is a number; write it as a string"}},
		{"duplicates", "{\"A\": \"1\",\n\"\\u0041\": \"2\", \"B\": 1,\n\"B\": \"2\"}", []string{
			"line 2: A: is on line 1 already", "line 2: B: is a number; write it as a string", "line 3: B: is on line 2 already"}},
		{"an empty key", `{"": "x"}`, []string{"line 1: the key is empty"}},
		{"half a pair", "{\"A\": \"\\ud83d\",\n\"B\": \"\\udd11\\ud83d\", \"C\": \"\\ud83dx\", \"D\": \"\\ud83d\\n\", \"E\": \"\\ud83d\\ud83d\\udd11\"}", []string{
			"line 1: A: " + half, "line 2: B: " + half, "line 2: C: " + half, "line 2: D: " + half, "line 2: E: " + half}},
		{"half a pair in a key", `{"a\ud83d": "x"}`, []string{"line 1: a\ufffd: the key " + strings.TrimSuffix(half, ", which is no text")}},
		{"text behind", "{}\n{}", []string{"line 2: " + behind}},
		{"a comma behind", "{},", []string{"line 1: " + behind}},
		{"a NUL behind", "{}\x00", []string{"line 1: " + behind}},
		{"cut", "{\"A\": \"b\"\n", []string{"line 2: " + early}},
		{"cut in a string", `{"A": "b`, []string{"line 1: " + early}},
		{"cut behind a key", `{"A"`, []string{"line 1: " + early}},
		{"a comma too many", "{\"A\": \"b\",\n}", []string{"line 2: " + invalid}},
		{"a comma too few", "{\"A\": \"b\"\n\"C\": \"d\"}", []string{"line 2: " + invalid}},
		{"single quotes", "{'A': 'b'}", []string{"line 1: " + invalid}},
		{"a comment", "{\n// A\n}", []string{"line 2: " + invalid}},
		{"a newline in a string", "{\"A\": \"b\nc\"}", []string{"line 1: " + invalid}},
		{"a key that is no string", "{1: \"a\"}", []string{"line 1: " + invalid}},
		{"a bracket that does not match", `{"A": ["b"}}`, []string{"line 1: A: is a list; write it as a string", "line 1: " + invalid}},
		{"all up to what is no JSON", "{\"A\": 1,\n\"B\": x}", []string{"line 1: A: is a number; write it as a string", "line 2: " + invalid}},
	})
}

func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"A": "b", "C": "\ud83d\udd11"}`, `{"A": [1, {"b": null}]}`, `{"A": "\ud800"}`, "{} x", `{"A"`, `{"A":"b",}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		entries := parseForFuzz(t, "json", content)
		if entries == nil {
			return
		}
		var reference map[string]string
		if err := json.Unmarshal([]byte(strings.TrimPrefix(content, "\ufeff")), &reference); err != nil || len(reference) != len(entries) {
			t.Fatalf("encoding/json reads %d entries, %v; we read %d", len(reference), err, len(entries))
		}
		sameEntries(t, "json", jsonObject(t, entries, reference), entries)
	})
}

// jsonObject writes entries, with the values that another reader found.
func jsonObject(t *testing.T, entries []Entry, values map[string]string) string {
	members := make([]string, len(entries))
	for i, e := range entries {
		key, kerr := json.Marshal(e.Name)
		value, verr := json.Marshal(values[e.Name])
		if kerr != nil || verr != nil {
			t.Fatal(kerr, verr)
		}
		members[i] = string(key) + ":" + string(value)
	}
	return "{" + strings.Join(members, ",") + "}"
}
