package test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/test/witness"
)

// canaries are the secret values that the tests of this package store, and all
// that the programs have said and written meanwhile: the output of each
// process and command, and each server's data directory at its end. When all
// tests are done, no value may be in any of it, in no form.
var canaries struct {
	mu     sync.Mutex
	values []witness.Secret
	dir    string // of what was kept
	files  int
}

// newCanary makes the value of a secret, which must never be seen but where it
// was delivered to.
func newCanary(t testing.TB, name string) string {
	t.Helper()
	value := "canary/" + rand.Text() + "\"<" + rand.Text()
	canaries.mu.Lock()
	defer canaries.mu.Unlock()
	canaries.values = append(canaries.values, witness.Secret{Name: t.Name() + ": " + name, Bytes: []byte(value)})
	return value
}

// keep keeps something for the sweep.
func keep(name string, content []byte) {
	canaries.mu.Lock()
	defer canaries.mu.Unlock()
	canaries.files++
	name = fmt.Sprintf("%04d-%s", canaries.files, strings.Map(plain, name))
	if err := os.WriteFile(filepath.Join(canaries.dir, name[:min(len(name), 200)]), content, 0o600); err != nil {
		panic(err) // the sweep would miss something
	}
}

func plain(r rune) rune {
	if r == '/' || r < ' ' {
		return '_'
	}
	return r
}

// keepOutput keeps what a command has printed, and how it was called: what is
// among the arguments every process of a machine can see.
func keepOutput(args []string, output []byte) {
	keep(filepath.Base(args[0]), []byte(strings.Join(args, "\x00")+"\n"+string(output)))
}

// keepFiles keeps the files below a directory.
func keepFiles(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		keep(path, b)
		return nil
	})
}

// sweep looks for every canary in all that was kept.
func sweep() (report []string) {
	canaries.mu.Lock()
	defer canaries.mu.Unlock()
	if len(canaries.values) == 0 {
		return nil
	}
	return lookFor(canaries.values, canaries.dir, canaries.files)
}

// lookFor reports where values are seen in a directory of n files.
func lookFor(values []witness.Secret, dir string, n int) (report []string) {
	seen, files, err := witness.Search(witness.NewMatcher(values...), time.Time{}, dir)
	if err != nil || files < n {
		report = append(report, fmt.Sprintf("the sweep saw %d of %d files: %v", files, n, err))
	}
	for _, f := range seen {
		report = append(report, "a secret value was seen: "+f.String())
	}
	return report
}

// The sweep does see a value, in each form in which it could have been written.
func TestSweepSeesValues(t *testing.T) {
	value := "canary/" + rand.Text() + "\"<" + rand.Text()
	asJSON, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	for form, content := range map[string]string{
		"bytes":                   value,
		"hex":                     hex.EncodeToString([]byte(value)),
		"base64":                  base64.StdEncoding.EncodeToString([]byte(value)),
		"base64, behind a letter": base64.StdEncoding.EncodeToString([]byte("x" + value)),
		"JSON":                    string(asJSON),
		"a URL":                   url.QueryEscape(value),
		"a log line":              fmt.Sprintf("msg=%q", value),
	} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "kept"), []byte("something "+content+" else"), 0o600)
		if report := lookFor([]witness.Secret{{Name: "value", Bytes: []byte(value)}}, dir, 1); len(report) == 0 {
			t.Errorf("as %s: the sweep does not see the value", form)
		}
	}
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "kept"), []byte("something else"), 0o600)
	if report := lookFor([]witness.Secret{{Name: "value", Bytes: []byte(value)}}, dir, 1); len(report) != 0 {
		t.Errorf("the sweep sees what is not there: %q", report)
	}
	if report := lookFor([]witness.Secret{{Name: "value", Bytes: []byte(value)}}, dir, 2); len(report) == 0 {
		t.Error("the sweep does not miss a file that is gone")
	}
}
