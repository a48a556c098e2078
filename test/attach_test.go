package test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A person sits at a machine of their own, with an ssh-agent, and logs in to the
// workspace by way of OpenSSH's sshd.
type person struct {
	w      *workspace
	Dir    string
	Config string // of ssh: "box" is the workspace
	Agent  string // the socket of their ssh-agent
	Keys   []string
}

// newPerson makes somebody with so many keys in their agent, and a workspace in which
// an sshd is theirs to log in to. Nothing of the session is set up.
func newPerson(t *testing.T, w *workspace, box *sshd, keys int) *person {
	t.Helper()
	p := &person{w: w, Dir: filepath.Join(w.Dir, "person")}
	w.mkdir(t, p.Dir)
	p.Agent = filepath.Join(p.Dir, "agent.sock")
	cmd := w.command(context.Background(), t, "ssh-agent", "-D", "-a", p.Agent)
	start(t, cmd, regexp.MustCompile("SSH_AUTH_SOCK="))
	for i := range keys {
		file, public := w.ownKey(t, fmt.Sprint("../person/key", i))
		add := w.Command(t, "ssh-add", "-q", file)
		add.Env = append(slices.Clone(w.Env), "SSH_AUTH_SOCK="+p.Agent)
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("ssh-add: %v\n%s", err, out)
		}
		if err := os.Remove(file); err != nil { // the agent has it
			t.Fatal(err)
		}
		p.Keys = append(p.Keys, public)
	}
	box.Authorize(t, p.Keys[0])
	known := w.Write(t, "../person/known_hosts", "latchkey-test "+box.HostKey+"\n")
	p.Config = w.Write(t, "../person/config", fmt.Sprintf(`Host box
	HostName 127.0.0.1
	Port %d
	User %s
	HostKeyAlias latchkey-test
	UserKnownHostsFile %s
	IdentityAgent %s
	BatchMode yes
`, box.Port, box.User, known, p.Agent))
	return p
}

// A visit is a session of "ssh -A", in which commands are run one by one.
type visit struct {
	in      io.WriteCloser
	process *process
	t       *testing.T
	ran     int
}

// visit logs in. The session's environment is what sshd gives, and what finds the
// daemon.
func (p *person) visit(t *testing.T) *visit {
	t.Helper()
	cmd := p.w.command(context.Background(), t, "ssh", "-A", "-F", p.Config, "box", "exec sh")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	// The first line comes from the session: it is there.
	io.WriteString(in, "export PATH='"+p.w.Getenv("PATH")+"' LATCHKEY_RUNTIME_DIR='"+p.w.Runtime+"'; echo ready\n")
	v := &visit{in: in, t: t}
	v.process, _ = start(t, cmd, regexp.MustCompile("(?m)^ready$"))
	return v
}

// run runs a line of shell in the session, and returns what it printed.
func (v *visit) run(line string) string {
	v.t.Helper()
	v.ran++
	before := len(v.process.said())
	end := fmt.Sprintf("end of %d", v.ran)
	fmt.Fprintf(v.in, "%s\necho status $?, %s\n", line, end)
	await(v.t, line, func() bool { return strings.Contains(v.process.said()[before:], end) })
	out, _, _ := strings.Cut(v.process.said()[before:], end)
	return out
}

// leave ends the session.
func (v *visit) leave() {
	v.in.Close()
	<-v.process.exited
}

