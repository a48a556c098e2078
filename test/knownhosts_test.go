package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keyserver/api"
)

// What ssh says of a host's key.
const (
	unknownHost = "Host key verification failed."
	changedHost = "REMOTE HOST IDENTIFICATION HAS CHANGED"
	revokedHost = "REVOKED HOST KEY DETECTED"
)

// What latchkey says to it, of a host that it knows as forge.
const (
	unknownHint = `if ssh does not accept the key of forge: the key server knows none of that host, an admin can add it for all workspaces, "latchkey known-host add forge KEY"; at a terminal, ssh asks about a host that is new to it`
	changedHint = `if ssh does not accept the key of forge: the key server knows that host by another one ("latchkey known-host list"); if the new one is right, an admin changes that line, which is in no file here for "ssh-keygen -R" to change`
)

// newStranger sets a stage on which the workspace's user knows no host.
func newStranger(t testing.TB) *stage {
	t.Helper()
	s := newStage(t)
	s.forgets(t)
	return s
}

// forgets removes what the user knows of hosts.
func (w *workspace) forgets(t testing.TB) {
	t.Helper()
	if err := os.Remove(filepath.Join(w.Home, ".ssh/known_hosts")); err != nil {
		t.Fatal(err)
	}
}

// knows lets the server distribute known hosts.
func (s *server) knows(t testing.TB, lines ...string) {
	t.Helper()
	if _, err := s.Admin.AddKnownHosts(t.Context(), api.AddKnownHostsRequest{Content: strings.Join(lines, "\n")}); err != nil {
		t.Fatal(err)
	}
}

// certify gives the sshd a certificate for a host's name, and returns the
// authority's public key.
func (s *sshd) certify(t testing.TB, name string) (authority string) {
	t.Helper()
	keygen := need(t, "ssh-keygen")
	private, authority := newKey(t)
	ca, host := filepath.Join(s.Dir, "ca"), filepath.Join(s.Dir, "host_key")
	writeFile(t, ca, private, 0o600)
	writeFile(t, host+".pub", []byte(s.HostKey+"\n"), 0o644)
	if out, err := exec.Command(keygen, "-q", "-s", ca, "-I", "host", "-h", "-n", name, host+".pub").CombinedOutput(); err != nil {
		t.Fatalf("certifying a host's key: %v\n%s", err, out)
	}
	config := filepath.Join(s.Dir, "sshd_config")
	writeFile(t, config, []byte(readFile(t, config)+"HostCertificate "+host+"-cert.pub\n"), 0o600)
	return authority
}

// A first clone in a home that knows no host.
func TestKnownHosts(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*testing.T, *stage) // before a daemon starts
		want string                   // of ssh; "": success
		hint string                   // of latchkey, behind it
	}{
		{"known", func(t *testing.T, s *stage) { s.server.knows(t, "forge "+s.sshd.HostKey) }, "", ""},
		{"unknown", func(t *testing.T, s *stage) { s.server.knows(t, "other "+s.sshd.HostKey) }, unknownHost, unknownHint},
		{"known by another key", func(t *testing.T, s *stage) {
			_, other := newKey(t)
			s.server.knows(t, "forge "+other)
		}, changedHost, changedHint},
		{"known by a pattern and a hash", func(t *testing.T, s *stage) {
			file := s.Write(t, "hosts", "forge "+s.sshd.HostKey+"\n")
			s.Run(t, "ssh-keygen", "-q", "-H", "-f", file)
			_, other := newKey(t)
			s.server.knows(t, "*.test,!forge "+other, strings.TrimSpace(readFile(t, file)))
		}, "", ""},
		{"revoked", func(t *testing.T, s *stage) {
			s.server.knows(t, "forge "+s.sshd.HostKey, "@revoked * "+s.sshd.HostKey)
		}, revokedHost, ""},
		{"revoked, but known to the user", func(t *testing.T, s *stage) {
			s.Write(t, ".ssh/known_hosts", "forge "+s.sshd.HostKey+"\n")
			s.server.knows(t, "@revoked * "+s.sshd.HostKey)
		}, revokedHost, ""},
		{"known to the user alone", func(t *testing.T, s *stage) {
			s.Write(t, ".ssh/known_hosts", "forge "+s.sshd.HostKey+"\n")
		}, "", ""},
		{"certified", func(t *testing.T, s *stage) { s.server.knows(t, "@cert-authority for* "+s.sshd.certify(t, "forge")) }, "", ""},
		{"certified for another name", func(t *testing.T, s *stage) {
			s.server.knows(t, "@cert-authority for* "+s.sshd.certify(t, "other"))
		}, unknownHost, ""},
		{"certified by another authority", func(t *testing.T, s *stage) {
			s.sshd.certify(t, "forge")
			_, other := newKey(t)
			s.server.knows(t, "@cert-authority for* "+other)
		}, unknownHost, ""},
		{"the user has a command of their own", func(t *testing.T, s *stage) {
			s.server.knows(t, "forge "+s.sshd.HostKey)
			s.Reaches(t, s.sshd.host("forge", "KnownHostsCommand /bin/true"))
			s.forgets(t)
		}, unknownHost, ""},
		{"the user wants none", func(t *testing.T, s *stage) {
			s.server.knows(t, "forge "+s.sshd.HostKey)
			s.Setenv("GIT_SSH_COMMAND", s.Getenv("GIT_SSH_COMMAND")+" -o KnownHostsCommand=none")
		}, unknownHost, ""},
	} {
		for _, daemon := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, daemon %t", tt.name, daemon), func(t *testing.T) {
				s := newStranger(t)
				tt.set(t, s)
				if daemon {
					s.StartDaemon(t)
				}
				out, err := s.Try(t, "git", "clone", "-q", s.url(), "app")
				var own []string
				switch {
				case tt.want == revokedHost: // which is all that ssh says, and not that it is the server who has
					own = append(own, "latchkey: hint: the key that forge shows is revoked by the server's known hosts: @revoked * ssh-ed25519 "+fingerprintOf(t, s.sshd.HostKey))
				case tt.hint != "":
					own = append(own, "latchkey: hint: "+tt.hint)
				}
				if (err == nil) != (tt.want == "") || !strings.Contains(out, tt.want) || !slices.Equal(ownLines(out), own) {
					t.Errorf("git clone: %v; want %q of ssh, and %q of latchkey:\n%s", err, tt.want, own, out)
				}
				if _, err := os.Stat(filepath.Join(s.Home, "app/.git")); (err == nil) != (tt.want == "") {
					t.Errorf("the clone: %v", err)
				}
				s.leavesNothing(t)
			})
		}
	}
}

