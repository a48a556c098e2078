package gitssh

import (
	"os/exec"
	"slices"
	"strings"
)

// A Run says how to run ssh.
type Run struct {
	SSH string // the path of the real ssh

	// Self is a path that runs this helper when called as ssh is. ssh starts
	// itself by the name it was called with for the hosts of a ProxyJump, and
	// passes none of its options on, so this is how they reach the hops. "" for
	// none. See [Safe].
	Self string

	// Agent is the socket of the agent to use. "" leaves ssh as the user
	// configured it. See [Safe].
	Agent string

	// KnownHosts prints known hosts in addition to those of the user's files: a
	// program and its arguments, in which ssh expands tokens (KnownHostsCommand in
	// ssh_config(5)). "" for none, which an ssh takes that does not know the
	// option: see [Version.TakesKnownHosts].
	KnownHosts string

	OwnAgent string   // the socket of the user's own agent, to forward with -A; "" for none
	Env      []string // of ssh; nil for this process's
}

// Safe reports whether ssh takes a path as it is, both as an option's value and,
// unquoted, in a command for a shell.
func Safe(path string) bool {
	for _, c := range []byte(path) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("/._-+@:,", c) >= 0) {
			return false
		}
	}
	return strings.HasPrefix(path, "/")
}

// Command is ssh with the agent. The arguments follow ours, which win because
// ssh takes the first value of an option, untouched but for one: -S none
// replaces a control socket, which -S would set over ours.
func (r Run) Command(a Args) *exec.Cmd {
	cmd := &exec.Cmd{Path: r.SSH, Args: []string{r.SSH}, Env: r.Env}
	if r.Self != "" {
		cmd.Args[0] = r.Self
	}
	if r.KnownHosts != "" {
		cmd.Args = append(cmd.Args, "-o", "KnownHostsCommand="+r.KnownHosts)
	}
	list := a.List
	if r.Agent != "" {
		cmd.Args = append(cmd.Args,
			"-o", "IdentityAgent="+r.Agent,
			"-o", "IdentitiesOnly=no", // else our key would have to be in a file
			"-o", "ForwardAgent="+r.forward(a),
			// A master connection would log in without the key.
			"-o", "ControlMaster=no",
			"-o", "ControlPath=none")
		list = a.withoutControlPath()
	}
	cmd.Args = append(cmd.Args, list...)
	return cmd
}

// forward is the value of ForwardAgent. -A sets it back to yes but leaves the
// socket that it names: the user's own agent, or none that answers.
func (r Run) forward(a Args) string {
	forward := false
	for _, o := range a.Options {
		switch o.Flag {
		case 'A':
			forward = true
		case 'a':
			forward = false
		}
	}
	switch {
	case !forward:
		return "no"
	case Safe(r.OwnAgent):
		return r.OwnAgent
	default:
		return "/dev/null"
	}
}

func (a Args) withoutControlPath() []string {
	list := a.List
	for _, o := range a.Options {
		if o.Flag != 'S' {
			continue
		}
		if &list[0] == &a.List[0] {
			list = slices.Clone(list)
		}
		list[o.index] = list[o.index][:o.offset] + "none"
	}
	return list
}