// An agent that somebody brings to the workspace by another sshd than the daemon's
// serves through the daemon's socket, whose path stays, for as long as they stay.
func TestAttachForwardedAgent(t *testing.T) {
	w := startServer(t, nil).newUser(t, "alice", nil).newWorkspace(t, "dev", nil)
	w.becomeTester(t)
	daemon := w.StartDaemon(t)
	managed := strings.Join(strings.Fields(w.user.publicKey(t))[:2], " ")
	box, forge := startSSHD(t, nil), startSSHD(t, nil)
	p := newPerson(t, w, box, 3)
	offers := func(when string, want ...string) {
		t.Helper()
		if got := w.list(t); !slices.Equal(got, want) {
			t.Errorf("%s the agent lists %q; want %q", when, got, want)
		}
	}
	offers("before anybody comes", managed)

	v := p.visit(t)
	if out := v.run("latchkey agent attach"); out != "status 0, " {
		t.Errorf("latchkey agent attach says %q; want nothing", out)
	}
	offers("with the agent attached", append([]string{managed}, p.Keys...)...)
	if out := v.run("latchkey agent attach && latchkey agent attach \"$SSH_AUTH_SOCK\""); out != "status 0, " {
		t.Errorf("attaching it again says %q; want nothing", out)
	}
	if out := v.run(`eval "$(latchkey env --shell sh)"; echo "$SSH_AUTH_SOCK"; latchkey agent attach`); out != w.AgentSocket()+"\nstatus 0, " {
		t.Errorf("in a shell of the daemon: %q; want its socket, and that attaching says nothing", out)
	}
	offers("after it was attached again", append([]string{managed}, p.Keys...)...)
	status := w.Run(t, "latchkey", "status", "--json")
	m := regexp.MustCompile(`"name": "(/tmp/ssh-\w+/agent\.\d+)"`).FindAllStringSubmatch(status, -1)
	if len(m) != 1 {
		t.Errorf("latchkey status lists the agents %q; want the one that sshd has made", m)
	}

	// Another process of the workspace logs in with one of the keys.
	forge.Authorize(t, p.Keys[2])
	config := w.Knows(t, forge, "forge", "IdentityAgent "+w.AgentSocket())
	w.Run(t, "ssh", "-F", config, "forge", "true")

	v.leave()
	await(t, "the daemon hears of the session's end", func() bool { return strings.Contains(daemon.said(), `msg="agent detached"`) })
	offers("after the session", managed)
	if out, err := w.Try(t, "ssh", "-F", config, "forge", "true"); err == nil {
		t.Errorf("a key of a session that ended logs in: %s", out)
	}

	v = p.visit(t) // its socket has another path; the daemon's has not
	v.run("latchkey agent attach")
	w.Run(t, "ssh", "-F", config, "forge", "true")
	if out := v.run("latchkey agent detach"); out != "status 0, " {
		t.Errorf("latchkey agent detach says %q; want nothing", out)
	}
	offers("after it was taken back", managed)
	// The profile that the documentation has: the shell names the daemon by then.
	socket := strings.TrimSuffix(v.run(`echo "$SSH_AUTH_SOCK"`), "\nstatus 0, ")
	if out := v.run(`latchkey agent attach && eval "$(latchkey env --shell sh)"; latchkey agent detach 2>&1`); out != "detached "+socket+"\nstatus 0, " {
		t.Errorf("latchkey agent detach after latchkey env says %q; want that it has detached %s", out, socket)
	}
	offers("after it was taken back behind latchkey env", managed)
	v.leave()
}

// Somebody in the workspace brings the workspace's own agent to it, and a session
// without an agent attaches none.
func TestAttachNothing(t *testing.T) {
	w := startServer(t, nil).newUser(t, "alice", nil).newWorkspace(t, "dev", nil)
	w.becomeTester(t)
	daemon := w.StartDaemon(t)
	box := startSSHD(t, nil)
	p := newPerson(t, w, box, 1)
	brought := p.visit(t)
	if out := brought.run(`unset LATCHKEY_RUNTIME_DIR XDG_RUNTIME_DIR; latchkey agent attach 2>&1 && eval "$(latchkey env --shell sh)"; echo "$SSH_AUTH_SOCK"`); !strings.Contains(out, "no workspace daemon runs here") || !strings.Contains(out, "\n/tmp/ssh-") {
		t.Errorf("the profile, where no daemon runs: %q; want that said, and the agent that was brought along", out)
	}
	brought.leave()
	managed := strings.Join(strings.Fields(w.user.publicKey(t))[:2], " ")
	box.Authorize(t, managed)
	own := strings.ReplaceAll(string(mustRead(t, p.Config)), p.Agent, w.AgentSocket())
	writeFile(t, p.Config, []byte(own), 0o600)

	v := p.visit(t)
	if out := v.run(`echo "$SSH_AUTH_SOCK"; latchkey agent attach`); !strings.HasPrefix(out, "/tmp/ssh-") || !strings.HasSuffix(out, "\nstatus 0, ") {
		t.Errorf("in a session that has brought the daemon's agent: %q; want another socket, and that attaching says nothing", out)
	}
	daemon.await(t, regexp.MustCompile("agent not attached: it leads to this one"))
	if got := w.list(t); !slices.Equal(got, []string{managed}) {
		t.Errorf("the agent lists %q; want the managed key", got)
	}
	if out := v.run("unset SSH_AUTH_SOCK; latchkey agent attach && latchkey agent attach ''"); out != "status 0, " {
		t.Errorf("without an agent: %q; want nothing", out)
	}
	v.leave()
}
