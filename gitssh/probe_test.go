package gitssh

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestProbe(t *testing.T) {
	a, err := Parse([]string{"-p", "22", "git@forge", "git-upload-pack", "'/a b'"})
	if err != nil {
		t.Fatal(err)
	}
	got := Probe("/usr/bin/ssh", a).Args
	want := []string{"/usr/bin/ssh", "-G", "-o", "IdentityFile=" + marker, "-p", "22", "git@forge", "git-upload-pack", "'/a b'"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Probe runs %q, want %q", got, want)
	}
}

func TestParseConfig(t *testing.T) {
	env := map[string]string{"KEYS": "/keys", "MINE": "/run/mine"}
	const host = "hostname forge.test\nport 2222\nuser git\nforwardagent no\n"
	tests := []struct {
		name, output string
		want         Config
	}{
		{"nothing named", host + "identityfile " + marker + "\n", Config{}},
		{"none", "identityfile " + marker + "\nidentityfile none\npkcs11provider none\n", Config{}},
		{"paths", "identityfile ~/.ssh/x y\nidentityfile /abs\n", Config{Identities: []string{"/home/u/.ssh/x y", "/abs"}}},
		{"tokens", host + "identityfile %d/%h-%n-%p-%r-%k%%\n", Config{Identities: []string{"/home/u/forge.test-forge-2222-git-forge%"}}},
		{"a variable", "identityfile ${KEYS}/a${NONE}\n", Config{Identities: []string{"/keys/a"}}},
		{"an unknown token", "identityfile /x/%C\n", Config{Identities: []string{"/x/"}, unknown: true}},
		{"an agent", "identityagent ~/agent.sock\n", Config{Agent: "/home/u/agent.sock"}},
		{"an agent's variable", "identityagent $MINE\n", Config{Agent: "/run/mine"}},
		{"the usual agent", "identityagent SSH_AUTH_SOCK\n", Config{Agent: "SSH_AUTH_SOCK"}},
		{"known hosts", "knownhostscommand /bin/cat %H\n", Config{KnownHosts: "/bin/cat %H"}},
		{"a token's library", "pkcs11provider /lib/p.so\n", Config{PKCS11: "/lib/p.so"}},
	}
	a := Args{Host: "git@forge"}
	for _, tt := range tests {
		got := ParseConfig(tt.output, "/home/u", a, func(name string) string { return env[name] })
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: ParseConfig = %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// ssh does not print "none", but the arguments show it.
func TestParseConfigNoKnownHosts(t *testing.T) {
	a, err := Parse([]string{"-o", "KnownHostsCommand=none", "forge"})
	if err != nil {
		t.Fatal(err)
	}
	if got := ParseConfig("hostname forge\n", "/home/u", a, os.Getenv); got.KnownHosts != "none" {
		t.Errorf("with -o KnownHostsCommand=none ParseConfig = %+v; want KnownHosts none", got)
	}
}

func TestExplicit(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"id":      "-----BEGIN OPENSSH PRIVATE KEY-----\n",
		"old":     "-----BEGIN RSA PRIVATE KEY-----\n",
		"id.pub":  "ssh-ed25519 AAAA u@h\n",
		"empty":   "",
		"dir/x":   "",
		"only.pu": "ssh-ed25519 AAAA u@h\n",
	})
	tests := []struct {
		name   string
		config Config
		want   bool
	}{
		{"nothing", Config{}, false},
		{"a private key", Config{Identities: []string{"none", "id"}}, true},
		{"a private key of the old kind", Config{Identities: []string{"old"}}, true},
		{"a file that is not there", Config{Identities: []string{"gone"}}, false},
		{"a public key", Config{Identities: []string{"id.pub", "only.pu"}}, false},
		{"the name of a key whose public half is there", Config{Identities: []string{"only"}}, false},
		{"an empty file and a directory", Config{Identities: []string{"empty", "dir"}}, false},
		{"a library", Config{PKCS11: "empty"}, true},
		{"a library that is not there", Config{PKCS11: "gone"}, false},
		{"a path not understood", Config{unknown: true}, true},
	}
	for _, tt := range tests {
		for i, path := range tt.config.Identities {
			tt.config.Identities[i] = filepath.Join(dir, path)
		}
		if tt.config.PKCS11 != "" {
			tt.config.PKCS11 = filepath.Join(dir, tt.config.PKCS11)
		}
		if got := tt.config.Explicit(); got != tt.want {
			t.Errorf("%s: Explicit = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestHomeDir(t *testing.T) {
	accounts, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Skip(err)
	}
	t.Setenv("HOME", "/not/the/account's")
	home, err := HomeDir()
	if err != nil || home == "" {
		t.Fatalf("HomeDir() = %q, %v; want a directory", home, err)
	}
	if !strings.Contains(string(accounts), ":"+home+":") && home != os.Getenv("HOME") {
		t.Errorf("HomeDir() = %q, which /etc/passwd does not name", home)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add("identityfile ~/x%h${A}%\nhostname h\nidentityagent $A\n")
	f.Fuzz(func(t *testing.T, output string) {
		c := ParseConfig(output, "/home/u", Args{Host: "u@h"}, func(string) string { return "v" })
		for _, path := range c.Identities {
			if path == marker || path == "none" {
				t.Errorf("ParseConfig(%q) lists %q as an identity", output, path)
			}
		}
	})
}
