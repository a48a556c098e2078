package main

import (
	"cmp"
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

// calledAsSSH reports whether this program was started for a hop: by the name
// that ssh was given itself (see [gitssh.Run]), or as the first ssh in PATH.
func calledAsSSH(name string) bool { return filepath.Base(name) == helperSSH }

// jump runs ssh for one hop: that of a ProxyJump, or one that the user's
// ProxyCommand runs.
func (p *program) jump(args []string) int {
	return p.runSSH(firstHelper(), args)
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
	return findOther("ssh", os.Getenv("LATCHKEY_SSH"), "install OpenSSH's client, or name one with LATCHKEY_SSH")
}

// findOther finds a program for which this one may be called: by the name that
// the user chose, if any, else the first in PATH that is not this program.
func findOther(what, chosen, hint string) (string, error) {
	name := cmp.Or(chosen, what)
	path, err := exec.LookPath(name)
	if err != nil {
		return "", withHint(fmt.Errorf("finding %s: %w", what, err), hint)
	}
	if !isSelf(path) {
		return path, nil
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if path, err := exec.LookPath(filepath.Join(dir, filepath.Base(name))); err == nil && filepath.IsAbs(path) && !isSelf(path) {
			return path, nil
		}
	}
	return "", withHint(fmt.Errorf("finding %s: %s is latchkey itself, and there is no other in PATH", what, path), hint)
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
	runtimeDir, _ := workspace.RuntimeDir(os.Getenv) // without one, no agent is ours
	err := syscall.Exec(ssh, append([]string{ssh}, args...), sshEnv(runtimeDir))
	p.fail(fmt.Errorf("running %s: %w", ssh, err))
	return exitNoSSH
}

// sshEnv is the environment of an ssh: without the workspace token, and without
// the daemon's socket, as "latchkey env" sets it. An ssh that is not told what to
// do with our agent would forward it, or leave a master connection that was
// made with our key, if the user's configuration says so.
func sshEnv(runtimeDir string) []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		socket, ok := strings.CutPrefix(v, "SSH_AUTH_SOCK=")
		return ok && isOurs(socket, runtimeDir) ||
			strings.HasPrefix(v, "LATCHKEY_TOKEN=") || strings.HasPrefix(v, hopVariable+"=")
	})
}

// hopEnv is sshEnv for an ssh whose hops are to run through helpers, also those
// that a ProxyCommand makes by calling ssh.
func hopEnv(runtimeDir string, first place) []string {
	env := slices.DeleteFunc(sshEnv(runtimeDir), func(v string) bool { return strings.HasPrefix(v, "PATH=") })
	path := first.dir
	if old := os.Getenv("PATH"); old != "" {
		path += string(filepath.ListSeparator) + old
	}
	return append(env, hopVariable+"="+first.name, "PATH="+path)
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
	if _, err := os.Stat(path); err != nil || isOurs(path, runtimeDir) {
		return ""
	}
	return path
}

// isOurs reports whether a socket is the daemon's, or a helper's.
func isOurs(path, runtimeDir string) bool {
	if runtimeDir == "" {
		return false
	}
	if strings.HasPrefix(path, runtimeDir+"/") {
		return true
	}
	there, err := os.Stat(path)
	if err != nil {
		return false
	}
	ours, err := os.Stat(workspace.AgentSocket(runtimeDir))
	return err == nil && os.SameFile(there, ours)
}
