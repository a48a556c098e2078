package main

import (
	"errors"
	"os"
	"os/exec"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver"
	"github.com/latchkey/latchkey/keyserver/api"
)

func apiDoc(t *testing.T) string { return readFile(t, "../../docs/api.md") }

var routeRow = regexp.MustCompile("(?m)^\\| `([A-Z]+ /\\S*)` \\| (.+?) \\| (.+?) \\| (\\d+) \\|$")

// The documented routes are the server's: all of them, who may use them, what
// they do, and their status.
func TestDocumentedRoutes(t *testing.T) {
	documented := map[string][]string{}
	for _, row := range routeRow.FindAllStringSubmatch(apiDoc(t), -1) {
		documented[row[1]] = row[2:]
	}
	link := regexp.MustCompile(`^\[(.*)\]\(#.*\)`)
	for _, r := range keyserver.Routes() {
		name := r.Method + " " + r.Pattern
		row, ok := documented[name]
		delete(documented, name)
		if !ok {
			t.Errorf("docs/api.md lacks %s", name)
			continue
		}
		does, _, _ := strings.Cut(link.ReplaceAllString(row[1], "$1"), ":")
		if row[0] != r.Access.String() || does != r.Does || row[2] != strconv.Itoa(r.Status) {
			t.Errorf("docs/api.md says of %s: %q; want %q, %q, %d", name, row, r.Access, r.Does, r.Status)
		}
	}
	for name := range documented {
		t.Errorf("docs/api.md has %s, which the server does not", name)
	}
}

var (
	section  = regexp.MustCompile(`(?m)^### (\w+)\n((?:[^#\n].*\n|\n)*)`)
	fieldRow = regexp.MustCompile("(?m)^\\| ((?:`\\w+`(?:, )?)+) \\|")
	quoted1  = regexp.MustCompile("`(\\w+)`")
)

// The documented types have the fields of the wire's.
func TestDocumentedTypes(t *testing.T) {
	documented := map[string][]string{}
	for _, s := range section.FindAllStringSubmatch(apiDoc(t), -1) {
		for _, row := range fieldRow.FindAllStringSubmatch(s[2], -1) {
			for _, field := range quoted1.FindAllStringSubmatch(row[1], -1) {
				documented[s[1]] = append(documented[s[1]], field[1])
			}
		}
	}
	types := map[string]reflect.Type{"Error": reflect.TypeFor[api.Error]()}
	for _, r := range keyserver.Routes() {
		for _, v := range []any{r.Request, r.Response} {
			if v != nil {
				collectTypes(reflect.TypeOf(v), types)
			}
		}
	}
	for name, typ := range types {
		want := jsonFields(typ)
		got := documented[name]
		delete(documented, name)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("docs/api.md has for %s the fields %q; want %q", name, got, want)
		}
	}
	for name, fields := range documented {
		t.Errorf("docs/api.md has a type %s with %q, which no route takes or gives", name, fields)
	}
}

// collectTypes finds the structs of ours that a value may hold.
func collectTypes(typ reflect.Type, into map[string]reflect.Type) {
	switch typ.Kind() {
	case reflect.Slice, reflect.Pointer:
		collectTypes(typ.Elem(), into)
	case reflect.Struct:
		if path.Base(typ.PkgPath()) == "time" {
			return
		}
		into[typ.Name()] = typ
		for i := range typ.NumField() {
			collectTypes(typ.Field(i).Type, into)
		}
	}
}

// jsonFields are the fields that a type has of its own: those of what it embeds
// are documented there.
func jsonFields(typ reflect.Type) (names []string) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.Anonymous && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// Every action that is recorded is in the list.
func TestDocumentedActions(t *testing.T) {
	doc := apiDoc(t)
	_, list, ok := strings.Cut(doc, "| action | |")
	if !ok {
		t.Fatal("docs/api.md has no list of actions")
	}
	want := map[string]bool{"login": true, "store.init": true}
	for _, r := range keyserver.Routes() {
		if r.Access.String() != "everyone" { // which is never refused
			want[r.Action] = true
		}
	}
	for action := range want {
		if !strings.Contains(list, "`"+action+"`") {
			t.Errorf("docs/api.md lacks the action %s", action)
		}
	}
	for _, a := range regexp.MustCompile("`([a-z]+(?:\\.[a-z]+)?)`").FindAllStringSubmatch(list, -1) {
		if !want[a[1]] {
			t.Errorf("docs/api.md has the action %s, which nothing records", a[1])
		}
	}
}

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// The examples work as they stand, one after the other.
func TestDocumentedExamples(t *testing.T) {
	for _, program := range []string{"curl", "sed", "grep"} {
		if _, err := exec.LookPath(program); err != nil {
			lacks(t, "there is no "+program+" here: on Debian, apt-get install "+program)
		}
	}
	r := newSite(t).serve(t, "--dev")
	var script strings.Builder
	script.WriteString("set -eux\n")
	for _, block := range shellBlock.FindAllStringSubmatch(apiDoc(t), -1) {
		script.WriteString(block[1])
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script.String())
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "KEYS=" + r.url, "TOKEN=" + r.firstToken()}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("the examples of docs/api.md: %v\n%s", err, out)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return
	}
	for _, want := range []string{`"field":"name"`, `"field":"role"`, `{"status":"ok"}`, `"env_value_bytes":65536`, `"version":3`, `"met":false`, `"state":"pending"`, "event: changed", `"hosts":"forge.example"`, `"role":"auditor"`, `"generation":2`, "\n1\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the examples of docs/api.md print no %q:\n%s", want, out)
		}
	}
}