// The hops of a ProxyJump are checked as the host is: where one is not known, its
// key is not asked for.
func TestKnownHostsOfHops(t *testing.T) {
	for _, known := range []bool{true, false} {
		withAndWithoutDaemon(t, nil, func(t *testing.T, s *stage) {
			hop := startSSHD(t, nil)
			hop.Authorize(t, s.user.publicKey(t))
			s.Reaches(t, s.sshd.host("behind", "ProxyJump hop"), hop.host("hop"))
			s.forgets(t)
			s.server.knows(t, "behind "+s.sshd.HostKey)
			s.awaits(t, "behind")
			if known {
				s.server.knows(t, "hop "+hop.HostKey)
				s.awaits(t, "hop")
			}
			out, err := s.Try(t, "git", "ls-remote", "behind:"+s.repo)
			var own []string
			if !known { // by the hop's helper: the other one has come to no host
				own = append(own, "latchkey: hint: "+strings.ReplaceAll(unknownHint, "forge", "hop"))
			}
			if (err == nil) != known || !known && !strings.Contains(out, unknownHost) || !slices.Equal(ownLines(out), own) {
				t.Errorf("git ls-remote over a hop that is known %t: %v; want %q of latchkey\n%s", known, err, own, out)
			}
			s.leavesNothing(t)
		})
	}
}

// awaits returns when the workspace's known hosts have one of the name: a daemon
// asks for changes once a second.
func (w *workspace) awaits(t testing.TB, name string) {
	t.Helper()
	for begin := time.Now(); !strings.Contains(w.Run(t, "latchkey", "known-hosts-command"), name+" "); {
		if time.Since(begin) > patience {
			t.Fatalf("the workspace is never told of the host %s", name)
		}
	}
}

// While the server is away the daemon's last list serves; where there is none,
// the user's own files do, and if they do not either it is said why.
func TestKnownHostsServerAway(t *testing.T) {
	withAndWithoutDaemon(t, nil, func(t *testing.T, s *stage) {
		s.forgets(t)
		s.sshd.Authorize(t, s.ownAgent(t, 1)...)
		s.server.knows(t, "forge "+s.sshd.HostKey)
		daemon := strings.HasSuffix(t.Name(), "/daemon")
		if daemon {
			s.awaits(t, "forge")
		}
		s.server.stop(t)
		out, err := s.Try(t, "git", "ls-remote", s.url())
		said := strings.Contains(out, "latchkey: warning: known hosts can't be had: ")
		if (err == nil) != daemon || said == daemon || !daemon && !strings.Contains(out, unknownHost) {
			t.Errorf("git ls-remote while the server is away: %v\n%s", err, out)
		}
		s.Write(t, ".ssh/known_hosts", "forge "+s.sshd.HostKey+"\n")
		if out, err := s.Try(t, "git", "ls-remote", s.url()); err != nil || strings.Contains(out, "known hosts") {
			t.Errorf("git ls-remote of a host that the user knows, while the server is away: %v\n%s", err, out)
		}
	})
}

