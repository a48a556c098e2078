package workspace

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/workspace/sshd"
)

// testAgents notes which agents there are, and how to dial them.
type testAgents struct {
	mu       sync.Mutex
	dials    map[string]func(context.Context) (net.Conn, error)
	detached chan string // gets the name of each that goes
}

func (a *testAgents) Attach(name string, _ []byte, dial func(context.Context) (net.Conn, error)) func() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dials == nil {
		a.dials = make(map[string]func(context.Context) (net.Conn, error))
	}
	a.dials[name] = dial
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.dials, name)
		a.detached <- name
	}
}

func (a *testAgents) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.dials)
}

// newTestService makes a service that lets laptop in, with a host key and a secret.
func newTestService(t testing.TB, laptop testKey) *sshService {
	t.Helper()
	s, _ := newTestSSH(&sshTestServer{}, Config{})
	host := newEd25519(t)
	kept, err := harden.Shield(host.form(t))
	if err != nil {
		t.Fatal(err)
	}
	s.host = newSigner(host.public, kept, newEraser(s.collect), s.collect)
	t.Cleanup(func() { s.host.Close() })
	s.owner, s.keys = "alice", map[string]string{string(laptop.public.Marshal()): "laptop"}
	s.secrets = func() ([]byte, error) {
		return encodeState(SecretState{Variables: []Variable{{Name: "NPM_TOKEN", Value: []byte("a value"), Secret: "npm"}}})
	}
	return s
}

// linkOf makes a link: its ends.
func linkOf(t testing.TB) (ours, theirs *net.UnixConn) {
	t.Helper()
	ours, end, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	conn, err := net.FileConn(end)
	if err != nil {
		t.Fatal(err)
	}
	return ours, conn.(*net.UnixConn)
}

// startTestProcess makes a service that lets laptop in, and what it takes for its
// process: the test is at the other end of the link.
func startTestProcess(t *testing.T, laptop testKey) (p *sshProcess, agents *testAgents, theirs *net.UnixConn) {
	t.Helper()
	s := newTestService(t, laptop)
	agents = &testAgents{detached: make(chan string, maxSSHAgents)}
	s.agents = agents
	ours, theirs := linkOf(t)
	killed := make(chan struct{})
	p = newSSHProcess(ours, s, func() error { <-killed; return errors.New("signal: killed") }, sync.OnceFunc(func() { close(killed) }))
	t.Cleanup(func() {
		theirs.Close()
		p.kill()
		<-p.done
	})
	return p, agents, theirs
}

// form is a key as it is kept.
func (k testKey) form(t testing.TB) []byte {
	t.Helper()
	form, err := formOf(k.private)
	if err != nil {
		t.Fatal(err)
	}
	return form
}

