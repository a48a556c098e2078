package sshd

import (
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/lograte"
)

// Whose login is refused finds out why, and which key it was that is not known
// here, in one line.
func TestRefusal(t *testing.T) {
	key, one, two := newSigner(t), newSigner(t), newSigner(t)
	name := func(signers ...ssh.Signer) string {
		var names []string
		for _, k := range signers {
			names = append(names, ssh.FingerprintSHA256(k.PublicKey()))
		}
		return strings.Join(names, " ")
	}
	var seven []ssh.Signer
	for range maxAuthTries + 1 {
		seven = append(seven, newSigner(t))
	}
	for _, c := range []struct {
		what, user string
		methods    []ssh.AuthMethod
		want       string // of the line
	}{
		{"two keys", "alice", []ssh.AuthMethod{ssh.PublicKeys(one, two)}, `user=alice keys="` + name(one, two) + `" remote=127.0.0.1:1 why="may not log in"`},
		{"another user", "root", []ssh.AuthMethod{ssh.PublicKeys(key)}, `user=root keys=` + name(key) + ` remote=127.0.0.1:1 why="may not log in"`},
		{"more keys than may be tried", "alice", []ssh.AuthMethod{ssh.PublicKeys(seven...)}, `user=alice keys="` + name(seven[:maxAuthTries]...) + `" remote=127.0.0.1:1 why="may not log in"`},
		{"a key that is another's", "alice", []ssh.AuthMethod{ssh.PublicKeys(forger{key.PublicKey(), one})}, `user=alice keys=` + name(key) + ` remote=127.0.0.1:1 why="the client has not proved that it has the private key"`},
		{"no key", "alice", nil, `user=alice keys="" remote=127.0.0.1:1 why="the client has shown no key"`},
		{"a password", "alice", []ssh.AuthMethod{ssh.Password("hunter2")}, `user=alice keys="" remote=127.0.0.1:1 why="the client has shown no key"`},
		{"a certificate", "alice", []ssh.AuthMethod{ssh.PublicKeys(certify(t, key))}, `user=alice keys=` + name(key) + ` remote=127.0.0.1:1 why="certificates are not taken"`},
		{"an escape and a line", "\x1b[2J\nlevel=INFO", []ssh.AuthMethod{ssh.PublicKeys(one)}, `user="\x1b[2J\nlevel=INFO" keys=` + name(one) + ` remote=127.0.0.1:1 why="may not log in"`},
		{"a long name", strings.Repeat("a", 20_000), []ssh.AuthMethod{ssh.PublicKeys(one)}, `user=` + strings.Repeat("a", maxToldUser) + ` keys=` + name(one) + ` remote=127.0.0.1:1 why="may not log in"`},
	} {
		var told []Refusal
		s := start(t, func(s *Server) { s.Refused = func(r Refusal) { told = append(told, r) } })
		s.key = key
		if client, err := s.try(c.user, c.methods...); err == nil {
			client.Close()
			t.Errorf("%s: logged in", c.what)
		}
		s.stop() // it has told all then
		if got := s.refusals(); len(got) != 1 || got[0] != c.want {
			t.Errorf("%s: the log says\n%s\nwant\n%s", c.what, strings.Join(got, "\n"), c.want)
		}
		var keys []string // what the status is for
		for _, r := range told {
			keys = append(keys, r.Keys...)
		}
		if want := regexp.MustCompile(`SHA256:[^ "]+`).FindAllString(c.want, -1); !slices.Equal(keys, want) || (len(told) > 0) != (len(want) > 0) {
			t.Errorf("%s: who is told of refusals hears of %+v; want the keys %v", c.what, told, want)
		}
	}
	// A key that is not known, before one that is, is no refusal; nor is a port scan.
	s := start(t, nil)
	scan, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	scan.Close()
	client, err := s.try("alice", ssh.PublicKeys(one, s.key))
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	s.stop()
	if got := s.refusals(); len(got) != 0 {
		t.Errorf("of those, the log says\n%s", strings.Join(got, "\n"))
	}
	wantLog(t, s.log, `msg="SSH connection ended" user=alice key=`+name(s.key)+` name=laptop remote=127.0.0.1:`)
}

// A key that is taken away between the two times that it is judged was refused.
func TestRefusalAtLast(t *testing.T) {
	var asked atomic.Int32
	s := start(t, func(s *Server) {
		s.Authorized = func(string, ssh.PublicKey) (string, error) {
			if asked.Add(1) > 1 {
				return "", fmt.Errorf("%w: taken away", ErrRefused)
			}
			return "laptop", nil
		}
	})
	if client, err := s.try("alice", ssh.PublicKeys(s.key)); err == nil {
		client.Close()
		t.Error("logged in")
	}
	s.stop()
	wantLog(t, s.log, `why="may not log in: taken away"`)
}

var refusalLine = regexp.MustCompile(`(?m)level=WARN msg="SSH login refused" (.*)$`)

// refusals are the lines of the log on refused logins, with port 1.
func (s *site) refusals() (lines []string) {
	for _, m := range refusalLine.FindAllStringSubmatch(s.log.String(), -1) {
		lines = append(lines, regexp.MustCompile(`(remote=127\.0\.0\.1):\d+`).ReplaceAllString(m[1], "$1:1"))
	}
	return lines
}

// Strangers do not fill the log, and what tries no keys does not keep out of it
// whose key is not known.
func TestRefusalRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in which no time goes by
		s := &site{log: &buffer{}}
		s.Server = &Server{Log: slog.New(slog.NewTextHandler(s.log, nil))}
		for range 3 * lograte.PerMinute {
			s.refused(Refusal{User: "admin", Remote: "192.0.2.1:22", Why: "no key"})
		}
		s.refused(Refusal{User: "alice", Keys: []string{"SHA256:a"}, Remote: "192.0.2.1:22", Why: "not known"})
		got := s.refusals()
		if len(got) != lograte.PerMinute+1 || !strings.Contains(got[lograte.PerMinute], "SHA256:a") {
			t.Errorf("the log has %d lines, the last %q; want %d and the key", len(got), got[len(got)-1], lograte.PerMinute+1)
		}
	})
}
