package gitssh

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

const ours = "-o IdentityAgent=/run/a -o IdentitiesOnly=no -o ForwardAgent=no -o ControlMaster=no -o ControlPath=none "

func TestCommand(t *testing.T) {
	const (
		agent = "/run/a"
		self  = "/run/ssh"
	)
	forwarding := func(path string) string { return strings.Replace(ours, "ForwardAgent=no", "ForwardAgent="+path, 1) }
	tests := []struct {
		name string
		run  Run
		args string
		want string // with the name that ssh is called by
	}{
		{"as git calls it", Run{Agent: agent, Self: self}, "-o SendEnv=GIT_PROTOCOL -p 22 git@forge git-upload-pack '/app'",
			self + " " + ours + "-o SendEnv=GIT_PROTOCOL -p 22 git@forge git-upload-pack '/app'"},
		{"options behind the host", Run{Agent: agent, Self: self}, "forge -4 ls", self + " " + ours + "forge -4 ls"},
		{"a jump", Run{Agent: agent, Self: self}, "-J a,b forge", self + " " + ours + "-J a,b forge"},
		{"without a name of our own", Run{Agent: agent}, "forge", "/usr/bin/ssh " + ours + "forge"},
		{"with known hosts", Run{Agent: agent, KnownHosts: "/run/ssh lines %H"}, "forge", "/usr/bin/ssh -o KnownHostsCommand=/run/ssh lines %H " + ours + "forge"},
		{"standing aside, with known hosts", Run{Self: self, KnownHosts: "/run/ssh lines %H"}, "forge", self + " -o KnownHostsCommand=/run/ssh lines %H forge"},
		{"standing aside", Run{Self: self}, "-A -S /s forge", self + " -A -S /s forge"},
		{"-A forwards the user's own agent", Run{Agent: agent, OwnAgent: "/run/own"}, "-A forge", "/usr/bin/ssh " + forwarding("/run/own") + "-A forge"},
		{"-A without one", Run{Agent: agent}, "forge -4A", "/usr/bin/ssh " + forwarding("/dev/null") + "forge -4A"},
		{"-A with a path that ssh would not read as it is", Run{Agent: agent, OwnAgent: "/run/%h"}, "-A forge", "/usr/bin/ssh " + forwarding("/dev/null") + "-A forge"},
		{"-A taken back", Run{Agent: agent, OwnAgent: "/run/own"}, "-A -a forge", "/usr/bin/ssh " + ours + "-A -a forge"},
		{"-S and -M", Run{Agent: agent}, "-MS /s -S/t forge -S /u", "/usr/bin/ssh " + ours + "-MS none -Snone forge -S none"},
	}
	for _, tt := range tests {
		list := strings.Fields(tt.args)
		given := slices.Clone(list)
		a, err := Parse(list)
		if err != nil {
			t.Fatalf("%s: Parse: %v", tt.name, err)
		}
		tt.run.SSH = "/usr/bin/ssh"
		cmd := tt.run.Command(a)
		if got := strings.Join(cmd.Args, " "); got != tt.want {
			t.Errorf("%s: runs\n%s\nwant\n%s", tt.name, got, tt.want)
		}
		if cmd.Path != "/usr/bin/ssh" {
			t.Errorf("%s: runs the program %s, want /usr/bin/ssh", tt.name, cmd.Path)
		}
		if !reflect.DeepEqual(list, given) {
			t.Errorf("%s: changes the caller's arguments to %q", tt.name, list)
		}
	}
}

// Arguments with blanks and quotes stay single arguments.
func TestCommandKeepsArguments(t *testing.T) {
	list := []string{"-o", "ProxyCommand=nc '%h' \"%p\"", "git@forge", "git-upload-pack '/a b'", ""}
	a, err := Parse(list)
	if err != nil {
		t.Fatal(err)
	}
	cmd := Run{SSH: "/usr/bin/ssh", Agent: "/run/a"}.Command(a)
	if got := cmd.Args[len(cmd.Args)-len(list):]; !reflect.DeepEqual(got, list) {
		t.Errorf("the arguments became %q, want %q", got, list)
	}
}

func TestSafe(t *testing.T) {
	for path, want := range map[string]bool{
		"/run/user/1000/latchkey/h/1": true,
		"/tmp/latchkey-0/a.b_c+d@e":   true,
		"":                            false,
		"relative":                    false,
		"/a b":                        false,
		"/a%h":                        false,
		"/a$HOME":                     false,
		"/a'b":                        false,
		"/a;b":                        false,
		"/a\nb":                       false,
		"/é":                          false,
	} {
		if got := Safe(path); got != want {
			t.Errorf("Safe(%q) = %v, want %v", path, got, want)
		}
	}
}
