package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// What parseLine makes of a line is what the cli package takes without a fault
// of its own: names, flags, "--", arguments.
func TestParseLine(t *testing.T) {
	for _, test := range []struct{ typed, want string }{
		{"key rotate", "key rotate --"},
		{"key rotate work --keep-old 24h -y", "key rotate --keep-old=24h -y -- work"},
		{"key rotate -y work --keep-old=24h", "key rotate -y --keep-old=24h -- work"},
		{"key rotate --keep-old 24h -y work", "key rotate --keep-old=24h -y -- work"},
		{"key rotate -y -- work", "key rotate -y -- work"},
		{"key rotate -- -y", "key rotate -- -y"},
		{"key delete -- --help", "key delete -- --help"},
		{"key import work -", "key import -- work -"},
		{"key import work - --replace", "key import --replace -- work -"},
		{"key import --passphrase-file -- work -", "key import --passphrase-file=-- -- work -"},
		{"token create --description -y", "token create --description=-y --"},
		{"token create --description a=b --expires=30d", "token create --description=a=b --expires=30d --"},
		{"audit -n 5", "audit -n=5 --"},
		{"pubkey work", "publickey -- work"},
		{"ws ls --json", "workspace list --json --"},
		{"ws token ls box -a", "workspace token list -a -- box"},
		{"complete -- --json", "complete -- --json"},
		{"agent", "agent --"},
		{"agent --idle 5m --no-add", "agent --idle=5m --no-add --"},
		{"agent attach /run/agent.sock", "agent attach -- /run/agent.sock"},
		{"agent detach", "agent detach --"},
	} {
		line, err := parseLine(new(program).commands(), strings.Fields(test.typed))
		if err != nil {
			t.Errorf("parseLine(%s): %v", test.typed, err)
		} else if got := strings.Join(line.args, " "); got != test.want {
			t.Errorf("parseLine(%s) = %s; want %s", test.typed, got, test.want)
		}
	}
}

