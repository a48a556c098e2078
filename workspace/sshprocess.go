package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What the process that serves SSH gets: its end of the link, and the listener.
const (
	sshLinkFD     = 3
	sshListenerFD = 4
)

const (
	sshStalled = 10 * time.Second // for it to take a message
	sshEnding  = 2 * time.Second  // more than the programs of its sessions get
)

// A sshProcess is the process that serves SSH, as the daemon sees it. It reads what
// strangers send, and runs what the user wants, so it holds no key of theirs and no
// token, and the daemon can be confined: what OpenSSH's sshd calls privilege
// separation.
type sshProcess struct {
	service *sshService
	link    *sshLink
	wait    func() error // until it has ended, and says how
	kill    func()
	done    chan struct{} // closed when it has ended
	why     error         // set before done is closed
	ending  sync.Once

	mu     sync.Mutex
	agents map[uint64]func() // what detaches each
}

// startSSHProcess starts it, by a command that calls [ServeSSH]. start calls what it
// is given, with the limits that are for the user's programs. l is its from now on.
func startSSHProcess(command []string, l net.Listener, start func(func() error) error, s *sshService) (*sshProcess, error) {
	const doing = "starting the process that serves SSH: %w"
	defer l.Close() // else a port is held that nobody serves
	tcp, ok := l.(*net.TCPListener)
	if !ok || len(command) == 0 {
		return nil, fmt.Errorf(doing, errors.New("there is no program that does"))
	}
	listener, err := tcp.File()
	if err != nil {
		return nil, fmt.Errorf(doing, err)
	}
	defer listener.Close()
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf(doing, err)
	}
	defer theirs.Close()
	closeOnExec() // what this process was started with may have a token in it
	cmd := &exec.Cmd{
		Path: command[0], Args: append([]string{"latchkey"}, command[1:]...), // for ps: the path may be /proc/self/exe
		Env:        withoutVariables(os.Environ(), tokenVariable, tokenFDVariable, "LATCHKEY_TOKEN_FILE"),
		Stderr:     os.Stderr,
		ExtraFiles: []*os.File{theirs, listener}, // sshLinkFD, sshListenerFD
		// What is typed at the daemon's terminal is for the daemon, which ends it in order.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := start(cmd.Start); err != nil {
		ours.Close()
		return nil, fmt.Errorf(doing, err)
	}
	return newSSHProcess(ours, s, cmd.Wait, func() { cmd.Process.Kill() }), nil
}

func newSSHProcess(conn *net.UnixConn, s *sshService, wait func() error, kill func()) *sshProcess {
	p := &sshProcess{service: s, wait: wait, kill: kill, done: make(chan struct{}), agents: make(map[uint64]func())}
	p.link = &sshLink{conn: conn, answer: p.answer, largest: maxSSHQuestion, places: make(chan struct{}, maxSSHQuestions), stalled: sshStalled, ended: make(chan struct{})}
	go p.watch()
	return p
}

// watch answers the process until it ends, which it must when its link does.
func (p *sshProcess) watch() {
	defer close(p.done)
	broken := p.link.run()
	p.link.conn.Close()
	if errors.Is(broken, io.EOF) {
		broken = nil
		defer p.killAfter(shutdownTimeout + sshEnding)()
	} else {
		p.kill() // a message that must not be, or one that it did not take
	}
	p.why = p.wait()
	if p.why == nil {
		p.why = errors.New("it has left")
	}
	if broken != nil && !errors.Is(broken, syscall.ECONNRESET) { // it had not read all before it ended
		p.why = fmt.Errorf("%w, after: %w", p.why, broken)
	}
	p.mu.Lock()
	agents := p.agents
	p.agents = nil
	p.mu.Unlock()
	for _, detach := range agents {
		detach()
	}
}

func (p *sshProcess) killAfter(d time.Duration) (stop func()) {
	t := time.AfterFunc(d, p.kill)
	return func() { t.Stop() }
}

// stop has the process end its sessions, and waits for it. It may be called twice,
// and does nothing on nil.
func (p *sshProcess) stop() {
	if p == nil {
		return
	}
	p.ending.Do(func() {
		p.link.closeWrite()
		defer p.killAfter(shutdownTimeout + sshEnding)()
		<-p.done
	})
}

func (p *sshProcess) ended() <-chan struct{} { return p.done }

// err is why it has ended.
func (p *sshProcess) err() error { return p.why }

func (p *sshProcess) serve(ctx context.Context, s sshServing) error {
	return p.link.ask(ctx, askServe, s, nil, nil)
}

func (p *sshProcess) recheck() { p.link.tell(askRecheck, nil) }

// dial makes a link to an agent that a client has brought along: the process gets
// one end of it, to join with a channel of the client's connection.
func (p *sshProcess) dial(ctx context.Context, number uint64) (net.Conn, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	if err := p.link.ask(ctx, askDial, sshAgent{Number: number}, nil, theirs); err != nil {
		ours.Close()
		return nil, err
	}
	return ours, nil
}

// socketPair returns the ends of two joined sockets, the second one for another process.
func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	syscall.ForkLock.RLock() // lest a program be started before both are closed for it
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("joining two sockets: %w", err)
	}
	first := os.NewFile(uintptr(fds[0]), "socketpair")
	defer first.Close()
	theirs = os.NewFile(uintptr(fds[1]), "socketpair")
	conn, err := net.FileConn(first)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("joining two sockets: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}
