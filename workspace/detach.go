package workspace

import (
	"errors"
	"fmt"
	"strings"
)

const listAgents = `"latchkey status" lists those whose keys are on offer`

// detach takes back an agent that was attached, and returns its socket: that of socket,
// or the only one there is if that is the daemon's own. Its errors are Problems.
func (u *upstreams) detach(socket string) (detached string, err error) {
	e, err := u.meant(socket)
	if err != nil {
		return "", err
	}
	e.end(errTakenBack)
	<-e.ended
	return e.Socket, nil
}

// meant is the agent to detach.
func (u *upstreams) meant(socket string) (*upstreamAgent, error) {
	socket, err := cleanSocket(socket)
	if err != nil {
		return nil, err
	}
	if socket == u.own || sameFile(socket, u.own) {
		return only(u.known())
	}
	switch e := findSocket(u.known(), socket); {
	case e == nil:
		return nil, &Problem{fmt.Errorf("no ssh-agent is attached by the socket %s", socket), listAgents}
	case e.end == nil:
		return nil, &Problem{fmt.Errorf("the ssh-agent at %s was not attached: SSH_AUTH_SOCK named it when the daemon started", socket), "to be without its keys, start the daemon without SSH_AUTH_SOCK"}
	default:
		return e, nil
	}
}

// only is the one agent that somebody has brought along. Of several, it is not known
// which one is that of the shell that asks: it has the daemon's socket in the place of
// the one with which it came. For the same reason the one may be another session's.
func only(known []*upstreamAgent) (*upstreamAgent, error) {
	var attached *upstreamAgent
	var names []string
	for _, e := range known {
		switch {
		case e.end != nil:
			attached = e
		case e.Socket != "": // that of SSH_AUTH_SOCK
			continue
		}
		names = append(names, e.Name)
	}
	switch {
	case len(names) == 0:
		return nil, &Problem{errors.New("no ssh-agent is attached"), listAgents}
	case attached == nil:
		return nil, &Problem{fmt.Errorf("no ssh-agent is attached by its socket: %s", strings.Join(names, ", ")), `it goes with its session; "ssh -a" brings none`}
	case len(names) > 1:
		return nil, &Problem{fmt.Errorf("several ssh-agents are there: %s", strings.Join(names, ", ")), "say which: latchkey agent detach SOCKET"}
	}
	return attached, nil
}
