package test

import (
	"encoding/base64"
	"strings"
	"testing"
)

// newScanned is a workspace with a repository and two secrets: one that it
// gets, and one that is delivered nowhere.
func newScanned(t testing.TB) (w *workspace, here, elsewhere string) {
	t.Helper()
	w = newSecretWorkspace(t, "ada")
	here, elsewhere = newWord(t, "here"), newWord(t, "elsewhere")
	w.Pipe(t, []byte(here), "latchkey", "secret", "create", "here", "--file", "~/here")
	w.Pipe(t, []byte(elsewhere), "latchkey", "secret", "create", "elsewhere", "--env", "ELSEWHERE", "--disabled")
	w.Run(t, "git", "init", "-q", "work")
	return w, here, elsewhere
}

// newWord is a canary that is one word.
func newWord(t testing.TB, name string) string {
	return "w" + base64.RawURLEncoding.EncodeToString([]byte(newCanary(t, name)))
}

// found runs latchkey scan in the repository, and returns what it prints, and
// whether it found anything.
func (w *workspace) found(t testing.TB, args ...string) (output string, found bool) {
	t.Helper()
	cmd := w.Command(t, "latchkey", append([]string{"scan"}, args...)...)
	cmd.Dir = w.Home + "/work"
	out, err := cmd.CombinedOutput()
	keepOutput(cmd.Args, out)
	if err != nil && cmd.ProcessState.ExitCode() != 1 || err != nil && !strings.Contains(string(out), "place") {
		t.Fatalf("latchkey scan %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err != nil
}

func expect(t testing.TB, output string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(output, line+"\n") {
			t.Errorf("latchkey scan does not print %q, but\n%s", line, output)
		}
	}
	if got := strings.Count(output, ": the value of secret "); got != len(lines) {
		t.Errorf("latchkey scan found %d places; want %d:\n%s", got, len(lines), output)
	}
}

// The scan finds what is delivered here in all its forms, and all other secrets
// of the user by their hashes; without a daemon the user's login does.
func TestScanFindsSecrets(t *testing.T) {
	w, here, elsewhere := newScanned(t)
	w.Write(t, "work/clean", "nothing\n")
	if out, found := w.found(t); found {
		t.Errorf("found something in a clean work tree:\n%s", out)
	}
	w.Write(t, "work/a.env", "# mine\nTOKEN="+here+"\nOTHER='"+elsewhere+"'\n")
	w.Write(t, "work/b.txt", "x"+base64.StdEncoding.EncodeToString([]byte("user:"+here))+"\n")
	out, found := w.found(t)
	if !found {
		t.Fatal("the user's login found nothing")
	}
	expect(t, out, "a.env:2: the value of secret here", "a.env:3: the value of secret elsewhere")

	w.StartDaemon(t)
	w.AwaitFile(t, "here", []byte(here))
	if out, found = w.found(t); !found {
		t.Fatal("the daemon found nothing")
	}
	expect(t, out, "a.env:2: the value of secret here", "a.env:3: the value of secret elsewhere", "b.txt:1: the value of secret here")
	if out, _ := w.found(t, "--json", "a.env"); !strings.Contains(out, `"secret": "elsewhere"`) {
		t.Errorf("latchkey scan --json:\n%s", out)
	}
}

// As a pre-commit hook it keeps a secret out of the history, and it finds one
// that is in there.
func TestScanGuardsCommits(t *testing.T) {
	w, here, _ := newScanned(t)
	w.StartDaemon(t)
	w.AwaitFile(t, "here", []byte(here))
	w.Run(t, "sh", "-c", `printf '#!/bin/sh\nexec latchkey scan --staged\n' > work/.git/hooks/pre-commit && chmod +x work/.git/hooks/pre-commit`)
	w.Write(t, "work/ok", "fine\n")
	w.Run(t, "git", "-C", "work", "add", "ok")
	w.Run(t, "git", "-C", "work", "commit", "-q", "-m", "fine")
	w.Write(t, "work/leak", here+"\n")
	w.Run(t, "git", "-C", "work", "add", "leak")
	if out, err := w.Try(t, "git", "-C", "work", "commit", "-q", "-m", "leak"); err == nil || !strings.Contains(out, "leak:1: the value of secret here") {
		t.Errorf("the hook let a secret through, or does not say where it is: %v\n%s", err, out)
	}
	w.Run(t, "git", "-C", "work", "commit", "-q", "--no-verify", "-m", "leak")
	w.Run(t, "git", "-C", "work", "rm", "-q", "leak")
	w.Run(t, "git", "-C", "work", "commit", "-q", "-m", "as if nothing had been")
	if out, found := w.found(t); found {
		t.Errorf("the work tree has no secret any more, but:\n%s", out)
	}
	if out, found := w.found(t, "--range", "HEAD~2..HEAD"); !found || !strings.Contains(out, "leak:1: the value of secret here, in commit ") {
		t.Errorf("the range has the secret, but:\n%s", out)
	}
}