// An ssh that is too old for it is not given the option, and the user is told.
func TestKnownHostsOldSSH(t *testing.T) {
	s := newStranger(t)
	s.StartDaemon(t)
	old := s.Write(t, "old-ssh", `#!/bin/sh
case "$*" in
-V) echo OpenSSH_8.4p1 Debian-5 >&2; exit ;;
*KnownHostsCommand*) echo "Bad configuration option: knownhostscommand" >&2; exit 255 ;;
esac
exec `+need(t, "ssh")+` "$@"
`)
	if err := os.Chmod(old, 0o755); err != nil {
		t.Fatal(err)
	}
	s.Setenv("LATCHKEY_SSH", old)
	s.server.knows(t, "forge "+s.sshd.HostKey)
	s.awaits(t, "forge")
	const hint = "latchkey: hint: this is OpenSSH 8.4, which can't be told of known hosts: add them to your own, latchkey known-hosts-command >> ~/.ssh/known_hosts"
	for range 2 { // the second time the version is remembered
		out, err := s.Try(t, "git", "ls-remote", s.url())
		if err == nil || !strings.Contains(out, unknownHost) || !slices.Contains(ownLines(out), hint) {
			t.Errorf("with an old ssh: %v; want ssh's refusal and %q:\n%s", err, hint, out)
		}
	}
	s.Write(t, ".ssh/known_hosts", s.Run(t, "latchkey", "known-hosts-command"))
	if out := s.Run(t, "git", "ls-remote", s.url()); len(ownLines(out)) > 0 {
		t.Errorf("when that was done it still says %q", ownLines(out))
	}
}

// Plain ssh goes by them too, if its configuration says so.
func TestKnownHostsPlainSSH(t *testing.T) {
	s := newStranger(t)
	s.StartDaemon(t)
	private, public := newKey(t)
	s.sshd.Authorize(t, public)
	s.server.knows(t, "forge "+s.sshd.HostKey)
	s.awaits(t, "forge")
	config := s.Reaches(t, s.sshd.host("forge", "IdentityFile "+s.Write(t, "id", string(private)),
		"KnownHostsCommand "+program(t, "latchkey")+" known-hosts-command %I %H"))
	s.forgets(t)
	s.Run(t, "ssh", "-F", config, "forge", "true")
	s.server.stop(t)
	s.Run(t, "ssh", "-F", config, "forge", "true")
	s.Setenv("LATCHKEY_RUNTIME_DIR", s.Dir+"/none")
	out, err := s.Try(t, "ssh", "-F", config, "forge", "true")
	if err == nil || !strings.Contains(out, unknownHost) || strings.Count(out, "latchkey: warning: the known hosts can't be had") != 1 {
		t.Errorf("ssh without a daemon and a server: %v; want ssh's refusal and one warning:\n%s", err, out)
	}
}

// Where there is no workspace, the user's login has the server's known hosts, for
// plain ssh as configured and for the helper.
func TestKnownHostsByLogin(t *testing.T) {
	s, host := startServer(t, nil), startSSHD(t, nil)
	u := s.newUser(t, "ada", nil)
	w := u.newWorkspace(t, "unused", nil)
	s.knows(t, "forge "+host.HostKey)
	private, public := newKey(t)
	host.Authorize(t, public)
	own := w.Write(t, "own", string(private))
	w.Env = without(w.Env, "LATCHKEY_TOKEN_FILE=")
	w.Setenv("LATCHKEY_SESSION_TOKEN", u.Token)
	w.Setenv("SSH_AUTH_SOCK", "")
	config := w.Reaches(t, host.host("forge", "IdentityFile "+own, "GlobalKnownHostsFile none"))
	w.forgets(t)
	if out, err := w.Try(t, "ssh", "-F", config, "forge", "true"); err == nil {
		t.Fatalf("a host that nobody knows was taken:\n%s", out)
	}
	w.Run(t, "latchkey", "gitssh", "--", "-F", config, "forge", "true")
	w.Write(t, ".ssh/config", readFile(t, config)+"Host *\n\tKnownHostsCommand "+program(t, "latchkey")+" known-hosts-command %I %H\n")
	w.Run(t, "ssh", "-F", config, "forge", "true")
	w.Run(t, "latchkey", "gitssh", "--", "-F", config, "forge", "true")
}
