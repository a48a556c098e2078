package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A key that its policy keeps from a host is not offered to it, with a daemon and
// without, and the user hears why.
func TestGitSSHPolicy(t *testing.T) {
	withAndWithoutDaemon(t, nil, func(t *testing.T, s *stage) {
		other := startSSHD(t, nil)
		other.Authorize(t, s.user.publicKey(t))
		s.Reaches(t, s.sshd.host("forge"), other.host("other"))
		hosts := []api.KeyHost{{Name: "forge", Fingerprint: fingerprintOf(t, s.sshd.HostKey)}}
		if _, err := s.user.UpdateKey(t.Context(), api.Me, api.DefaultKey, api.UpdateKeyRequest{Hosts: &hosts}); err != nil {
			t.Fatal(err)
		}
		s.Run(t, "git", "ls-remote", s.url())
		out, err := s.Try(t, "git", "ls-remote", "other:"+other.Repository(t, "app"))
		want := "Permission denied (publickey).\r\nlatchkey: hint: other was not offered your key: the key logs in to forge only, not to the host with the key " + fingerprintOf(t, other.HostKey)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("git ls-remote of a host that the key is not for: %v\n%s\nwant in it\n%s", err, out, want)
		}
		if offered := offeredTo(t, other); len(offered) > 0 {
			t.Errorf("that host was offered %v", offered)
		}
		if n := s.server.fetches(t); n != 1 {
			t.Errorf("%d private keys were fetched; want one, for the host that it is for", n)
		}
	})
}

// Who added a key for other hosts hears that it was not offered, beside what is to be
// done for the managed one, and status says it too.
func TestGitSSHAddedForOtherHosts(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	file, own := s.ownKey(t, "own")
	s.sshd.Authorize(t, own)
	_, elsewhere := newKey(t)
	hosts := s.Write(t, "hosts", "elsewhere "+elsewhere)
	s.Run(t, "ssh-add", "-q", "-H", hosts, "-h", "elsewhere", file)
	out, err := s.Try(t, "git", "ls-remote", s.url())
	why := "the key is not for this way (ssh-add -h): hop 1, to the host with the key " + fingerprintOf(t, s.sshd.HostKey)
	want := "latchkey: hint: forge was not offered " + fingerprintOf(t, own) + " " + file + ", which was added: " + why + "\n" +
		"latchkey: hint: forge does not know your key: add this line to your account there\n" + s.user.publicKey(t) + "\n"
	if err == nil || !strings.Contains(out, want) {
		t.Errorf("git ls-remote: %v\n%s\nwant in it\n%s", err, out, want)
	}
	if out := s.Run(t, "latchkey", "status"); !strings.Contains(out, fingerprintOf(t, own)+" "+file+": "+why+"\n") {
		t.Errorf("latchkey status does not say that a key was kept back:\n%s", out)
	}
}

// A locked agent offers nothing, which looks as if there were no key.
func TestGitSSHLocked(t *testing.T) {
	s := newStage(t)
	s.StartDaemon(t)
	s.lock(t)
	out, err := s.Try(t, "git", "ls-remote", s.url())
	const want = "latchkey: warning: your key cannot be had, ssh goes on with your own: the agent of the workspace daemon is locked (ssh-add -X unlocks it)"
	if lines := ownLines(out); err == nil || len(lines) != 1 || lines[0] != want {
		t.Errorf("git ls-remote: %v, %q; want one line, %q\n%s", err, lines, want, out)
	}
}

// That one of two keys was kept from a host is not why the host lets nobody in: it
// does not know the other.
func TestGitSSHPolicyOfOneKey(t *testing.T) {
	withAndWithoutDaemon(t, nil, func(t *testing.T, s *stage) {
		if _, err := s.user.CreateKey(t.Context(), api.Me, api.CreateKeyRequest{Name: "work"}); err != nil {
			t.Fatal(err)
		}
		_, elsewhere := newKey(t)
		hosts := []api.KeyHost{{Name: "elsewhere", Fingerprint: fingerprintOf(t, elsewhere)}}
		if _, err := s.user.UpdateKey(t.Context(), api.Me, "work", api.UpdateKeyRequest{Hosts: &hosts}); err != nil {
			t.Fatal(err)
		}
		s.sshd.Authorize(t)
		out, err := s.Try(t, "git", "ls-remote", s.url())
		want := "latchkey: hint: forge does not know your key: add this line to your account there\n" + s.user.publicKey(t) + "\n"
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("git ls-remote: %v\n%s\nwant in it\n%s", err, out, want)
		}
	})
}

// A key of one's own can be held to a host that only the key server knows: ssh-add reads
// files alone, and known-hosts-command prints one.
func TestSSHAddForAHostOfTheServer(t *testing.T) {
	s := newStranger(t)
	s.StartDaemon(t)
	file, own := s.ownKey(t, "own")
	s.sshd.Authorize(t, own)
	name := fmt.Sprintf("[forge.example]:%d", s.sshd.Port)
	s.server.knows(t, name+" "+s.sshd.HostKey, "forge "+s.sshd.HostKey)
	s.awaits(t, "forge")
	if out, err := s.Try(t, "ssh-add", "-q", "-h", name, file); err == nil || !strings.Contains(out, "No host keys found for destination") {
		t.Errorf("ssh-add -h of a host that no file has: %v\n%s", err, out)
	}
	known := s.Write(t, "kh", s.Run(t, "latchkey", "known-hosts-command"))
	s.Run(t, "ssh-add", "-q", "-H", known, "-h", name, file)
	if out, err := s.Try(t, "git", "ls-remote", s.url()); err != nil {
		t.Errorf("git ls-remote of the host that the key is for: %v\n%s", err, out)
	}
}
