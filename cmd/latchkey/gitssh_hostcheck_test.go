package main

import (
	"crypto/ed25519"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestJudgeHost(t *testing.T) {
	right, other := newPublicKey(t), newPublicKey(t)
	line := func(hosts string, key ssh.PublicKey) string { return hosts + " " + authorizedLine(key) + "\n" }
	for _, tt := range []struct{ name, lines, fingerprint, want string }{
		{"no line", "", "", hostUnknown},
		{"of another host", line("elsewhere", other), "", hostUnknown},
		{"another key", line("forge", other), "", hostChanged},
		{"another key of two", line("forge", other) + line("forge", right), "", ""},
		{"revoked", line("forge", other) + line("@revoked *", right), "", ""},
		{"an authority", line("@cert-authority forge", other), "", ""},
		{"another hash", line("forge", other), "MD5:00:11", ""},
		{"a line that is none", "forge\n", "", ""},
	} {
		if tt.fingerprint == "" {
			tt.fingerprint = ssh.FingerprintSHA256(right)
		}
		if got := judgeHost([]byte(tt.lines), "forge", tt.fingerprint); got != tt.want {
			t.Errorf("%s: the lines say %q; want %q", tt.name, got, tt.want)
		}
	}
}

func newPublicKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
