package test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen; it ends a test that
// hangs and is never what a test waits for.
const patience = 2 * time.Minute

// A wrapper puts another program in front of a command, such as strace. It is
// called for each run, concurrently. nil leaves the command alone.
type wrapper func(argv []string) []string

func (w wrapper) wrap(argv []string) []string {
	if w == nil {
		return argv
	}
	return w(argv)
}

// A process is a program that runs beside the test until the test ends.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended

	mu     sync.Mutex
	output strings.Builder
	ready  *regexp.Regexp
	match  chan []string // what ready matched first, once
}

// start runs a program until the test ends and returns when its output (either
// stream) matches ready, with the match's groups.
func start(t testing.TB, cmd *exec.Cmd, ready *regexp.Regexp) (*process, []string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, exited: make(chan struct{}), ready: ready, match: make(chan []string, 1)}
	cmd.Stdout, cmd.Stderr = w, w
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // a wrapper and what it runs get one signal
	err = cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		t.Fatal(err)
	}
	var read sync.WaitGroup
	read.Go(func() { p.read(r) })
	go func() {
		cmd.Wait()
		read.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.stop(t)
		keepOutput(cmd.Args, []byte(p.said()))
		if t.Failed() {
			t.Logf("%s said:\n%s", strings.Join(cmd.Args, " "), p.said())
		}
	})
	deadline, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case m := <-p.match:
		return p, m
	case <-p.exited:
		t.Fatalf("%s ended before it was ready: %v", strings.Join(cmd.Args, " "), cmd.ProcessState)
	case <-deadline.Done():
		t.Fatalf("%s printed nothing like %s", strings.Join(cmd.Args, " "), ready)
	}
	panic("unreachable")
}

// read collects the output, whole lines at a time, and looks for the ready text.
func (p *process) read(r *os.File) {
	defer r.Close()
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		p.mu.Lock()
		p.output.WriteString(line)
		if p.ready != nil {
			if m := p.ready.FindStringSubmatch(p.output.String()); m != nil {
				p.match <- m
				p.ready = nil
			}
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// await waits until what the program has printed matches.
func (p *process) await(t testing.TB, what *regexp.Regexp) {
	t.Helper()
	p.mu.Lock()
	there := what.MatchString(p.output.String())
	if !there {
		p.ready = what
	}
	p.mu.Unlock()
	if there {
		return
	}
	select {
	case <-p.match:
	case <-p.exited:
		t.Fatalf("%s ended before it printed %s", strings.Join(p.cmd.Args, " "), what)
	case <-time.After(patience):
		t.Fatalf("%s printed nothing like %s", strings.Join(p.cmd.Args, " "), what)
	}
}

// said is what the program has printed so far.
func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// signal sends a signal to the program, and to what stands in front of it.
func (p *process) signal(sig syscall.Signal) { syscall.Kill(-p.cmd.Process.Pid, sig) }

// stop ends the program as an operator would and waits for it. A second call
// does nothing.
func (p *process) stop(t testing.TB) {
	t.Helper()
	select {
	case <-p.exited:
		return
	default:
	}
	p.signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Errorf("%s did not end after SIGTERM", strings.Join(p.cmd.Args, " "))
		p.signal(syscall.SIGKILL)
		<-p.exited
	}
}

// kill ends the program as the kernel would for lack of memory.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.exited
}
