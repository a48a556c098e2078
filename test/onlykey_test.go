package test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// offeredTo are the fingerprints of the keys that an sshd was offered, in order,
// each once.
func offeredTo(t testing.TB, s *sshd) (keys []string) {
	t.Helper()
	for _, line := range regexp.MustCompile(`(?m)^(?:Accepted|Failed) (?:key|publickey) .*`).FindAllString(s.Log(t), -1) {
		if key := regexp.MustCompile(`SHA256:\S+`).FindString(line); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// A host hears of the key that is for it and of no other, whether that is the
// managed one or one of eight of the user's own agent; so one that takes a single
// try, or two, lets them in. Plain ssh asks the daemon.
func TestOnlyTheRightKeyIsOffered(t *testing.T) {
	forges := []*sshd{startSSHD(t, nil, "MaxAuthTries 1"), startSSHD(t, nil, "MaxAuthTries 2")}
	owns := []*sshd{startSSHD(t, nil, "MaxAuthTries 1"), startSSHD(t, nil, "MaxAuthTries 2")}
	u := startServer(t, nil).newUser(t, "ada", nil)
	w := u.newWorkspace(t, "dev", nil)

	// The user has eight hosts, each with a key of its own that is for no other.
	known, own := "", make([]string, 8)
	for i := range own {
		_, key := newKey(t)
		if n := i - 4; n >= 0 && n < len(owns) { // neither the first nor the last
			key = owns[n].HostKey
		}
		known += fmt.Sprintf("own%d %s\n", i, key)
	}
	hosts := w.Write(t, "hosts", known)
	agent := w.startAgent(t, "own.sock")
	for i := range own {
		private, public := newKey(t)
		file := w.Write(t, "key", string(private))
		w.Run(t, "env", "SSH_AUTH_SOCK="+agent, "ssh-add", "-q", "-H", hosts, "-h", fmt.Sprint("own", i), file)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		own[i] = public
	}

	policy := []api.KeyHost{}
	reach := []host{}
	for i, s := range forges {
		s.Authorize(t, u.publicKey(t))
		policy = append(policy, api.KeyHost{Name: "forge", Fingerprint: fingerprintOf(t, s.HostKey)})
		reach = append(reach, s.host(fmt.Sprint("forge", i)))
	}
	for i, s := range owns {
		s.Authorize(t, own[4+i])
		reach = append(reach, s.host(fmt.Sprint("own", 4+i)))
	}
	config := w.Reaches(t, reach...)
	if _, err := u.UpdateKey(t.Context(), api.Me, api.DefaultKey, api.UpdateKeyRequest{Hosts: &policy}); err != nil {
		t.Fatal(err)
	}
	w.Setenv("SSH_AUTH_SOCK", agent)
	w.StartDaemon(t)
	w.Setenv("SSH_AUTH_SOCK", w.AgentSocket())
	if n := strings.Count(w.Run(t, "ssh-add", "-l"), "SHA256:"); n != 1+len(own) {
		t.Fatalf("the agent lists %d keys here; want the managed one and %d", n, len(own))
	}
	for i, s := range slices.Concat(forges, owns) {
		right := u.publicKey(t)
		if i >= len(forges) {
			right = own[4+i-len(forges)]
		}
		w.Run(t, "ssh", "-F", config, reach[i].alias, "true")
		if got, want := offeredTo(t, s), []string{fingerprintOf(t, right)}; !slices.Equal(got, want) {
			t.Errorf("%s was offered the keys %v; want %v only", reach[i].alias, got, want)
		}
	}
}