// What serves SSH gets what it needs, and nothing beyond: whatever it asks for.
func TestSSHProcessIsNotTrusted(t *testing.T) {
	laptop, stranger := newEd25519(t), newEd25519(t)
	p, agents, theirs := startTestProcess(t, laptop)
	link := &sshLink{conn: theirs, answer: func(string, []byte, *os.File) (any, error) { return nil, nil }, largest: maxSecrets, takes: true, ended: make(chan struct{})}
	go link.run()
	ask := func(what string, question, answer any) error {
		return link.ask(t.Context(), what, question, answer, nil)
	}

	for user, key := range map[string]testKey{"alice": laptop, "mallory": laptop, "": laptop, "dev": stranger} {
		var got sshAuthorized
		err := ask(askAuthorized, sshLogin{[]byte(user), key.public.Marshal()}, &got)
		if want := user == "alice"; err != nil || got.OK != want {
			t.Errorf("%q with %s: %+v, %v; want them in: %t", user, ssh.FingerprintSHA256(key.public), got, err, want)
		}
	}
	hash, signature := make([]byte, 32), new(ssh.Signature)
	if err := ask(askSign, sshToSign{Data: hash}, signature); err != nil || p.service.host.PublicKey().Verify(hash, signature) != nil {
		t.Errorf("the host key has signed %+v, %v; want the hash", signature, err)
	}
	var state SecretState
	if err := ask(askVariables, nil, &state); err != nil || len(state.Variables) != 1 || string(state.Variables[0].Value) != "a value" {
		t.Errorf("the secrets of a session are %+v, %v", state.Variables, err)
	}
	const name = "ssh -A from 192.0.2.1:22"
	if err := ask(askAttach, sshAgent{1, name, hash}, nil); err != nil || agents.count() != 1 {
		t.Errorf("an agent: %v, and there are %d; want it attached", err, agents.count())
	}
	for what, question := range map[string]struct {
		ask  string
		body any
	}{
		"what is no question":           {askAuthorized, "alice"},
		"a key that is none":            {askAuthorized, sshLogin{[]byte("alice"), []byte("junk")}},
		"to sign a message":             {askSign, sshToSign{Data: []byte("SSHSIG and more than any hash has, so that it may be a login or a signature of git")}},
		"to sign nothing":               {askSign, sshToSign{}},
		"another algorithm":             {askSign, sshToSign{hash, "ssh-dss"}},
		"an agent under another's name": {askAttach, sshAgent{2, "SSH_AUTH_SOCK", hash}},
		"an agent whose name has lines": {askAttach, sshAgent{2, "ssh -A from \n", hash}},
		"an agent with a long name":     {askAttach, sshAgent{2, "ssh -A from " + strings.Repeat("x", maxSSHAgentName), hash}},
		"an agent without a session":    {askAttach, sshAgent{2, name, nil}},
		"an agent that there is":        {askAttach, sshAgent{1, name, hash}},
		"to show a long refusal":        {askRefused, sshd.Refusal{Why: strings.Repeat("x", maxSSHRefusal)}},
		"the private key":               {"key", nil},
		"the daemon to serve":           {askServe, sshServing{}},
	} {
		if err := ask(question.ask, question.body, nil); err == nil || errors.Is(err, errLinkEnded) {
			t.Errorf("%s: %v; want it refused", what, err)
		}
	}
	if err := ask(askRefused, sshd.Refusal{User: "mallory", Keys: []string{"SHA256:m"}, Remote: "192.0.2.1:22", Why: "nobody knows it"}, nil); err != nil {
		t.Error(err)
	}
	if got := p.service.state().Refusal; got == nil || got.User != "mallory" || got.Why != "nobody knows it" {
		t.Errorf("the status has the refusal %+v; want that of mallory", got)
	}
	refused := 0
	for i := range uint64(maxSSHAgents) {
		if ask(askAttach, sshAgent{10 + i, fmt.Sprint("ssh -A from ", i), hash}, nil) != nil {
			refused++
		}
	}
	if refused != 1 || agents.count() != maxSSHAgents {
		t.Errorf("%d agents were refused, and there are %d; want %d at most", refused, agents.count(), maxSSHAgents)
	}
	p.kill()
	theirs.Close()
	<-p.done
	if agents.count() != 0 {
		t.Errorf("when it has ended, %d agents are there", agents.count())
	}
}

// Who says what can't be read, or too much, is ended.
func TestSSHProcessSaysTooMuch(t *testing.T) {
	for what, bytes := range map[string][]byte{
		"a large message": binary.BigEndian.AppendUint64(nil, (maxSSHQuestion+1)<<32),
		"a large body":    binary.BigEndian.AppendUint64(nil, 0xffffffff),
		"both":            bytes.Repeat([]byte{0xff}, 8),
		"no JSON":         append(binary.BigEndian.AppendUint64(nil, 1<<32), 'x'),
	} {
		p, _, theirs := startTestProcess(t, newEd25519(t))
		if _, err := theirs.Write(bytes); err != nil {
			t.Fatal(err)
		}
		<-p.done // for nobody else kills it
		if !strings.Contains(p.err().Error(), "a message") {
			t.Errorf("%s: it has ended for %v; want that said", what, p.err())
		}
	}
}

