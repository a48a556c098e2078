package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata read like a manual page: what is typed, and what it
// prints. Each has a server of its own at $URL, and the token of its first
// admin in the file admin.token.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			s := newServer(e.T().(testing.TB), false)
			home := filepath.Join(e.WorkDir, "home")
			e.Setenv("GORACE", os.Getenv("GORACE"))
			e.Setenv("HOME", home)
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
			e.Setenv("LATCHKEY_RUNTIME_DIR", filepath.Join(home, "run"))
			e.Setenv("URL", s.URL)
			if err := os.Mkdir(home, 0o700); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(e.WorkDir, "admin.token"), []byte(s.Admin+"\n"), 0o600)
		},
	})
}
