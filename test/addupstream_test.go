package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// skDummy is the library of a security key that is none, of OpenSSH's tests.
const skDummy = "/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so"

// softHSM is the library of a smartcard that is none.
func softHSM(t *testing.T) string {
	t.Helper()
	need(t, "softhsm2-util")
	found, err := filepath.Glob("/usr/lib/*/softhsm/libsofthsm2.so")
	if err != nil || len(found) == 0 {
		lacks(t, "there is no libsofthsm2.so here: on Debian, apt-get install softhsm2")
	}
	return found[0]
}

// With --add-upstream, FIDO keys and smartcards go to the user's own agent by
// way of the daemon, and sign; the managed key stays in front of them.
func TestAgentAddsUpstream(t *testing.T) {
	if _, err := os.Stat(skDummy); err != nil {
		lacks(t, "there is no "+skDummy+" here: on Debian, apt-get install openssh-tests")
	}
	s := newStage(t)
	card := softHSM(t)
	s.Setenv("SOFTHSM2_CONF", s.Write(t, "softhsm2.conf", "directories.tokendir = "+s.Home+"/tokens\n"))
	s.mkdir(t, filepath.Join(s.Home, "tokens"))
	own := filepath.Join(s.Home, "own.sock")
	theirs, _ := start(t, s.Command(t, "ssh-agent", "-D", "-a", own), regexp.MustCompile("SSH_AUTH_SOCK"))
	s.Setenv("SSH_AUTH_SOCK", own)
	daemon := s.StartDaemon(t, "--add-upstream")
	s.Setenv("SSH_AUTH_SOCK", s.AgentSocket())
	managed := strings.Join(strings.Fields(s.user.publicKey(t))[:2], " ")

	file := filepath.Join(s.Home, "sk")
	s.Run(t, "ssh-keygen", "-q", "-t", "ed25519-sk", "-w", skDummy, "-N", "", "-f", file)
	fido := strings.Join(strings.Fields(readFile(t, file+".pub"))[:2], " ")
	s.Run(t, "ssh-add", "-q", "-S", skDummy, file)
	s.Run(t, "openssl", "genpkey", "-algorithm", "rsa", "-out", "card.pem")
	s.Run(t, "softhsm2-util", "--init-token", "--free", "--label", "card", "--pin", "1234", "--so-pin", "12345678")
	s.Run(t, "softhsm2-util", "--import", "card.pem", "--token", "card", "--label", "01", "--id", "01", "--pin", "1234")
	s.Run(t, "chmod", "600", "card.pem")
	onCard := strings.Join(strings.Fields(s.Run(t, "ssh-keygen", "-y", "-f", "card.pem"))[:2], " ")
	pin := "SSH_ASKPASS_REQUIRE=force SSH_ASKPASS=" + s.script(t, "pin", "echo 1234") + " ssh-add -q "
	s.Run(t, "sh", "-c", pin+"-s "+card)
	for _, name := range []string{file, filepath.Join(s.Home, "card.pem")} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}

	want := func(what string, keys ...string) {
		t.Helper()
		var got []string
		for line := range strings.Lines(s.Run(t, "ssh-add", "-L")) {
			got = append(got, strings.Join(strings.Fields(line)[:2], " "))
		}
		if strings.Join(got, "\n") != strings.Join(keys, "\n") {
			t.Errorf("%s: the agent lists %q; want %q", what, got, keys)
		}
	}
	want("added", managed, fido, onCard)
	if got := s.Run(t, "env", "SSH_AUTH_SOCK="+own, "ssh-add", "-L"); !strings.Contains(got, fido) || !strings.Contains(got, onCard) || strings.Contains(got, managed) {
		t.Errorf("the user's own agent lists\n%s\nwant the FIDO key and the smartcard's, and not the managed one", got)
	}
	for _, key := range []string{fido, onCard} {
		other := startSSHD(t, nil)
		other.Authorize(t, key)
		s.Run(t, "ssh", "-F", s.Reaches(t, other.host("other")), "other", "true")
	}

	if out, err := s.Try(t, "ssh-add", "-d", s.Write(t, "managed.pub", managed+"\n")); err == nil {
		t.Errorf("ssh-add -d of the managed key succeeds: %s", out)
	}
	s.Run(t, "sh", "-c", pin+"-e "+card)
	want("the smartcard removed", managed, fido)
	s.Run(t, "ssh-add", "-q", "-D")
	want("all removed", managed)

	theirs.stop(t)
	plain, _ := s.ownKey(t, "plain")
	if out, err := s.Try(t, "ssh-add", plain); err == nil {
		t.Errorf("with nobody to pass it on to, ssh-add succeeds: %s", out)
	}
	want("with the own agent gone", managed)
	daemon.await(t, regexp.MustCompile("request refused.*passing it on"))
}

// Without it, the daemon takes no such keys.
func TestAgentTakesNoFIDOKeys(t *testing.T) {
	if _, err := os.Stat(skDummy); err != nil {
		lacks(t, "there is no "+skDummy+" here: on Debian, apt-get install openssh-tests")
	}
	s := newStage(t)
	daemon := s.StartDaemon(t)
	file := filepath.Join(s.Home, "sk")
	s.Run(t, "ssh-keygen", "-q", "-t", "ed25519-sk", "-w", skDummy, "-N", "", "-f", file)
	if out, err := s.Try(t, "ssh-add", "-S", skDummy, file); err == nil {
		t.Errorf("ssh-add of a FIDO key succeeds: %s", out)
	}
	daemon.await(t, regexp.MustCompile(regexp.QuoteMeta("this agent asks no security keys: an upstream agent that holds this one offers it through this one (start the daemon with --add-upstream")))
}
