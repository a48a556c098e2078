package test

import (
	"strings"
	"testing"
)

// The harness itself: plain ssh with a key file logs in to its sshd, as the
// workspace's user, and git clones from it.
func TestHarnessSSHD(t *testing.T) {
	s := startSSHD(t, nil)
	w := &workspace{Dir: openDir(t)}
	w.Home = w.Dir + "/home"
	w.mkdir(t, w.Home)
	w.Env = []string{"HOME=" + w.Home, "PATH=/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM=1", "GIT_SSH_VARIANT=ssh"}
	key, public := newKey(t)
	file := w.Write(t, "id", string(key))
	config := w.Knows(t, s, "forge", "IdentityFile "+file, "IdentitiesOnly yes")
	w.Setenv("GIT_SSH_COMMAND", "ssh -F "+config)
	s.Authorize(t, public)
	w.Run(t, "git", "clone", "-q", "forge:"+s.Repository(t, "app"), "app")
	if got := w.Run(t, "git", "-C", "app", "log", "--format=%s"); strings.TrimSpace(got) != "first" {
		t.Errorf("the clone's log is %q; want the repository's one commit, first", got)
	}
}
