package gitssh

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		args    string // in words
		options string // "4 p=22", in their order
		host    string
		command string
	}{
		// As git calls it.
		{"git@forge git-upload-pack '/app'", "", "git@forge", "git-upload-pack '/app'"},
		{"-o SendEnv=GIT_PROTOCOL git@forge git-upload-pack '/app'", "o=SendEnv=GIT_PROTOCOL", "git@forge", "git-upload-pack '/app'"},
		{"-4 -p 22022 forge git-receive-pack x", "4 p=22022", "forge", "git-receive-pack x"},
		{"-G -o SendEnv=GIT_PROTOCOL -p 22 forge", "G o=SendEnv=GIT_PROTOCOL p=22", "forge", ""},
		// Clusters and attached values.
		{"-46Avvp22 forge", "4 6 A v v p=22", "forge", ""},
		{"-4J a,b forge", "4 J=a,b", "forge", ""},
		{"-oPort=22 forge", "o=Port=22", "forge", ""},
		{"-p -4 forge", "p=-4", "forge", ""},
		{"-p -- forge", "p=--", "forge", ""},
		// Options behind the host, but not behind the command.
		{"forge -p 22 -4 ls -l", "p=22 4", "forge", "ls -l"},
		{"-4 forge -v -- -x ls", "4 v", "forge", "-x ls"},
		// "--" before the host also ends the options behind it.
		{"-4 -- forge -p 22", "4", "forge", "-p 22"},
		{"-- -forge -4", "", "-forge", "-4"},
		// A lone dash is a host, as it is to ssh.
		{"- ls", "", "-", "ls"},
		{"", "", "", ""},
		{"-V", "V", "", ""},
		{"--", "", "", ""},
		{"ssh://git@forge:2222 ls", "", "ssh://git@forge:2222", "ls"},
	}
	for _, tt := range tests {
		a, err := Parse(strings.Fields(tt.args))
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.args, err)
			continue
		}
		var options []string
		for _, o := range a.Options {
			s := string(o.Flag)
			if strings.IndexByte(valueOptions, o.Flag) >= 0 {
				s += "=" + o.Value
			}
			options = append(options, s)
		}
		if got := strings.Join(options, " "); got != tt.options {
			t.Errorf("Parse(%q): options %q, want %q", tt.args, got, tt.options)
		}
		if a.Host != tt.host {
			t.Errorf("Parse(%q): host %q, want %q", tt.args, a.Host, tt.host)
		}
		if got := strings.Join(a.Command, " "); got != tt.command {
			t.Errorf("Parse(%q): command %q, want %q", tt.args, got, tt.command)
		}
	}
}

// Every option of ssh's manual is known, by whether it takes a value.
func TestParseKnowsEveryOption(t *testing.T) {
	for _, flag := range plainOptions {
		a, err := Parse([]string{"-" + string(flag), "forge"})
		if err != nil || a.Host != "forge" {
			t.Errorf("Parse(-%c forge) = host %q, %v; want host forge", flag, a.Host, err)
		}
	}
	for _, flag := range valueOptions {
		a, err := Parse([]string{"-" + string(flag), "value", "forge"})
		if err != nil || a.Host != "forge" || a.Value(byte(flag)) != "value" {
			t.Errorf("Parse(-%c value forge) = host %q, value %q, %v; want host forge, value value", flag, a.Host, a.Value(byte(flag)), err)
		}
	}
}

func TestParseUsage(t *testing.T) {
	for _, args := range []string{"-z forge", "-4z forge", "forge -z", "-p", "forge -o", "-4p", "-é forge", "--help"} {
		if _, err := Parse(strings.Fields(args)); !errors.Is(err, ErrUsage) {
			t.Errorf("Parse(%q): error %v, want ErrUsage", args, err)
		}
	}
}

func TestConnects(t *testing.T) {
	tests := map[string]bool{
		"forge":            true,
		"forge ls -G":      true, // the command's own option
		"-p 22 forge ls":   true,
		"-W h:22 forge":    true,
		"-G forge":         false,
		"forge -G":         false,
		"-4G forge":        false,
		"-V":               false,
		"-V forge":         false,
		"-Q key":           false,
		"-O exit forge":    false,
		"-o Port=22":       false,
		"":                 false,
		"-o RemoteG=forge": false,
	}
	for args, want := range tests {
		a, err := Parse(strings.Fields(args))
		if err != nil {
			t.Errorf("Parse(%q): %v", args, err)
		} else if got := a.Connects(); got != want {
			t.Errorf("Parse(%q).Connects() = %v, want %v", args, got, want)
		}
	}
}

func TestHostname(t *testing.T) {
	tests := map[string]string{
		"forge":                 "forge",
		"git@forge":             "forge",
		"a@b@forge":             "forge", // ssh splits at the last @
		"ssh://forge":           "forge",
		"ssh://git@forge:22":    "forge",
		"ssh://git@[::1]:22":    "::1",
		"git@2001:db8::1":       "2001:db8::1",
		"ssh://%zz@forge.test/": "forge.test/",
	}
	for host, want := range tests {
		if got := (Args{Host: host}).Hostname(); got != want {
			t.Errorf("the host name of %q is %q, want %q", host, got, want)
		}
	}
}

func TestAddress(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"git@forge", "forge"},
		{"-p 22 git@forge", "forge"},
		{"-p 2222 git@forge", "forge:2222"},
		{"-oPort=2222 git@forge", "forge:2222"},
		{"-o Port=2222 -p 22 git@forge", "forge:2222"}, // ssh takes the first
		{"ssh://git@forge:2222", "forge:2222"},
		{"-p 2222 git@2001:db8::1", "[2001:db8::1]:2222"},
	} {
		args := strings.Fields(tt.args)
		if a, err := Parse(args); err != nil || a.Address() != tt.want {
			t.Errorf("Parse(%q).Address() = %q, %v; want %q", args, a.Address(), err, tt.want)
		}
	}
}

// Whatever is parsed, nothing is lost: the list can be put together again.
func FuzzParse(f *testing.F) {
	f.Add("-4\x00-p\x0022\x00git@forge\x00git-upload-pack\x00'/app'")
	f.Add("-oPort=22\x00--\x00forge\x00-x")
	f.Add("forge\x00-J\x00a,b\x00ls\x00-l")
	f.Add("-\x00--\x00-S")
	f.Fuzz(func(t *testing.T, words string) {
		list := strings.Split(words, "\x00")
		a, err := Parse(list)
		if err != nil {
			if !errors.Is(err, ErrUsage) {
				t.Fatalf("Parse(%q): error %v is not ErrUsage", list, err)
			}
			return
		}
		if n := len(list) - len(a.Command); !reflect.DeepEqual(append(list[:n:n], a.Command...), list) {
			t.Errorf("Parse(%q): the command %q is not the list's end", list, a.Command)
		}
		for _, o := range a.Options {
			if o.Value != "" && list[o.index][o.offset:] != o.Value {
				t.Errorf("Parse(%q): the value of -%c is %q, not at its place", list, o.Flag, o.Value)
			}
		}
		// What is given to ssh is read by it as it was here.
		run := Run{SSH: "/usr/bin/ssh", Agent: "/run/a"}
		again, err := Parse(run.Command(a).Args[1:])
		if err != nil || again.Host != a.Host || len(again.Command) != len(a.Command) || len(again.Options) != len(a.Options)+5 {
			t.Errorf("Parse(%q) behind our options = %+v, %v; want host %q and %d more options", list, again, err, a.Host, 5)
		}
	})
}
