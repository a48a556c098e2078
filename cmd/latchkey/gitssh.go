package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/latchkey/latchkey/gitssh"
	"github.com/latchkey/latchkey/workspace"
)

// exitNoSSH is the exit status of a shell that cannot find a program.
const exitNoSSH = 127

// gitssh runs ssh for git and returns ssh's exit status. A first "--" is ours.
func (p *program) gitssh(args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	return p.runSSH(place{}, args)
}

// calledAsSSH reports whether ssh has started this program for a hop of a
// ProxyJump, by the name that it was given itself: see [gitssh.Run].
func calledAsSSH(name string) bool { return filepath.Base(name) == helperSSH }

// jump runs ssh for one hop. name is the link in the helpers' directory, or
// another one in PATH, by which the user prefers this program to ssh.
func (p *program) jump(name string, args []string) int {
	first := place{filepath.Dir(name), os.Getenv(hopVariable)}
	if runtimeDir, err := workspace.RuntimeDir(os.Getenv); err == nil {
		if _, dir := helpersDir(runtimeDir); first.dir != dir {
			first = place{}
		}
	}
	return p.runSSH(first, args)
}

// runSSH runs ssh with an agent of its own, which offers the Latchkey keys and
// then those of the user's own agent. first is the place of the helper that this
// one is a hop of, if it is one.
func (p *program) runSSH(first place, args []string) int {
	ssh, err := findSSH()
	if err != nil {
		p.fail(err)
		return exitNoSSH
	}
	// git's question for ssh's dialect, and what only ssh can explain.
	a, err := gitssh.Parse(args)
	if err != nil || !a.Connects() {
		return p.becomeSSH(ssh, args)
	}
	h := &helper{program: p, args: a, ssh: ssh, first: first}
	var caught sync.WaitGroup
	caught.Go(h.child.catchSignals) // Go takes a while for it
	err = h.open()
	caught.Wait()
	if err != nil {
		h.warn(fmt.Sprintf("%s: ssh goes on with your own keys", oneLine(explainWorkspace(err))))
		h.close()
		return p.becomeSSH(ssh, args)
	}
	status, err := h.run()
	h.close()
	if err != nil {
		p.fail(err)
		return exitNoSSH
	}
	return exitAs(status)
}

// oneLine is an error with its hint.
func oneLine(err error) string {
	if hint := hintOf(err); hint != "" {
		return err.Error() + " (" + hint + ")"
	}
	return err.Error()
}

// findSSH finds the ssh to run: LATCHKEY_SSH, else the first in PATH that is not
// this program, which may be there by that name.
func findSSH() (string, error) {
	const hint = "install OpenSSH's client, or name one with LATCHKEY_SSH"
	if name := os.Getenv("LATCHKEY_SSH"); name != "" {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", withHint(fmt.Errorf("LATCHKEY_SSH: %w", err), hint)
		}
		return path, nil
	}
	path, err := exec.LookPath("ssh")
	if err != nil {
		return "", withHint(fmt.Errorf("finding ssh: %w", err), hint)
	}
	if !isSelf(path) {
		return path, nil
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if path, err := exec.LookPath(filepath.Join(dir, "ssh")); err == nil && filepath.IsAbs(path) && !isSelf(path) {
			return path, nil
		}
	}
	return "", withHint(fmt.Errorf("finding ssh: %s is latchkey itself, and there is no other in PATH", path), hint)
}

func isSelf(path string) bool {
	self, err := os.Executable()
	if err != nil {
		return false
	}
	a, aerr := os.Stat(self)
	b, berr := os.Stat(path)
	return aerr == nil && berr == nil && os.SameFile(a, b)
}

// becomeSSH replaces this process by ssh.
func (p *program) becomeSSH(ssh string, args []string) int {
	err := syscall.Exec(ssh, append([]string{ssh}, args...), sshEnv())
	p.fail(fmt.Errorf("running %s: %w", ssh, err))
	return exitNoSSH
}

// sshEnv is the environment without the workspace token: what ssh starts has no
// business with it.
func sshEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "LATCHKEY_TOKEN=") || strings.HasPrefix(v, hopVariable+"=")
	})
}

// ownAgent is the socket of the user's own agent for the host: what they
// configured, else SSH_AUTH_SOCK. It is "" if there is none, or if it is one of
// ours, as after "latchkey env".
func ownAgent(configured, runtimeDir string) string {
	path := configured
	switch configured {
	case "none":
		return ""
	case "", "SSH_AUTH_SOCK":
		path = os.Getenv("SSH_AUTH_SOCK")
	}
	if path == "" || strings.HasPrefix(path, runtimeDir+"/") {
		return ""
	}
	own, err := os.Stat(path)
	if err != nil {
		return ""
	}
	if ours, err := os.Stat(workspace.AgentSocket(runtimeDir)); err == nil && os.SameFile(own, ours) {
		return ""
	}
	return path
}
