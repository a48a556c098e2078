package knownhost_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/knownhost"
)

// Hosts match as they do for OpenSSH: ssh-keygen -F looks for each name in a file
// with the line.
func TestMatches(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Log("there is no ssh-keygen here to compare with")
	}
	key := ed25519Line(t, 1)
	for _, tt := range []struct {
		hosts, name string
		want        bool
	}{
		{"forge.test", "forge.test", true},
		{"a,forge.test", "Forge.TEST", true},
		{"forge.test", "forge", false},
		{"forge", "forge.test", false},
		{"[forge]:2222", "[forge]:2222", true},
		{"[forge]:2222", "forge", false},
		{"*.test", "git.forge.test", true},
		{"*.test", "test", false},
		{"f*e*t", "forge.test", true},
		{"f*e*x", "forge.test", false},
		{"forge.tes?", "forge.test", true},
		{"forge.test?", "forge.test", false},
		{"forge.test*", "forge.test", true},
		{"*.test,!forge.test", "forge.test", false},
		{"!forge.test,*.test", "git.test", true},
		{"*", "anything", true},
		{"|1|" + "F1E1KeoE/eEWhi10WpGv4OdiO6Y=" + "|" + "3988QV0VE8wmZL7suNrYQLITLCg=", "192.168.1.61", true}, // as in x/crypto's knownhosts
		{"|1|" + "F1E1KeoE/eEWhi10WpGv4OdiO6Y=" + "|" + "3988QV0VE8wmZL7suNrYQLITLCg=", "192.168.1.62", false},
		{"|1|short", "short", false},
	} {
		if got := knownhost.Matches(tt.hosts, tt.name); got != tt.want {
			t.Errorf("Matches(%q, %q) = %v; want %v", tt.hosts, tt.name, got, tt.want)
		}
		if keygen == "" || strings.HasSuffix(tt.hosts, "short") {
			continue
		}
		file := filepath.Join(t.TempDir(), "known_hosts")
		if err := os.WriteFile(file, []byte(tt.hosts+" "+key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(keygen, "-F", strings.ToLower(tt.name), "-f", file).CombinedOutput()
		if found := err == nil && strings.Contains(string(out), "found"); found != tt.want {
			t.Errorf("ssh-keygen -F %s finds %q: %v; want %v", tt.name, tt.hosts, found, tt.want)
		}
	}
}

func TestIsName(t *testing.T) {
	for text, want := range map[string]bool{
		"forge.test": true, "Forge": true, "[forge]:2222": true, "192.0.2.1": true, "::1": true, "a_b": true,
		"": false, "*.test": false, "forge:2222": false, "git@forge": false, "a b": false, "a=SHA256:x": false, "!a": false, "a,b": false, "[a]:22": false, "|1|a|b": false,
	} {
		if got := knownhost.IsName(text); got != want {
			t.Errorf("IsName(%q) = %v; want %v", text, got, want)
		}
	}
}

// What is revoked is no key of the host any more, and nothing is there twice.
func TestKeys(t *testing.T) {
	one, two, three, four := ed25519Line(t, 1), ed25519Line(t, 2), ed25519Line(t, 3), ed25519Line(t, 4)
	lines, err := knownhost.Parse([]byte(strings.Join([]string{
		"forge.test " + one, "*.test " + one, "*.test " + two, "other.test " + three,
		"@cert-authority *.test " + three, "@cert-authority forge.test " + four, "forge.test " + four,
		"@revoked forge.test " + two, "@revoked * " + four, "@revoked other.test " + one,
	}, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	keys, authorities := knownhost.Keys(lines, "forge.test")
	got := ""
	for _, l := range keys {
		got += l.Type + " " + l.String() + "\n"
	}
	if want := "ssh-ed25519 forge.test " + one + "\n"; got != want {
		t.Errorf("the keys of forge.test are\n%s\nwant\n%s", got, want)
	}
	if len(authorities) != 1 || authorities[0].String() != "@cert-authority *.test "+three {
		t.Errorf("the authorities of forge.test are %v; want the third key", authorities)
	}
}

// A key that is revoked for every host is one of this host only if a line says so.
func TestRevocations(t *testing.T) {
	one, two, three := ed25519Line(t, 1), ed25519Line(t, 2), ed25519Line(t, 3)
	lines, err := knownhost.Parse([]byte(strings.Join([]string{
		"forge.test " + one, "@revoked * " + one, "@revoked * " + two, "@revoked *.test " + two, "@revoked other.test " + three, "@revoked " + hashed + " " + three,
	}, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, l := range knownhost.Revocations(lines, "forge.test") {
		got += l.String() + "\n"
	}
	if want := "@revoked * " + one + "\n@revoked *.test " + two + "\n"; got != want {
		t.Errorf("what revokes keys of forge.test is\n%s\nwant\n%s", got, want)
	}
}
