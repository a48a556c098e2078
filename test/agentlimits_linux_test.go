package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"
)

// What OpenSSH's tests of its agent don't look for, with the real daemon.

// The agent is for the daemon's user and root, also when the modes of its socket
// and of its directory let everybody in.
func TestDaemonRefusesOtherUsers(t *testing.T) {
	needRoot(t, "it plays other users")
	s := newStage(t)
	daemon := s.StartDaemon(t)
	const somebody = nobody - 1
	list := func(uid uint32) (string, error) {
		cmd := exec.Command(need(t, "ssh-add"), "-L")
		cmd.Dir, cmd.Env = "/", []string{"SSH_AUTH_SOCK=" + s.AgentSocket()}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := list(somebody); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("another user, with the modes as they are: %v, %s; want permission denied", err, out)
	}
	for path, mode := range map[string]os.FileMode{s.Runtime: 0o755, s.AgentSocket(): 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, uid := range []uint32{0, nobody} {
		if out, err := list(uid); err != nil {
			t.Errorf("user %d is not served: %v\n%s", uid, err, out)
		}
	}
	if out, err := list(somebody); err == nil {
		t.Errorf("another user is served: %s", out)
	}
	daemon.await(t, regexp.MustCompile(fmt.Sprintf(`another user \(uid %d`, somebody)))
}

// rss is how many bytes of memory a process has.
func rss(t *testing.T, pid int) int {
	t.Helper()
	for line := range strings.Lines(string(mustRead(t, fmt.Sprintf("/proc/%d/status", pid)))) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return kB << 10
		}
	}
	t.Fatalf("process %d has no VmRSS", pid)
	return 0
}

// client is a client of the daemon until the test ends.
func (w *workspace) client(t *testing.T) agent.Agent { return agent.NewClient(w.dialAgent(t)) }

// dialAgent links a client to the daemon until the test ends.
func (w *workspace) dialAgent(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", w.AgentSocket())
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Clients that ask nothing, that announce much and send little, and that send
// junk cost little, and do not keep others from being served.
func TestDaemonBearsManyClients(t *testing.T) {
	s := newStage(t)
	daemon := s.StartDaemon(t)
	pid := daemon.cmd.Process.Pid
	served := func(when string, client agent.Agent) {
		t.Helper()
		if keys, err := client.List(); err != nil || len(keys) != 1 {
			t.Errorf("%s a client gets %d keys, %v; want the managed one", when, len(keys), err)
		}
	}
	served("at first", s.client(t))
	before := rss(t, pid)
	costs := func(what string, atMost int) {
		t.Helper()
		grown := rss(t, pid) - before
		t.Logf("%s: %d KiB more memory", what, grown>>10)
		if grown > atMost {
			t.Errorf("%s cost %d bytes of memory; want at most %d", what, grown, atMost)
		}
	}

	const links, perLink = 500, 40 << 10
	conns, idle := make([]net.Conn, links), make([]agent.Agent, links)
	for i := range idle {
		conns[i] = s.dialAgent(t)
		idle[i] = agent.NewClient(conns[i])
		served(fmt.Sprintf("idle client %d:", i), idle[i])
	}
	costs("500 idle clients", links*perLink)
	served("beside 500 idle ones", s.client(t))
	for i, client := range idle {
		served(fmt.Sprintf("idle client %d, again:", i), client)
		if i >= links/2 {
			conns[i].Close()
		}
	}

	// Beside half of them, 200 that announce the longest frame that is taken.
	announce := append(binary.BigEndian.AppendUint32(nil, 256<<10), make([]byte, 300)...)
	for range 200 {
		if _, err := s.dialAgent(t).Write(announce); err != nil {
			t.Fatal(err)
		}
	}
	served("beside 200 that announce much", s.client(t))
	costs("200 that announce 256 KiB and send 300 bytes", links*perLink)

	sendJunk(t, s.workspace, 500)
	served("after junk", s.client(t))
	served("after junk, an idle one:", idle[0])
	costs("junk", links*perLink)
	if said := daemon.said(); strings.Contains(said, "panic") {
		t.Errorf("junk made the daemon panic:\n%s", said)
	}
}

// sendJunk sends frames of all messages with bodies of junk, in good frames and
// bad ones, each client until it is hung up on or has sent twenty.
func sendJunk(t *testing.T, w *workspace, clients int) {
	t.Helper()
	random := rand.New(rand.NewPCG(4, 2))
	for range clients {
		conn := w.dialAgent(t)
		for range 20 {
			body := make([]byte, 1+random.IntN(400))
			for i := range body {
				body[i] = byte(random.Uint32())
			}
			if body[0] = byte(random.IntN(31)); body[0] == 22 { // most are messages of the protocol
				body[0] = 0 // but none locks the agent
			}
			switch random.IntN(4) {
			case 0: // a string that is as long as it says
				if len(body) > 5 {
					binary.BigEndian.PutUint32(body[1:], uint32(random.IntN(len(body)-4)))
				}
			case 1:
				body = append([]byte{27, 0, 0, 0, 24}, append([]byte("session-bind@openssh.com"), body...)...)
			}
			length := uint32(len(body))
			if random.IntN(40) == 0 {
				length = random.Uint32()
			}
			answered, err := exchangeFrame(conn, length, body)
			if err != nil || !answered {
				break
			}
		}
		conn.Close()
	}
}

// exchangeFrame sends a frame and reports whether it was answered, if it can have
// been: with a length of its own it is no frame.
func exchangeFrame(conn net.Conn, length uint32, body []byte) (answered bool, err error) {
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, length), body...)); err != nil {
		return false, err
	}
	if length != uint32(len(body)) {
		return false, nil
	}
	header := make([]byte, 4)
	if _, err := io.ReadFull(conn, header); err != nil {
		return false, err
	}
	n := binary.BigEndian.Uint32(header)
	if n == 0 || n > 256<<10 {
		return false, errors.New("a frame that no client takes")
	}
	_, err = io.CopyN(io.Discard, conn, int64(n))
	return err == nil, err
}
