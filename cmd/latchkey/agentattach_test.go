package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/workspace"
)

// serveAgent serves an agent without keys at a socket until the test ends.
func serveAgent(t *testing.T) (socket string) {
	t.Helper()
	socket = filepath.Join(shortDir(t), "agent.1")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(agent.NewKeyring(), conn)
		}
	}()
	return socket
}

func TestAgentAttach(t *testing.T) {
	s := loggedIn(t)
	startDaemon(t, s, strings.TrimSpace(latchkey(t, "workspace", "create", "box").ok(t).stdout))
	silent := func(args ...string) {
		t.Helper()
		latchkey(t, append([]string{"agent"}, args...)...).expect(t, 0, "", "")
	}
	agents := func() (names []string) {
		t.Helper()
		var report struct{ Daemon workspace.State }
		if err := json.Unmarshal([]byte(latchkey(t, "status", "--json").ok(t).stdout), &report); err != nil {
			t.Fatal(err)
		}
		for _, a := range report.Daemon.Agents {
			names = append(names, a.Name)
		}
		return names
	}
	first, second := serveAgent(t), serveAgent(t)
	t.Setenv("SSH_AUTH_SOCK", first)
	silent("attach")
	silent("attach")
	silent("attach", second)
	silent("attach", "--", second)
	if got := agents(); len(got) != 2 || got[0] != first || got[1] != second {
		t.Errorf("status --json lists the agents %q; want %q and %q", got, first, second)
	}
	if got := latchkey(t, "status").ok(t).stdout; !strings.Contains(got, "\n  agent      "+first+", since 2") {
		t.Errorf("status does not show the agent %s, and since when:\n%s", first, got)
	}
	silent("detach")
	silent("detach", second)
	if got := agents(); len(got) != 0 {
		t.Errorf("status --json lists the agents %q after both were detached; want none", got)
	}
	latchkey(t, "agent", "detach", second).expect(t, 1, "", "latchkey: error: no ssh-agent is attached by the socket "+second+"\nlatchkey: hint: \"latchkey status\" lists those whose keys are on offer\n")
	gone := filepath.Join(filepath.Dir(second), "gone")
	latchkey(t, "agent", "attach", gone).expect(t, 1, "", "latchkey: error: there is no socket "+gone+"\nlatchkey: hint: is the session over that it belonged to? \"ssh -A\" makes a new one\n")
}

// A shell of which the profile has run "latchkey env" names the daemon's own agent: it
// can mean the one that was attached, if there is one only.
func TestAgentDetachAfterEnv(t *testing.T) {
	s := loggedIn(t)
	startDaemon(t, s, strings.TrimSpace(latchkey(t, "workspace", "create", "box").ok(t).stdout))
	const nothing = "latchkey: error: no ssh-agent is attached\nlatchkey: hint: \"latchkey status\" lists those whose keys are on offer\n"
	t.Setenv("SSH_AUTH_SOCK", workspace.AgentSocket(os.Getenv("LATCHKEY_RUNTIME_DIR")))
	latchkey(t, "agent", "detach").expect(t, 1, "", nothing)
	one, other := serveAgent(t), serveAgent(t)
	latchkey(t, "agent", "attach", one).ok(t)
	latchkey(t, "agent", "detach").expect(t, 0, "", "detached "+one+"\n")
	latchkey(t, "agent", "attach", one).ok(t)
	latchkey(t, "agent", "attach", other).ok(t)
	latchkey(t, "agent", "detach").expect(t, 1, "",
		"latchkey: error: several ssh-agents are there: "+one+", "+other+"\nlatchkey: hint: say which: latchkey agent detach SOCKET\n")
	latchkey(t, "agent", "detach", other).expect(t, 0, "", "")
	latchkey(t, "agent", "detach").expect(t, 0, "", "detached "+one+"\n")
	latchkey(t, "agent", "detach").expect(t, 1, "", nothing)
}

// A session that has brought no agent, and has not run "latchkey env", does not take back
// that of another one.
func TestAgentDetachWithoutAgent(t *testing.T) {
	s := loggedIn(t)
	startDaemon(t, s, strings.TrimSpace(latchkey(t, "workspace", "create", "box").ok(t).stdout))
	anothers := serveAgent(t)
	latchkey(t, "agent", "attach", anothers).ok(t)
	t.Setenv("SSH_AUTH_SOCK", "")
	latchkey(t, "agent", "detach").expect(t, 1, "", noAgentNamed)
	latchkey(t, "agent", "detach", anothers).expect(t, 0, "", "") // it was there still
}

const noAgentNamed = "latchkey: error: there is no ssh-agent to take back: SSH_AUTH_SOCK is not set, and no SOCKET is given\n"

// Where there is no other agent, or no daemon, a profile that attaches one must do
// no harm.
func TestAgentAttachNothing(t *testing.T) {
	newHome(t)
	dir := shortDir(t)
	t.Setenv("LATCHKEY_RUNTIME_DIR", dir)
	const noDaemon = "latchkey: error: no workspace daemon runs here, to offer the keys of other agents\nlatchkey: hint: latchkey agent\n"
	for socket, detach := range map[string]string{"": noAgentNamed, workspace.AgentSocket(dir): noDaemon} {
		t.Setenv("SSH_AUTH_SOCK", socket)
		latchkey(t, "agent", "attach").expect(t, 0, "", "")
		latchkey(t, "agent", "detach").expect(t, 1, "", detach)
	}
	for _, command := range []string{"attach", "detach"} {
		latchkey(t, "agent", command, serveAgent(t)).expect(t, 1, "", noDaemon)
	}
	os.Unsetenv("SSH_AUTH_SOCK") // t.Setenv has noted what it was
	latchkey(t, "agent", "attach").expect(t, 0, "", "")
}
