package sshd

import (
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// A program runs in a session, as the leader of a process group of its own.
type program struct {
	cmd     *exec.Cmd
	input   *os.File // what we write to
	outputs []*os.File
	screen  *terminal // nil: none
	running bool      // run was called; for the session's goroutine only
	ended   chan struct{}
	copying sync.WaitGroup

	mu     sync.Mutex
	exited bool // and its number may be another's
}

// startProgram starts a program with start, or as it is started if that is nil;
// in "/" if its directory can't be entered. With a terminal it has that, else
// pipes, as under OpenSSH's sshd.
func startProgram(cmd *exec.Cmd, screen *terminal, start func(*exec.Cmd) error) (*program, error) {
	if start == nil {
		start = (*exec.Cmd).Start
	}
	p := &program{cmd: cmd, screen: screen, ended: make(chan struct{})}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if syscall.Access(cmd.Dir, 1) != nil { // X_OK
		p.cmd.Dir = "/"
	}
	var theirs []*os.File
	if screen != nil {
		p.input, p.outputs = screen.master, []*os.File{screen.master}
		p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = screen.tty, screen.tty, screen.tty
		p.cmd.SysProcAttr.Setctty = true // of its descriptor 0
		theirs = []*os.File{screen.tty}
	} else {
		var err error
		if theirs, err = p.openPipes(); err != nil {
			return nil, err
		}
	}
	err := start(p.cmd)
	for _, f := range theirs {
		f.Close()
	}
	if err != nil {
		p.hangUp()
		return nil, err
	}
	return p, nil
}

func (p *program) openPipes() (theirs []*os.File, err error) {
	var ours []*os.File
	for i := range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			for _, f := range append(ours, theirs...) {
				f.Close()
			}
			return nil, err
		}
		if i == 0 {
			theirs, ours = append(theirs, r), append(ours, w)
		} else {
			theirs, ours = append(theirs, w), append(ours, r)
		}
	}
	p.input, p.outputs = ours[0], ours[1:]
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirs[0], theirs[1], theirs[2]
	return theirs, nil
}

// run joins the program with its channel, and closes the channel when the
// program has ended and all that it wrote was sent. What it has left in the
// background may write until the client closes the channel.
func (p *program) run(channel ssh.Channel) {
	p.running = true
	p.copying.Go(func() {
		io.Copy(p.input, channel)
		if p.screen == nil {
			p.input.Close() // who reads a terminal to its end is at the keyboard
		}
	})
	var sending sync.WaitGroup
	for i, to := range []io.Writer{channel, channel.Stderr()}[:len(p.outputs)] {
		sending.Go(func() {
			if p.screen != nil {
				p.screen.copyTo(to)
			} else {
				io.Copy(to, p.outputs[i])
			}
			p.outputs[i].Close() // if the client is gone: nobody reads what it writes
		})
	}
	go func() {
		defer close(p.ended)
		name, payload := p.wait()
		channel.SendRequest(name, false, payload)
		if p.screen != nil {
			p.screen.drain()
		}
		sending.Wait()
		channel.CloseWrite()
		channel.Close()
		p.hangUp()
		p.copying.Wait()
	}()
}

// wait waits for the program and returns the request that tells how it ended
// (RFC 4254, section 6.10).
func (p *program) wait() (name string, payload []byte) {
	waitFor(p.cmd, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.exited = true
	})
	code := uint32(255)
	if p.cmd.ProcessState != nil {
		status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
		if status.Signaled() {
			return "exit-signal", ssh.Marshal(struct {
				Signal        string
				Core          bool
				Message, Lang string
			}{signalName(status.Signal()), status.CoreDump(), "", ""})
		}
		code = uint32(status.ExitStatus())
	}
	return "exit-status", ssh.Marshal(struct{ Code uint32 }{code})
}

// hangUp closes our ends. It may be called twice.
func (p *program) hangUp() {
	p.input.Close()
	for _, f := range p.outputs {
		f.Close()
	}
}

// signals are those that a client may send (RFC 4254, section 6.9).
var signals = map[string]syscall.Signal{
	"ABRT": syscall.SIGABRT, "ALRM": syscall.SIGALRM, "FPE": syscall.SIGFPE, "HUP": syscall.SIGHUP, "ILL": syscall.SIGILL,
	"INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "PIPE": syscall.SIGPIPE, "QUIT": syscall.SIGQUIT,
	"SEGV": syscall.SIGSEGV, "TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
}

// signalName is what SSH calls a signal. Those that RFC 4254 does not know are
// called as OpenSSH calls them.
func signalName(signal syscall.Signal) string {
	for name, s := range signals {
		if s == signal {
			return name
		}
	}
	return "SIG@openssh.com"
}

// signal sends a signal to the program's process group.
func (p *program) signal(name string) bool {
	s, ok := signals[name]
	return ok && p.kill(s)
}

func (p *program) kill(s syscall.Signal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.exited && syscall.Kill(-p.cmd.Process.Pid, s) == nil
}
