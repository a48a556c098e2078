package workspace

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"

	"github.com/latchkey/latchkey/sshagent"
)

func TestAttachRefuses(t *testing.T) {
	d, managed, _, _ := startAttached(t, "")
	d.upstreams.timeout = time.Nanosecond // of those that wait for more than they were sent
	dir := socketDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	listen := func(name string) (string, net.Listener) {
		path := filepath.Join(dir, name)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return path, l
	}
	web, l := listen("web")
	go http.Serve(l, nil)
	mute, hangsUp := listen("mute")
	go func() {
		for {
			conn, err := hangsUp.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	dead, l := listen("dead")
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	for _, tt := range []struct{ name, socket, want string }{
		{"relative", "agent.sock", `"agent.sock" is not an absolute path`},
		{"nothing", "", `"" is not an absolute path`},
		{"gone", filepath.Join(dir, "gone"), "there is no socket " + filepath.Join(dir, "gone")},
		{"a file", file, file + " is not a socket"},
		{"a directory", dir, dir + " is not a socket"},
		{"a web server", web, "no ssh-agent at " + web + ": what listens there does not answer as one: "},
		{"who hangs up", mute, "no ssh-agent at " + mute + ": what listens there does not answer as one: "},
		{"nobody", dead, "no ssh-agent at " + dead + ": connection refused"},
		{"the control socket", ControlSocket(d.config.Dir), "no ssh-agent at " + ControlSocket(d.config.Dir) + ": what listens there does not answer as one: "},
	} {
		err := AttachAgent(t.Context(), d.config.Dir, tt.socket)
		var problem *Problem
		if !errors.As(err, &problem) || problem.Hint == "" || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: AttachAgent = %v; want the Problem %q, with a hint", tt.name, err, tt.want)
		}
	}
	d.mustOffer(t, "after all were refused", managed)
	if err := AttachAgent(t.Context(), socketDir(t), web); !NotRunning(err) {
		t.Errorf("AttachAgent where no daemon runs: %v; want that none runs", err)
	}
}

// The agent of another user is refused: they would hear of what is signed.
func TestAttachRefusesOtherUsers(t *testing.T) {
	socket := agentOfNobody(t)
	d, managed, _, _ := startAttached(t, "")
	if err := AttachAgent(t.Context(), d.config.Dir, socket); err == nil || !strings.Contains(err.Error(), "it is served by a process of another user (uid 65534") {
		t.Errorf("AttachAgent of another user's agent: %v; want that it is refused", err)
	}
	d.mustOffer(t, "after it was refused", managed)
}

// The user's own agent is held to the same, and who starts the daemon hears of it: the
// shares of a container have other owners.
func TestOwnAgentIsAnotherUsers(t *testing.T) {
	socket := agentOfNobody(t)
	d, managed, log, _ := startAttached(t, socket)
	if got := strings.Count(log.String(), `level=WARN msg="your own agent is not asked for its keys"`); got != 1 {
		t.Errorf("the daemon warns %d times; want once:\n%s", got, log)
	}
	for _, want := range []string{"socket=" + socket, "it is served by a process of another user (uid 65534", "run the daemon as the user whose agent it is"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	d.mustOffer(t, "before another user's agent", managed)

	ctx, cancel := context.WithCancel(t.Context())
	c := Config{Dir: socketDir(t), Client: newClient(t, &testServer{}), Upstream: socket, AddUpstream: true, Ready: func(string) { cancel() }}
	var problem *Problem
	want := "--add-upstream: no keys are added to the agent at " + socket + ": it is served by a process of another user (uid 65534"
	if err := NewDaemon(c).Run(ctx); !errors.As(err, &problem) || !strings.HasPrefix(err.Error(), want) || problem.Hint == "" {
		t.Errorf("Run with --add-upstream: %v; want the Problem %q…, with a hint", err, want)
	}
}

// No private key goes to another user's, at a path that the user's own agent had.
func TestOwnAgentBecomesAnotherUsers(t *testing.T) {
	theirs, own := agentOfNobody(t), ownAgent(t, newEd25519(t))
	managed := newEd25519(t)
	d, _ := startDaemon(t, Config{Dir: socketDir(t), Client: newClient(t, &testServer{keys: []testKey{managed}}), Idle: sshagent.DefaultIdle,
		Upstream: own, AddUpstream: true, Log: slog.New(slog.DiscardHandler)})
	if err := os.Rename(theirs, own); err != nil {
		t.Fatal(err)
	}
	d.mustOffer(t, "before another user's agent", managed)
	conn, err := net.Dial("unix", AgentSocket(d.config.Dir))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := agent.NewClient(conn).Add(agent.AddedKey{PrivateKey: newEd25519(t).private}); err == nil {
		t.Error("a key was added to another user's agent")
	}
}

// agentOfNobody runs an agent of another user, whose socket is everyone's.
func agentOfNobody(t *testing.T) (socket string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can run an agent of another user")
	}
	dir := socketDir(t)
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "agent.1")
	startOpenSSHAgent(t, socket, func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	})
	return socket
}

func TestAttachIsBounded(t *testing.T) {
	d, _, _, _ := startAttached(t, ownAgent(t, newEd25519(t)))
	var agents []*forwarded
	for range maxAttached {
		f := forwardKeyring(t)
		d.mustAttach(t, f.path)
		agents = append(agents, f)
	}
	more := forwardKeyring(t)
	err := AttachAgent(t.Context(), d.config.Dir, more.path)
	if err == nil || !strings.Contains(err.Error(), "32 ssh-agents are attached, which is the limit") {
		t.Errorf("one agent more than the limit: %v; want that it is refused", err)
	}
	d.mustAttach(t, agents[7].path) // is on offer already
	ended(t, d, agents[7].path, agents[7].end)
	d.mustAttach(t, more.path)
}

// The daemon's own agent is not attached, whichever way it is named.
func TestAttachOwnAgent(t *testing.T) {
	d, managed, log, _ := startAttached(t, "")
	own := AgentSocket(d.config.Dir)
	back := forward(t, func() (net.Conn, error) { return net.Dial("unix", own) })
	back.begin(t)
	for _, socket := range []string{own, symlink(t, own), back.path} {
		d.mustAttach(t, socket)
	}
	if list := mustStatus(t, d.config.Dir).Agents; len(list) != 0 {
		t.Errorf("the agents %v are attached; want none", list)
	}
	if !strings.Contains(log.String(), `msg="agent not attached: it leads to this one" socket=`+back.path) {
		t.Error("the log does not say that an agent led back")
	}
	// What leads elsewhere at first, and another socket at its path back here, goes.
	key := newEd25519(t)
	f := forwardKeyring(t, key)
	d.mustAttach(t, f.path)
	d.mustOffer(t, "as long as it leads elsewhere", managed, key)
	ended(t, d, f.path, func() {
		if err := os.Rename(back.path, f.path); err != nil {
			t.Fatal(err)
		}
	})
	d.mustOffer(t, "when it leads back", managed)
}
