package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	shownBy   = regexp.MustCompile("`(Test\\w+)`")
	inPackage = regexp.MustCompile("in\\s+`([a-z][a-z/]*)`")
)

// TestThreatModelNamesTests holds the guarantees of the threat model against
// the tests that it says show them.
func TestThreatModelNamesTests(t *testing.T) {
	text, err := os.ReadFile("../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	_, guarantees, _ := strings.Cut(string(text), "## What is guaranteed")
	guarantees, _, _ = strings.Cut(guarantees, "## What is not protected")
	paragraphs := strings.Split(strings.TrimSpace(guarantees), "\n\n")
	if len(paragraphs) < 5 {
		t.Fatalf("found %d guarantees in docs/threat-model.md; want at least 5", len(paragraphs))
	}
	for _, p := range paragraphs {
		claim, _, _ := strings.Cut(p, "\n")
		_, evidence, ok := strings.Cut(p, "*Shown by*")
		names := shownBy.FindAllStringSubmatch(evidence, -1)
		if !ok || len(names) == 0 {
			t.Errorf("%s: names no test that shows it", claim)
			continue
		}
		var sources strings.Builder
		for _, dir := range inPackage.FindAllStringSubmatch(evidence, -1) {
			files, _ := filepath.Glob(filepath.Join("..", dir[1], "*_test.go"))
			for _, file := range files {
				source, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				sources.Write(source)
			}
		}
		for _, name := range names {
			if !strings.Contains(sources.String(), "\nfunc "+name[1]+"(t *testing.T)") {
				t.Errorf("%s: there is no %s in the packages that it names", claim, name[1])
			}
		}
	}
}
