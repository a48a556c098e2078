package test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/latchkey/latchkey"

// mayImport says which packages of ours a package may import, tests aside.
// Imports point one way: programs, then what they are made of, then leaves.
var mayImport = map[string][]string{
	"cmd/latchkeyd":        {"sqlstore", "memstore", "keyserver", "keyserver/api", "internal/harden"},
	"cmd/latchkey":         {"workspace", "workspace/sshd", "gitssh", "sshagent", "keyserver/api", "keyserver/importfile", "keyserver/knownhost", "internal/harden", "internal/mask", "internal/scan"},
	"workspace":            {"workspace/secretfile", "workspace/sshd", "sshagent", "sshagent/signdata", "keyserver/api", "keyserver/knownhost", "internal/harden", "internal/lograte", "internal/mask"},
	"workspace/secretfile": {"keyserver/api"},
	// It knows no server and no agent of ours: who may log in, and where agents go, it is told.
	"workspace/sshd":      {"internal/lograte"},
	"memstore":            {"keyserver", "keyserver/api"},
	"sqlstore":            {"keyserver", "keyserver/api"},
	"keyserver/storetest": {"keyserver", "keyserver/api"},
	// What it signs itself, it parses as the agent does.
	"keyserver":     {"keyserver/api", "keyserver/importfile", "keyserver/knownhost", "sshagent/signdata"},
	"keyserver/api": {},
	// Leaves: the CLI and the server read the same files, by the same rules.
	"keyserver/importfile": {},
	"keyserver/knownhost":  {"internal/sshpattern"},

	"sshagent":            {"sshagent/signdata", "internal/lograte", "internal/sshpattern"},
	"sshagent/signdata":   {},
	"gitssh":              {},
	"internal/harden":     {},
	"internal/lograte":    {},
	"internal/mask":       {},
	"internal/scan":       {"keyserver/api"},
	"internal/sshpattern": {},

	// The harness runs the programs; none of this is shipped.
	"test":          {},
	"test/demo":     {"test/forge"},
	"test/forge":    {},
	"test/leak":     {},
	"test/sshagent": {"sshagent", "workspace", "internal/harden"}, // workspace: it keeps keys as the daemon does
	"test/witness":  {},
}

// mustNotLink says which packages, of any module, a package of ours must not
// even link, and why.
var mustNotLink = []struct {
	pkg, forbidden, why string
}{
	{"cmd/latchkey", "database/sql", "the process that holds keys stays small"},
	{"cmd/latchkey", "modernc.org/", "the process that holds keys stays small"},
	{"cmd/latchkey", "github.com/pressly/goose/", "the process that holds keys stays small"},
	{"cmd/latchkey", "html/template", "the helper starts in milliseconds"},
	{"sshagent", "net/http", "the agent gets its keys from a Source, and knows no server"},
	{"sshagent", "os/exec", "the agent runs nothing"},
	{"memstore", "database/sql", "it remembers in memory"},
}

// onlyIn says which packages alone may import packages of others.
var onlyIn = []struct {
	imported string
	in       []string
}{
	{"github.com/urfave/cli/", []string{"cmd/latchkey", "cmd/latchkeyd"}},
	{"database/sql", []string{"sqlstore"}},
	{"modernc.org/", []string{"sqlstore"}},
	{"github.com/jackc/pgx/", []string{"sqlstore"}},
	{"github.com/pressly/goose/", []string{"sqlstore"}},
	{"github.com/tink-crypto/", []string{"keyserver"}},
	{"go.yaml.in/yaml/", []string{"keyserver/importfile"}},
	{"github.com/gliderlabs/ssh", []string{"workspace/sshd", "test/forge"}},
	{"github.com/creack/pty", []string{"workspace/sshd", "cmd/latchkey"}},
	{"github.com/pkg/sftp", []string{"cmd/latchkey"}},
}

// A listedPackage is what "go list -json" says of a package.
type listedPackage struct {
	ImportPath    string
	Doc           string
	Imports, Deps []string
}

// Name is the path within the module.
func (p listedPackage) Name() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

func TestImports(t *testing.T) {
	packages := listPackages(t)
	for _, p := range packages {
		allowed, known := mayImport[p.Name()]
		if !known {
			t.Errorf("package %s is not in the table of imports: say there what it may import", p.Name())
			continue
		}
		for _, imported := range p.Imports {
			ours, ok := strings.CutPrefix(imported, module+"/")
			if ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s; it may import %q", p.Name(), ours, allowed)
			}
			for _, o := range onlyIn {
				if matches(imported, o.imported) && !slices.Contains(o.in, p.Name()) {
					t.Errorf("%s imports %s, which only %q may", p.Name(), imported, o.in)
				}
			}
		}
	}
	for name := range mayImport {
		if !slices.ContainsFunc(packages, func(p listedPackage) bool { return p.Name() == name }) {
			t.Errorf("the table of imports names %s, which is no package (any more)", name)
		}
	}
}

func TestLinked(t *testing.T) {
	packages := listPackages(t)
	for _, m := range mustNotLink {
		i := slices.IndexFunc(packages, func(p listedPackage) bool { return p.Name() == m.pkg })
		if i < 0 {
			t.Errorf("there is no package %s", m.pkg)
			continue
		}
		for _, dep := range packages[i].Deps {
			if matches(dep, m.forbidden) {
				t.Errorf("%s links %s: %s", m.pkg, dep, m.why)
			}
		}
	}
}

// The wire's package is what anybody's client would import: it brings nothing along.
func TestWireIsStandardLibrary(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.Name() != "keyserver/api" {
			continue
		}
		for _, imported := range p.Imports {
			if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") {
				t.Errorf("keyserver/api imports %s; it is made of the standard library only", imported)
			}
		}
	}
}

func TestPackagesHaveDocs(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.Doc == "" {
			t.Errorf("package %s has no doc comment", p.Name())
		}
	}
}

// matches reports whether an import path is the pattern, or under it if it
// ends in a slash.
func matches(path, pattern string) bool {
	return path == pattern || strings.HasSuffix(pattern, "/") && strings.HasPrefix(path, pattern)
}

// listPackages lists this module's packages as they are shipped.
func listPackages(t *testing.T) (packages []listedPackage) {
	t.Helper()
	cmd := exec.Command("go", "list", "-tags=urfave_cli_no_docs", "-json=ImportPath,Doc,Imports,Deps", module+"/...")
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("the output of go list: %v", err)
		}
		packages = append(packages, p)
	}
}
