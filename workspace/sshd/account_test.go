package sshd

import (
	"strings"
	"testing"
)

func TestFindPasswd(t *testing.T) {
	const file = "root:x:0:0:root:/root:/bin/bash\n# junk\nshort:x:7\nalice:x:1000:1000:,,,:/home/alice:/usr/bin/fish\n"
	if a, ok := findPasswd(strings.NewReader(file), 1000); !ok || a != (Account{"alice", "/home/alice", "/usr/bin/fish"}) {
		t.Errorf("user 1000 is %v, %t; want alice", a, ok)
	}
	for _, uid := range []int{7, 1, 100} {
		if a, ok := findPasswd(strings.NewReader(file), uid); ok {
			t.Errorf("user %d is %v; want none", uid, a)
		}
	}
}

func TestIsShell(t *testing.T) {
	for path, want := range map[string]bool{
		"/bin/sh": true, "/usr/sbin/nologin": false, "/bin/false": false, "": false, "sh": false, "/etc/passwd": false, "/bin": false,
	} {
		if got := isShell(path); got != want {
			t.Errorf("isShell(%q) = %t; want %t", path, got, want)
		}
	}
}

func TestOwnAccount(t *testing.T) {
	home := t.TempDir()
	a := OwnAccount(func(name string) string { return map[string]string{"HOME": home, "SHELL": "/bin/sh"}[name] })
	if a.Name == "" || a.Home != home || !isShell(a.Shell) {
		t.Errorf("the account is %+v; want a name, $HOME and a shell", a)
	}
	if a := OwnAccount(func(string) string { return "not/absolute" }); a.Home == "not/absolute" || !isShell(a.Shell) {
		t.Errorf("without a good $HOME and $SHELL the account is %+v", a)
	}
}
