package sshd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	gliderlabs "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"
)

// A session is one channel of that kind (RFC 4254, section 6): a program, its
// terminal if it has one, and what was asked for before it began.
type session struct {
	server    *Server
	client    *client
	channel   ssh.Channel
	variables []string
	terminal  *terminal // nil: none
	program   *program  // nil: not started
	agent     bool      // it brought its agent along
}

// serveSession serves one session until its channel is closed and its program
// has ended.
func (s *Server) serveSession(_ *gliderlabs.Server, conn *ssh.ServerConn, asked ssh.NewChannel, ctx gliderlabs.Context) {
	session := &session{server: s, client: clientOf(ctx)}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		asked.Reject(ssh.Prohibited, "the server is shutting down")
		return
	}
	s.sessions[session] = true
	s.running.Add(1)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.sessions, session)
		s.mu.Unlock()
		s.running.Done()
	}()
	channel, requests, err := asked.Accept()
	if err != nil {
		return
	}
	session.channel = channel
	session.serve(conn, requests)
}

func (s *session) serve(conn *ssh.ServerConn, requests <-chan *ssh.Request) {
	for r := range requests {
		ok := s.answer(conn, r)
		if r.WantReply {
			r.Reply(ok, nil)
		}
		if ok && s.program != nil && !s.program.running {
			s.program.run(s.channel) // not before the client knows that it has begun
		}
	}
	s.channel.Close()
	if s.agent {
		s.client.releaseAgent()
	}
	if s.program != nil {
		// With a terminal the kernel now sends it SIGHUP; without one it goes on
		// until it reads or writes, as with OpenSSH's sshd.
		s.program.hangUp()
		<-s.program.ended
	} else if s.terminal != nil {
		s.terminal.close()
	}
}

// answer does what a client asks for, and reports whether that was done.
func (s *session) answer(conn *ssh.ServerConn, r *ssh.Request) bool {
	switch r.Type {
	case "env":
		return s.setVariable(r.Payload)
	case "pty-req":
		return s.openTerminal(r.Payload)
	case "window-change":
		return s.resize(r.Payload)
	case "auth-agent-req@openssh.com":
		if s.program == nil && !s.agent {
			s.agent = s.client.bringAgent(conn)
		}
		return s.agent
	case "shell":
		return s.start(s.server.Account.Shell, "-"+filepath.Base(s.server.Account.Shell))
	case "exec":
		var command struct{ Line string }
		if ssh.Unmarshal(r.Payload, &command) != nil || strings.Contains(command.Line, "\x00") {
			return false
		}
		return s.start(s.server.Account.Shell, filepath.Base(s.server.Account.Shell), "-c", command.Line)
	case "subsystem":
		var subsystem struct{ Name string }
		if ssh.Unmarshal(r.Payload, &subsystem) != nil || subsystem.Name != "sftp" || len(s.server.SFTP) == 0 {
			return false
		}
		return s.start(s.server.SFTP[0], append([]string{"latchkey"}, s.server.SFTP[1:]...)...) // for ps: the path may be /proc/self/exe
	case "signal":
		var signal struct{ Name string }
		return ssh.Unmarshal(r.Payload, &signal) == nil && s.program != nil && s.program.signal(signal.Name)
	}
	return false
}

// setVariable answers "env" (RFC 4254, section 6.4).
func (s *session) setVariable(payload []byte) bool {
	var v struct{ Name, Value string }
	if ssh.Unmarshal(payload, &v) != nil || s.program != nil || !mayBeSet(v.Name) ||
		len(v.Name)+1+len(v.Value) > maxVariable || len(s.variables) == maxVariables || strings.Contains(v.Value, "\x00") {
		return false
	}
	s.variables = append(s.variables, v.Name+"="+v.Value)
	return true
}

// start starts the program of the session.
func (s *session) start(path string, argv ...string) bool {
	if s.program != nil {
		return false
	}
	program, err := startProgram(&exec.Cmd{Path: path, Args: argv, Env: s.environ(os.Environ()), Dir: s.server.Account.Home}, s.terminal, s.server.Start)
	if err != nil {
		s.server.Log.Error("program not started", "program", path, "err", err)
		return false
	}
	s.server.mu.Lock()
	s.program = program
	s.server.mu.Unlock()
	return true
}

// kill sends a signal to the program that still runs. The server's mu is held.
func (s *session) kill(signal syscall.Signal) {
	if s.program != nil {
		s.program.kill(signal)
	}
}