// The action must see what was typed, in whichever order.
func TestFlagsInAnyOrder(t *testing.T) {
	words := []string{"a", "--text", "x y", "-y"}
	for _, order := range [][]int{{0, 1, 3}, {0, 3, 1}, {1, 0, 3}, {1, 3, 0}, {3, 0, 1}, {3, 1, 0}} {
		var typed []string
		for _, i := range order {
			typed = append(typed, words[i])
			if i == 1 {
				typed = append(typed, words[2])
			}
		}
		var seen []string
		root := prepared(&cli.Command{Name: "latchkey", Subcommands: []*cli.Command{{
			Name: "do", ArgsUsage: "NAME",
			Flags: []cli.Flag{&cli.StringFlag{Name: "text"}, yesFlag()},
			Action: func(c *cli.Context) error {
				seen = append(c.Args().Slice(), c.String("text"), map[bool]string{true: "yes"}[c.Bool("yes")])
				return nil
			},
		}}})
		line, err := parseLine(root, append([]string{"do"}, typed...))
		if err != nil {
			t.Errorf("parseLine(%q): %v", typed, err)
			continue
		}
		app := &cli.App{Commands: root.Subcommands, HideHelp: true, SkipFlagParsing: true}
		if err := app.Run(append([]string{"latchkey"}, line.args...)); err != nil {
			t.Errorf("running %q: %v", typed, err)
		}
		if want := []string{"a", "x y", "yes"}; !slices.Equal(seen, want) {
			t.Errorf("%q gave the action %q; want %q", typed, seen, want)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	newHome(t)
	token := "lk_s_0123456789"
	for _, test := range []struct{ typed, message, hint string }{
		{"kye", `unknown command "kye"`, `there is "latchkey key"; "latchkey --help" lists all`},
		{"frobnicate", `unknown command "frobnicate"`, `"latchkey --help" lists all`},
		{"key rotat", `unknown command "key rotat"`, `there is "latchkey key rotate"; "latchkey key --help" lists all`},
		{"help kye", `unknown command "kye"`, `there is "latchkey key"; "latchkey --help" lists all`},
		{"key", `key: what to do is missing`, `one of show, list, create, rotate, set, import, delete; "latchkey key --help" says more`},
		{"workspace token", `workspace token: what to do is missing`, `one of create, list, revoke; "latchkey workspace token --help" says more`},
		{"--json status", `unknown flag --json`, `flags stand behind the command's name; "latchkey --help" lists all`},
		{"status --jsno", `status: unknown flag --jsno`, `there is --json; "latchkey status --help" lists all`},
		{"status -json", `status: unknown flag -json`, `there is --json; "latchkey status --help" lists all`},
		{"status -x", `status: unknown flag -x`, `"latchkey status --help" lists all; an argument that begins with a dash stands behind "--"`},
		{"status --json=maybe", `flag --json takes no value`, `usage: latchkey status [FLAG...]`},
		{"status now", `status: unexpected argument "now"`, `usage: latchkey status [FLAG...]`},
		{"key rotate a b", `key rotate: unexpected argument "b"`, `usage: latchkey key rotate [NAME] [FLAG...]`},
		{"key delete", `key delete: NAME is missing`, `usage: latchkey key delete NAME [FLAG...]`},
		{"key import work", `key import: FILE|- is missing`, `usage: latchkey key import NAME FILE|- [FLAG...]`},
		{"key rotate --keep-old", `flag --keep-old needs a value`, `--keep-old DURATION; "latchkey key rotate --help" says more`},
		{"key rotate --keep-old soon", `flag --keep-old: "soon": want a duration such as 90m, 24h or 30d`, ``},
		{"key rotate --generation two", `flag --generation: "two": want a number`, ``},
		{"agent --idle soon", `flag --idle: "soon": want a duration such as 90m, 24h or 30d`, ``},
		{"key create x --algorithm dsa", `flag --algorithm: "dsa": want one of ed25519, ecdsa-p256, rsa4096`, ``},
		{"user create x --role root", `flag --role: "root": want one of user, admin, provisioner, auditor`, ``},
		{"agent atach", `unknown command "agent atach"`, `there is "latchkey agent attach"; "latchkey agent --help" lists all`},
		{"agent now", `unknown command "agent now"`, `"latchkey agent --help" lists all`},
		{"agent --no-add now", `agent: unexpected argument "now"`, `usage: latchkey agent [COMMAND] [FLAG...]`},
		{"agent --idle 5m attach", `agent: "attach" stands behind a flag of latchkey agent itself`, `usage: latchkey agent attach [SOCKET]`},
		{"agent attach a b", `agent attach: unexpected argument "b"`, `usage: latchkey agent attach [SOCKET]`},
		{"agent attach --idle 5m", `agent attach: unknown flag --idle`, `"latchkey agent attach --help" lists all; an argument that begins with a dash stands behind "--"`},
		{"completion tcsh", `completion: no script for "tcsh"`, `there are bash, zsh and fish`},
		{"login http://127.0.0.1 " + token, `login: a token on the command line can be read by every process of this machine`, `give it on stdin, or type it when asked; and have this one revoked`},
		{"login " + token, `login: a token on the command line can be read by every process of this machine`, `give it on stdin, or type it when asked; and have this one revoked`},
		{token, `unknown command "lk_s_[token]"`, `"latchkey --help" lists all`},
	} {
		want := "latchkey: error: " + test.message + "\n"
		if test.hint != "" {
			want += "latchkey: hint: " + test.hint + "\n"
		}
		t.Run(test.typed, func(t *testing.T) {
			latchkey(t, strings.Fields(test.typed)...).expect(t, exitUsage, "", want)
		})
	}
}

func TestNearest(t *testing.T) {
	names := []string{"default", "deploy", "work", "arbeit", "größe"}
	for _, test := range []struct{ typed, want string }{
		{"defualt", "default"}, // swapped: one mistake
		{"wrk", "work"},
		{"groesse", ""},
		{"grösse", "größe"},
		{"deplyo", "deploy"},
		{"x", ""},
		{"", ""},
		{strings.Repeat("default", 100), ""},
	} {
		if got := nearest(test.typed, names); got != test.want {
			t.Errorf("nearest(%.20q) = %q; want %q", test.typed, got, test.want)
		}
	}
}

// Every command says what it does, every flag too, and help is on stdout.
func TestHelp(t *testing.T) {
	var visit func(c *cli.Command, path []string)
	visit = func(c *cli.Command, path []string) {
		if c.Usage == "" && !c.Hidden {
			t.Errorf("%s has no usage", strings.Join(path, " "))
		}
		for _, f := range c.Flags {
			if flag, ok := f.(cli.DocGenerationFlag); !ok || flag.GetUsage() == "" {
				t.Errorf("%s: %s has no usage", strings.Join(path, " "), f.Names()[0])
			}
		}
		if !c.HideHelp || !c.SkipFlagParsing {
			for _, typed := range [][]string{append(path[1:], "--help"), append(path[1:], "-h"), append([]string{"help"}, path[1:]...)} {
				got := latchkey(t, typed...)
				if got.code != 0 || got.stderr != "" || !strings.HasPrefix(got.stdout, strings.Join(path, " ")+": ") {
					t.Errorf("latchkey %q = %+v; want the help of %s on stdout", typed, got, strings.Join(path, " "))
				}
				for line := range strings.Lines(got.stdout) {
					if len([]rune(line)) > 130 {
						t.Errorf("latchkey %q: a line of %d letters: %s", typed, len([]rune(line)), line)
					}
				}
			}
		}
		for _, sub := range c.Subcommands {
			visit(sub, append(slices.Clone(path), sub.Name))
		}
	}
	visit(new(program).commands(), []string{"latchkey"})
}

func TestHelpShowsHowFlagsAreTyped(t *testing.T) {
	got := latchkey(t, "key", "rotate", "work", "--help")
	for _, want := range []string{
		"usage: latchkey key rotate [NAME] [FLAG...]\n",
		"\n  --keep-old DURATION    go on offering",
		"\n  -y, --yes ",
		"\n  latchkey key rotate --keep-old 24h\n",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("the help of key rotate has no %q:\n%s", want, got.stdout)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add("key rotate -y -- work")
	f.Add("complete -- --help=")
	f.Add("audit -n= --after")
	f.Fuzz(func(t *testing.T, typed string) {
		line, err := parseLine(new(program).commands(), strings.Split(typed, " "))
		if err == nil && len(line.path) == 0 {
			t.Errorf("parseLine(%q) gave neither a command nor an error", typed)
		}
	})
}
