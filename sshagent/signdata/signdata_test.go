package signdata

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func str(s string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func blob(kind string) string { return str(kind) + str("the rest of a key") }

// login makes the data of a login out of its parts.
func login(session string, message byte, user, service, method string, signed byte, algorithm, key string, rest ...string) string {
	return str(session) + string([]byte{message}) + str(user) + str(service) + str(method) + string([]byte{signed}) +
		str(algorithm) + str(key) + strings.Join(rest, "")
}

var good = login("session", 50, "git", "ssh-connection", "publickey", 1, "ssh-ed25519", blob("ssh-ed25519"))

func TestUserAuth(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		want       *UserAuth
	}{
		{"publickey", good,
			&UserAuth{[]byte("session"), "git", "ssh-connection", "publickey", "ssh-ed25519", []byte(blob("ssh-ed25519")), nil}},
		{"bound to a host", login("s", 50, "git", "ssh-connection", HostBound, 1, "rsa-sha2-512", blob("ssh-rsa"), str(blob("ssh-ed25519"))),
			&UserAuth{[]byte("s"), "git", "ssh-connection", HostBound, "rsa-sha2-512", []byte(blob("ssh-rsa")), []byte(blob("ssh-ed25519"))}},
		{"a certificate", login("s", 50, "", "ssh-connection", "publickey", 1, "rsa-sha2-256-cert-v01@openssh.com", blob("ssh-rsa-cert-v01@openssh.com")),
			&UserAuth{[]byte("s"), "", "ssh-connection", "publickey", "rsa-sha2-256-cert-v01@openssh.com", []byte(blob("ssh-rsa-cert-v01@openssh.com")), nil}},
	} {
		got, sig, err := Parse([]byte(tt.data))
		if err != nil || sig != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: Parse = %+v, %+v, %v; want %+v", tt.name, got, sig, err, tt.want)
		}
	}
}

func TestNotUserAuth(t *testing.T) {
	key := blob("ssh-ed25519")
	for name, data := range map[string]string{
		"nothing":                      "",
		"one byte more":                good + "x",
		"one byte less":                good[:len(good)-1],
		"a length that lies":           "\xff\xff\xff\xff" + good[4:],
		"no session":                   login("", 50, "git", "ssh-connection", "publickey", 1, "ssh-ed25519", key),
		"a session too long":           login(strings.Repeat("s", 129), 50, "git", "ssh-connection", "publickey", 1, "ssh-ed25519", key),
		"another message":              login("s", 51, "git", "ssh-connection", "publickey", 1, "ssh-ed25519", key),
		"another service":              login("s", 50, "git", "ssh-userauth", "publickey", 1, "ssh-ed25519", key),
		"a NUL in the user":            login("s", 50, "git\x00root", "ssh-connection", "publickey", 1, "ssh-ed25519", key),
		"hostbased":                    login("s", 50, "git", "ssh-connection", "hostbased", 1, "ssh-ed25519", key),
		"not signed":                   login("s", 50, "git", "ssh-connection", "publickey", 0, "ssh-ed25519", key),
		"signed twice":                 login("s", 50, "git", "ssh-connection", "publickey", 2, "ssh-ed25519", key),
		"another algorithm":            login("s", 50, "git", "ssh-connection", "publickey", 1, "rsa-sha2-512", key),
		"a key without a type":         login("s", 50, "git", "ssh-connection", "publickey", 1, "", ""),
		"host-bound without host":      login("s", 50, "git", "ssh-connection", HostBound, 1, "ssh-ed25519", key),
		"host-bound to nothing":        login("s", 50, "git", "ssh-connection", HostBound, 1, "ssh-ed25519", key, str("")),
		"bound to a host all the same": login("s", 50, "git", "ssh-connection", "publickey", 1, "ssh-ed25519", key, str(key)),
	} {
		if auth, sig, err := Parse([]byte(data)); !errors.Is(err, ErrUnknown) || auth != nil || sig != nil {
			t.Errorf("%s: Parse = %+v, %+v, %v; want ErrUnknown", name, auth, sig, err)
		}
	}
}

func TestSSHSIG(t *testing.T) {
	sha256, sha512 := strings.Repeat("h", 32), strings.Repeat("h", 64)
	signature := func(namespace, reserved, algorithm, hash string) string {
		return "SSHSIG" + str(namespace) + str(reserved) + str(algorithm) + str(hash)
	}
	for _, algorithm := range []string{"sha256", "sha512"} {
		hash := map[string]string{"sha256": sha256, "sha512": sha512}[algorithm]
		auth, got, err := Parse([]byte(signature("git", "", algorithm, hash)))
		want := &SSHSIG{"git", algorithm, []byte(hash)}
		if err != nil || auth != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Parse = %+v, %+v, %v; want %+v", auth, got, err, want)
		}
	}
	for name, data := range map[string]string{
		"the magic alone":        "SSHSIG",
		"one byte more":          signature("git", "", "sha256", sha256) + "x",
		"no namespace":           signature("", "", "sha256", sha256),
		"a NUL in it":            signature("git\x00", "", "sha256", sha256),
		"something reserved":     signature("git", "x", "sha256", sha256),
		"an unknown hash":        signature("git", "", "md5", sha256[:16]),
		"a hash of another size": signature("git", "", "sha512", sha256),
		"a file's text":          "SSHSIG is how this text begins",
	} {
		if auth, sig, err := Parse([]byte(data)); err == nil || auth != nil || sig != nil {
			t.Errorf("%s: Parse = %+v, %+v, %v; want an error", name, auth, sig, err)
		}
	}
	if _, err := ParseSSHSIG([]byte(good)); err == nil {
		t.Error("ParseSSHSIG takes a login")
	}
	if _, err := ParseUserAuth([]byte(signature("git", "", "sha256", sha256))); err == nil {
		t.Error("ParseUserAuth takes an SSHSIG")
	}
}

// FuzzParse holds what is read against the data: there is one reading only.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(login("s", 50, "git", "ssh-connection", HostBound, 1, "rsa-sha2-512", blob("ssh-rsa"), str(blob("ssh-ed25519")))))
	f.Add([]byte("SSHSIG" + str("git") + str("") + str("sha256") + str(strings.Repeat("h", 32))))
	// What is to be refused.
	f.Add([]byte(good + "x"))
	f.Add([]byte(login("s", 50, "git", "ssh-connection", "publickey", 2, "ssh-ed25519", blob("ssh-ed25519"))))
	f.Add([]byte("SSHSIG" + str("git") + str("x") + str("sha256") + str(strings.Repeat("h", 32))))
	f.Add([]byte("SSHSIG" + str("git") + str("") + str("sha256") + str(strings.Repeat("h", 32)) + "x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		auth, sig, err := Parse(data)
		if (err == nil) != (auth != nil || sig != nil) || auth != nil && sig != nil {
			t.Fatalf("Parse = %+v, %+v, %v", auth, sig, err)
		}
		var again string
		switch {
		case err != nil:
			return
		case sig != nil:
			again = "SSHSIG" + str(sig.Namespace) + str("") + str(sig.HashAlgorithm) + str(string(sig.Hash))
		default:
			var rest []string
			if auth.Method == HostBound {
				rest = []string{str(string(auth.HostKey))}
			}
			again = login(string(auth.SessionID), 50, auth.User, auth.Service, auth.Method, 1, auth.Algorithm, string(auth.Key), rest...)
		}
		if !bytes.Equal([]byte(again), data) {
			t.Errorf("%q reads as %q", data, again)
		}
	})
}