// Both ends together: a client logs in, and what it brings along comes to the daemon.
func TestSSHFront(t *testing.T) {
	laptop := newEd25519(t)
	p, agents, theirs := startTestProcess(t, laptop)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	front := newSSHFront(theirs, l, harden.Report{}, slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- front.run(t.Context()) }()
	host := p.service.host.PublicKey()
	serving := sshServing{HostKey: host.Marshal(), Account: sshd.Account{Name: "dev", Home: "/", Shell: "/bin/sh"}, Environ: []string{"FINDS=daemon"}}
	if err := p.serve(t.Context(), serving); err != nil {
		t.Fatal(err)
	}
	login, err := ssh.NewSignerFromSigner(laptop.private)
	if err != nil {
		t.Fatal(err)
	}
	// What a stranger says is not more than the daemon reads.
	if _, err := ssh.Dial("tcp", l.Addr().String(), &ssh.ClientConfig{User: strings.Repeat("a", 60_000), Auth: []ssh.AuthMethod{ssh.PublicKeys(login)}, HostKeyCallback: ssh.FixedHostKey(host)}); err == nil {
		t.Error("somebody with a name of 60,000 letters was let in")
	}
	client, err := ssh.Dial("tcp", l.Addr().String(), &ssh.ClientConfig{User: "alice", Auth: []ssh.AuthMethod{ssh.PublicKeys(login)}, HostKeyCallback: ssh.FixedHostKey(host)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	channels := client.HandleChannelOpen("auth-agent@openssh.com")
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := session.SendRequest("auth-agent-req@openssh.com", true, nil); !ok || err != nil {
		t.Fatalf("the agent was not taken: %t, %v", ok, err)
	}
	go func() {
		asked := <-channels
		asked.Reject(ssh.Prohibited, strings.Repeat("\x01", 12_000))
		asked = <-channels
		channel, requests, err := asked.Accept()
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		b := make([]byte, 4)
		channel.Read(b)
		channel.Write(append([]byte("heard "), b...))
		channel.Close()
	}()
	dial := agents.dials["ssh -A from "+client.LocalAddr().String()]
	if _, err := dial(t.Context()); err == nil || len(err.Error()) > 2*maxSSHError {
		t.Errorf("an agent that does not want to be asked: %v; want an error that is short", err)
	}
	conn, err := dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn.Write([]byte("ping"))
	var heard bytes.Buffer
	if _, err := heard.ReadFrom(conn); err != nil || heard.String() != "heard ping" {
		t.Errorf("the agent has said %q, %v", heard.String(), err)
	}
	out, err := session.Output("echo $NPM_TOKEN, $FINDS")
	if err != nil || string(out) != "a value, daemon\n" {
		t.Errorf("the session has %q, %v; want its secret, and what finds the daemon", out, err)
	}
	p.service.mu.Lock()
	p.service.keys = nil
	p.service.mu.Unlock()
	p.recheck()
	if err := client.Wait(); err == nil {
		t.Error("the client of a key that was deleted was told nothing")
	}
	<-agents.detached   // it goes with its client, not with the process only
	p.link.closeWrite() // as when the daemon ends
	if err := <-ended; err != nil {
		t.Errorf("it has ended with %v", err)
	}
}

// The status, and the log, say that what serves SSH has ended.
func TestSSHFrontEnds(t *testing.T) {
	server := &sshTestServer{host: newEd25519(t)}
	s, log := newTestSSH(server, Config{})
	front := &testFront{done: make(chan struct{}), why: errors.New("signal: killed")}
	front.stop()
	s.run(t.Context(), front)
	if st := s.state(); !st.Ended || !strings.Contains(st.Error, "signal: killed") || !strings.Contains(log.String(), "signal: killed") {
		t.Errorf("the state is %+v; want it to say why SSH is not served\n%s", st, log.String())
	}
}
