package knownhost_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/knownhost"
)

// line is a public key as "TYPE BASE64".
func line(t testing.TB, public any) string {
	t.Helper()
	k, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}

// ed25519Line is one whose bytes are all b.
func ed25519Line(t testing.TB, b byte) string {
	return line(t, ed25519.PublicKey(bytes.Repeat([]byte{b}, ed25519.PublicKeySize)))
}

func rsaLine(t testing.TB, bits uint) string {
	n := new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1)
	return line(t, &rsa.PublicKey{N: n, E: 65537})
}

const hashed = "|1|AAAAAAAAAAAAAAAAAAAAAAAAAAA=|AQEBAQEBAQEBAQEBAQEBAQEBAQE="

func TestParse(t *testing.T) {
	key := ed25519Line(t, 1)
	point, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ text, want string }{
		{"forge.test " + key, "forge.test " + key},
		{"# a comment\n\n \t\nforge.test\t" + key + " of the forge \r\n", "forge.test " + key + " of the forge"},
		{"\ufeffForge.TEST,[127.0.0.1]:2222,::1,fe80::1%eth0 " + key, "forge.test,[127.0.0.1]:2222,::1,fe80::1%eth0 " + key},
		{"*.test,!bad.test,h?st,[::1]:2222,[*.test]:22*,under_score " + key, "*.test,!bad.test,h?st,[::1]:2222,[*.test]:22*,under_score " + key},
		{hashed + " " + key, hashed + " " + key},
		{"@cert-authority * " + key, "@cert-authority * " + key},
		{"@revoked  *  " + key, "@revoked * " + key},
		{"a " + rsaLine(t, 1024), "a " + rsaLine(t, 1024)},
		{"a " + line(t, point.Public()), "a " + line(t, point.Public())},
		{"", ""},
		{"# nothing", ""},
	}
	for _, tt := range tests {
		lines, err := knownhost.Parse([]byte(tt.text))
		var got []string
		for _, l := range lines {
			got = append(got, l.String())
		}
		if err != nil || strings.Join(got, "\n") != tt.want {
			t.Errorf("Parse(%q) = %q, %v; want %q", tt.text, got, err, tt.want)
		}
	}
	lines, err := knownhost.Parse([]byte("\n\nforge " + key))
	if err != nil || lines[0].Number != 3 || !strings.HasPrefix(lines[0].Fingerprint(), "SHA256:") {
		t.Errorf("Parse = %+v, %v", lines, err)
	}
}

