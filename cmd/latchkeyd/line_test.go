package main

import (
	"errors"
	"strings"
	"testing"
)

// Flags stand before or after arguments, and before or after the command.
func TestParseLine(t *testing.T) {
	p := &program{}
	for typed, want := range map[string]string{
		"":                             "serve --",
		"--dev":                        "serve --dev --",
		"serve --listen :1":            "serve --listen=:1 --",
		"--listen :1 serve --dev":      "serve --listen=:1 --dev --",
		"token alice --data d":         "token --data=d -- alice",
		"token --data=d alice":         "token --data=d -- alice",
		"--data d token alice":         "token --data=d -- alice",
		"token -- -alice":              "token -- -alice",
		"audit tail -f -n 5":           "audit tail -f -n=5 --",
		"audit -n 5 tail --json":       "audit tail -n=5 --json --",
		"-n 5 audit --data audit tail": "audit tail -n=5 --data=audit --",
		"serve --trusted-proxy serve":  "serve --trusted-proxy=serve --",
		"serve --dev=false":            "serve --dev=false --",
		"version":                      "version --",
		"--version":                    "version --",
		"serve -v":                     "serve -v --",
	} {
		line, err := parseLine(p.commands(), strings.Fields(typed))
		if got := strings.Join(line.args, " "); err != nil || got != want || line.help {
			t.Errorf("latchkeyd %s means %q, %v; want %q", typed, got, err, want)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	for _, tt := range []struct{ typed, problem, hint string }{
		{"start", `unknown command "start"`, "one of serve, token, audit, version"},
		{"audit", "audit: what to do is missing", "one of tail, verify"},
		{"audit trail", `unknown command "audit trail"`, "one of tail, verify"},
		{"token", "token: USER is missing", "usage: latchkeyd token USER"},
		{"token a b", `token: unexpected argument "b"`, "usage: latchkeyd token USER"},
		{"serve now", `serve: unexpected argument "now"`, "usage: latchkeyd serve"},
		{"serve --dav", "serve: unknown flag --dav", `"latchkeyd serve --help" lists its flags`},
		{"serve -n 3", "serve: unknown flag -n", "lists its flags"},
		{"version --data d", "version: unknown flag --data", ""},
		{"serve --listen", "flag --listen needs a value", "--listen HOST:PORT"},
		{"serve --dev=yes", "flag --dev takes no value", "usage: latchkeyd serve"},
		{"serve --log xml", `flag --log: "xml": want text or json`, ""},
		{"serve --key-algorithm dsa", `flag --key-algorithm: "dsa"`, ""},
		{"serve --key-mode none", `flag --key-mode: "none": want fetch or sign`, ""},
		{"token a lk_s_abcdef", `unexpected argument "lk_s_[token]"`, ""},
	} {
		var stdout, stderr strings.Builder
		code := run(append([]string{"latchkeyd"}, strings.Fields(tt.typed)...), strings.NewReader(""), &stdout, &stderr)
		first, second, _ := strings.Cut(stderr.String(), "\n")
		if code != exitUsage || stdout.Len() != 0 || !strings.HasPrefix(first, "latchkeyd: error: ") || !strings.Contains(first, tt.problem) {
			t.Errorf("latchkeyd %s: exit status %d, stdout %q, stderr %q; want %d and the error %q on stderr only", tt.typed, code, stdout.String(), stderr.String(), exitUsage, tt.problem)
		}
		if tt.hint != "" && (!strings.HasPrefix(second, "latchkeyd: hint: ") || !strings.Contains(second, tt.hint)) {
			t.Errorf("latchkeyd %s: the hint is %q; want %q", tt.typed, second, tt.hint)
		}
	}
}

// Help was asked for: it goes to stdout, and is no error.
func TestHelp(t *testing.T) {
	for typed, want := range map[string]string{
		"--help":            "usage: latchkeyd COMMAND",
		"-h":                "usage: latchkeyd COMMAND",
		"help":              "usage: latchkeyd COMMAND",
		"help audit tail":   "usage: latchkeyd audit tail [FLAG...]",
		"serve --help":      "--trusted-proxy CIDR",
		"serve --dev -h":    "usage: latchkeyd serve [FLAG...]",
		"audit --help":      "verify",
		"token alice -h":    "usage: latchkeyd token USER [FLAG...]",
		"audit tail --help": "-n, --count N",
		"version":           "latchkeyd ",
	} {
		var stdout, stderr strings.Builder
		code := run(append([]string{"latchkeyd"}, strings.Fields(typed)...), strings.NewReader(""), &stdout, &stderr)
		if code != 0 || stderr.Len() != 0 || !strings.Contains(stdout.String(), want) {
			t.Errorf("latchkeyd %s: exit status %d, stderr %q, stdout\n%s\nwant %q in it", typed, code, stderr.String(), stdout.String(), want)
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

var errBroken = errors.New("broken pipe")

// Half an answer is no answer.
func TestOutputErrors(t *testing.T) {
	var stderr strings.Builder
	if code := run([]string{"latchkeyd", "version"}, strings.NewReader(""), brokenWriter{}, &stderr); code == 0 {
		t.Error("latchkeyd version succeeds where it can't write")
	}
}

func TestPresentable(t *testing.T) {
	for in, want := range map[string]string{
		"a\nb\tc":                "a b c",
		"\x1b[2Jgone":            "\ufffd[2Jgone",
		"lk_s_0123abc":           "lk_s_[token]",
		"user lk_w_0123abc: no":  "user lk_w_[token]: no",
		"abc\u202egnp.exe":       "abc\ufffdgnp.exe",
		"an ordinary text, äöü.": "an ordinary text, äöü.",
	} {
		if got := presentable(in); got != want {
			t.Errorf("presentable(%q) = %q; want %q", in, got, want)
		}
	}
}
