package main

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/keyserver/api"
)

// unasked are lines of all commands that ask before they do something, by command:
// about what is there, and about what is not ("": it makes what is not there).
var unasked = map[string][2]string{
	"key rotate":             {"key rotate", "key rotate none"},
	"key import":             {"key import default FILE --replace", ""},
	"key delete":             {"key delete default", "key delete none"},
	"known-host add":         {"known-host add other.test KEY", ""},
	"known-host import":      {"known-host import HOSTS", ""},
	"known-host delete":      {"known-host delete forge.test", "known-host delete none"},
	"login-key delete":       {"login-key delete laptop", "login-key delete none"},
	"secret delete":          {"secret delete k", "secret delete none"},
	"secret rollback":        {"secret rollback k", "secret rollback none"},
	"token revoke":           {"token revoke TOKEN", "token revoke none"},
	"user disable":           {"user disable ada", "user disable none"},
	"user delete":            {"user delete ada", "user delete none"},
	"workspace delete":       {"workspace delete box", "workspace delete none"},
	"workspace token revoke": {"workspace token revoke box WSTOKEN", "workspace token revoke box none"},
}

// Without a terminal and -y nothing is changed, by any command, and none says that
// it was; and what is not there is nothing to ask about.
func TestConfirmWithoutTerminal(t *testing.T) {
	s := newServer(t, false)
	newHome(t)
	s.newUser(t, "ada", api.RoleUser)
	latchkeyWith(t, s.Admin, "login", s.URL).ok(t)
	file, public := newKeyFile(t, "")
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("third.test "+public+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	latchkey(t, "known-host", "add", "forge.test", public, "-y").ok(t)
	latchkey(t, "login-key", "add", public, "--name", "laptop").ok(t)
	latchkeyWith(t, "v", "secret", "create", "k", "--env", "K").ok(t)
	latchkeyWith(t, "w", "secret", "update", "k").ok(t)
	latchkey(t, "workspace", "create", "box").ok(t)
	id := func(args ...string) string {
		return decode[[]api.TokenInfo](t, latchkey(t, append(args, "--json")...))[0].ID
	}
	given := map[string]string{"FILE": file, "KEY": public, "HOSTS": hosts, "TOKEN": id("token", "list"), "WSTOKEN": id("workspace", "token", "list", "box")}
	words := func(line string) (args []string) {
		for _, w := range strings.Fields(line) {
			args = append(args, cmp.Or(given[w], w))
		}
		return args
	}
	all := func() (lists string) {
		for _, typed := range []string{"key list", "known-host list", "login-key list", "secret list", "token list", "user list", "workspace list", "workspace token list box"} {
			lists += latchkey(t, append(strings.Fields(typed), "--json")...).ok(t).stdout
		}
		return lists
	}
	before := all()
	for name, lines := range unasked {
		for _, stdin := range []string{"", "y\n"} {
			got := latchkeyWith(t, stdin, words(lines[0])...)
			if got.code != exitUsage || strings.Count(got.stderr, "latchkey: ") != 2 ||
				!strings.Contains(got.stderr, "latchkey: error: nothing was changed: there is no terminal to ask on, and no -y\nlatchkey: hint: with -y, ") {
				t.Errorf("latchkey %s = %+v; want one error, which names -y", lines[0], got)
			}
		}
		if lines[1] == "" {
			continue
		}
		for _, flags := range []string{"", " -y"} {
			if got := latchkey(t, words(lines[1]+flags)...); got.code != exitError || strings.Contains(got.stderr, "-y") {
				t.Errorf("latchkey %s%s = %+v; want that it is not there, and no question", lines[1], flags, got)
			}
		}
		tt := onTerminal(t, words(lines[1])...)
		if state, screen := tt.ends(t); state.ExitCode() != exitError || strings.Contains(screen, "Go on?") {
			t.Errorf("on a terminal latchkey %s ended with %v; want no question about what is not there", name, state)
		}
	}
	if after := all(); after != before {
		t.Errorf("there is now\n%s\nbefore it was\n%s", after, before)
	}
}

// Each command with -y asks, and by the same rule.
func TestAllThatAskAreTested(t *testing.T) {
	var look func(path string, cmd *cli.Command)
	look = func(path string, cmd *cli.Command) {
		for _, c := range cmd.Subcommands {
			look(strings.TrimSpace(path+" "+c.Name), c)
		}
		if _, tested := unasked[path]; findFlag(cmd, "--yes") != nil != tested {
			t.Errorf("%q has the flag --yes, or it is tested how it asks: one without the other", path)
		}
	}
	look("", (&program{}).commands())
}