func TestParseRefuses(t *testing.T) {
	key := ed25519Line(t, 1)
	keyType, blob, _ := strings.Cut(key, " ")
	whole, err := base64.StdEncoding.DecodeString(blob)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	certificate := &ssh.Certificate{Key: signer.PublicKey(), CertType: ssh.HostCert}
	if err := certificate.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
	certLine := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(certificate)))
	tests := []struct{ text, want string }{
		{"forge " + keyType, "line 1: is not of the form"},
		{"forge", "is not of the form"},
		{key, "is not of the form"},
		{"@revoked " + key, "is not of the form"},
		{"@CA forge " + key, "the marker @CA is not known"},
		{"forge ssh-dss " + blob, "DSA"},
		{"forge ssh-foo " + blob, "the key type ssh-foo is not known"},
		{"forge ssh-rsa " + blob, "says ssh-rsa, but the key is of type ssh-ed25519"},
		{"forge 1024 65537 12345", "version 1 of SSH"},
		{"forge " + certLine, "a certificate in the place of a key"},
		{"forge " + keyType + " " + blob[:40], "not whole"},
		{"forge " + keyType + " " + blob[:40] + "!", "not base64"},
		{"forge " + keyType + " " + base64.StdEncoding.EncodeToString(append(whole, 0)), "not an SSH public key"},
		{"forge " + rsaLine(t, 1023), "1023 bits"},
		{"* " + key, "makes one key that of every host"},
		{"a,*.* " + key, "makes one key that of every host"},
		{"[*]:* " + key, "makes one key that of every host"},
		{"!a,!b " + key, "only says which hosts are not meant"},
		{"a,,b " + key, "a host is empty"},
		{"a,! " + key, "a host is empty"},
		{"forge:2222 " + key, "would never match"},
		{"[forge]:22 " + key, "would never match"},
		{"[forge] " + key, "not of the form [HOST]:PORT"},
		{"[forge]:0 " + key, "not a number from 1 to 65535"},
		{"[forge]:022 " + key, "not a number from 1 to 65535"},
		{"[forge]:65536 " + key, "not a number from 1 to 65535"},
		{"[]:2222 " + key, "not of the form [HOST]:PORT"},
		{"git@forge " + key, "no host name has"},
		{"fo\"rge " + key, "no host name has"},
		{"förge " + key, "no host name has"},
		{"for\x1bge " + key, "not printable"},
		{"forge " + key + " a\u202eb", "not printable"},
		{"|1|AAAA|AAAA " + key, "the hashed host is not whole"},
		{"|2|AAAA " + key, "not of the form |1|SALT|HASH"},
		{hashed + ",b " + key, "hashed host is not"},
		{"forge " + key + " " + strings.Repeat("x", 256), "the comment has 256 bytes"},
		{strings.Repeat("a", 1025) + " " + key, "the hosts have 1025 bytes"},
		{"a " + key + "\n\na " + key + " comment", "line 3: says the same as line 1"},
		{"a\xff " + key, "not valid UTF-8"},
		{strings.Repeat("#", knownhost.MaxContent+1), "at most 262144 are allowed"},
		{"forge\nb " + key + "\n[c]:22 " + key, "line 1: is not of the form [@MARKER] HOSTS KEY-TYPE KEY [COMMENT]; line 3: "},
	}
	for _, tt := range tests {
		lines, err := knownhost.Parse([]byte(tt.text))
		var e *knownhost.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Parse(%.80q) = %d lines, %v; want an error with %q", tt.text, len(lines), err, tt.want)
		}
	}
}

func TestParseBounds(t *testing.T) {
	var file strings.Builder
	key := ed25519Line(t, 1)
	for i := range knownhost.MaxLines + 1 {
		fmt.Fprintf(&file, "h%d %s\n", i, key)
	}
	if _, err := knownhost.Parse([]byte(file.String())); err == nil || !strings.Contains(err.Error(), "line 1001: the file holds more than 1000 lines") {
		t.Errorf("a file of 1001 lines: %v", err)
	}
}

func TestMayMatch(t *testing.T) {
	for _, tt := range []struct {
		hosts, name string
		want        bool
	}{
		{"forge.test", "forge.test", true},
		{"a,Forge.test", "forge.TEST", true},
		{"forge.test", "forge", false},
		{"forge", "forge.test", false},
		{"[forge]:2222", "[forge]:2222", true},
		{"[forge]:2222", "forge", false},
		{"*.test", "other", true}, // for ssh to say
		{"!forge,a", "b", true},
		{hashed, "anything", true},
	} {
		if got := knownhost.MayMatch(tt.hosts, tt.name); got != tt.want {
			t.Errorf("MayMatch(%q, %q) = %v; want %v", tt.hosts, tt.name, got, tt.want)
		}
	}
}

// What is taken is taken again as it is written, and says the same.
func FuzzParse(f *testing.F) {
	key := ed25519Line(f, 1)
	f.Add("forge.test " + key + " comment")
	f.Add("@revoked * " + key + "\n" + "@cert-authority *.test,!a.test " + key)
	f.Add(hashed + " " + key + "\n[::1]:22 x")
	f.Add("a " + rsaLine(f, 2048))
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := knownhost.Parse([]byte(text))
		for _, l := range lines {
			again, err := knownhost.Parse([]byte(l.String() + "\n"))
			if err != nil || len(again) != 1 || !again[0].Same(l) || again[0].Comment != l.Comment || again[0].Type != l.Type {
				t.Errorf("%q became %+v, %v", l, again, err)
			}
			if l.Fingerprint() == "" || strings.ContainsAny(l.String(), "\r\n") {
				t.Errorf("%q has the fingerprint %q", l, l.Fingerprint())
			}
		}
		var e *knownhost.Error
		if err != nil && (!errors.As(err, &e) || len(e.Problems) == 0 || len(lines) > 0) {
			t.Errorf("Parse(%q) = %v, %v", text, lines, err)
		}
	})
}
