package workspace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/workspace/sshd"
)

// A sshServing is with what the daemon has SSH served.
type sshServing struct {
	HostKey []byte // the public half
	Account sshd.Account
	SFTP    []string
	Environ []string // of sessions: what has programs find the daemon
}

// A sshFront serves SSH in a process of its own, by what the daemon says.
type sshFront struct {
	link     *sshLink
	listener net.Listener
	process  harden.Report
	log      *slog.Logger
	patience time.Duration // with the daemon, for an answer
	wake     chan struct{} // holds one: see who may still be in
	failed   chan error    // holds one: why nobody is accepted any more
	running  sync.WaitGroup

	mu     sync.Mutex
	server *sshd.Server // nil: it was not told to serve yet
	last   uint64
	agents map[uint64]func(context.Context) (net.Conn, error)
}

// ErrNotStarted is what [ServeSSH] returns in a process that no daemon has started
// for this.
var ErrNotStarted = errors.New("no workspace daemon has started this process")

// ServeSSH serves SSH for the workspace daemon that has started this process, until
// that ends or ctx does: then the programs of sessions have as long as Shutdown of
// [sshd.Server] gives them. process says with what limits they are started.
func ServeSSH(ctx context.Context, process harden.Report, log *slog.Logger) error {
	conn, err := inherited(sshLinkFD, net.FileConn)
	if err != nil {
		return err
	}
	link, ok := conn.(*net.UnixConn)
	if !ok {
		return ErrNotStarted
	}
	l, err := inherited(sshListenerFD, net.FileListener)
	if err != nil {
		return err
	}
	return newSSHFront(link, l, process, log).run(ctx)
}

// inherited takes over a descriptor. What it makes is closed for other programs.
func inherited[T any](fd uintptr, take func(*os.File) (T, error)) (v T, err error) {
	f := os.NewFile(fd, "the daemon's")
	if v, err = take(f); err != nil {
		return v, fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	return v, f.Close()
}

func newSSHFront(conn *net.UnixConn, l net.Listener, process harden.Report, log *slog.Logger) *sshFront {
	f := &sshFront{
		listener: l, process: process, log: log, patience: sshTimeout,
		wake: make(chan struct{}, 1), failed: make(chan error, 1),
		agents: make(map[uint64]func(context.Context) (net.Conn, error)),
	}
	f.link = &sshLink{conn: conn, answer: f.answer, largest: maxSecrets, most: maxSSHQuestion, takes: true, ended: make(chan struct{})}
	return f
}

func (f *sshFront) run(ctx context.Context) (err error) {
	rechecking, cancel := context.WithCancel(ctx)
	defer cancel()
	f.running.Go(func() { f.link.run() })
	f.running.Go(func() { f.recheck(rechecking) })
	select {
	case <-ctx.Done():
	case <-f.link.ended:
	case err = <-f.failed:
	}
	f.listener.Close()
	f.mu.Lock()
	server := f.server
	f.mu.Unlock()
	if server != nil {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		server.Shutdown(stopping)
	}
	cancel()
	f.link.conn.Close()
	f.running.Wait()
	return err
}

// answer does what the daemon asks for.
func (f *sshFront) answer(ask string, body []byte, file *os.File) (any, error) {
	if file != nil {
		defer file.Close()
	}
	switch ask {
	case askServe:
		s, err := parsed[sshServing](body)
		if err != nil {
			return nil, err
		}
		return nil, f.serve(s)
	case askRecheck:
		select {
		case f.wake <- struct{}{}:
		default: // it will be done
		}
		return nil, nil
	case askDial:
		a, err := parsed[sshAgent](body)
		if err != nil {
			return nil, err
		}
		return nil, f.dial(a.Number, file)
	}
	return nil, fmt.Errorf("the process that serves SSH does not do %q", ask)
}

// serve begins to accept clients.
func (f *sshFront) serve(s sshServing) error {
	key, err := ssh.ParsePublicKey(s.HostKey)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.server != nil {
		return errors.New("SSH is served already")
	}
	f.server = &sshd.Server{
		HostKey: sshHostSigner{f.link, key}, Authorized: f.authorized, Account: s.Account, SFTP: s.SFTP, Agents: f, Log: f.log,
		Refused: func(r sshd.Refusal) { f.link.tell(askRefused, r) },
		Environ: func(base []string) []string { return f.environ(base, s.Environ) },
		Start:   func(cmd *exec.Cmd) error { return f.process.AsStarted(cmd.Start) },
	}
	f.running.Go(func() {
		if err := f.server.Serve(f.listener); !errors.Is(err, sshd.ErrServerClosed) {
			f.failed <- err
		}
	})
	return nil
}

// recheck ends the connections of who may not be in any more, when it is told to. A
// daemon that does not answer, for the machine is busy or was asleep, costs
// nobody their session: it is asked again until it answers or ends.
func (f *sshFront) recheck(ctx context.Context) {
	whenTold(ctx, f.wake, func() bool {
		f.mu.Lock()
		server := f.server
		f.mu.Unlock()
		if server == nil {
			return true
		}
		err := server.Recheck()
		if err != nil {
			f.log.Warn("SSH connections stay as they are: who may be in is asked again", "err", err)
		}
		return err == nil
	})
}

// whenTold does something whenever it is told to, and again while that fails.
func whenTold(ctx context.Context, told <-chan struct{}, do func() (ok bool)) {
	again := newRetry(watchLeast, watchMost)
	defer again.done()
	for {
		select {
		case <-ctx.Done():
			return
		case <-told:
		case <-again.C:
		}
		if do() {
			again.done()
		} else {
			again.again()
		}
	}
}

// ask asks the daemon, which answers at once unless the machine is busy.
func (f *sshFront) ask(what string, question, answer any) error {
	ctx, cancel := context.WithTimeout(context.Background(), f.patience)
	defer cancel()
	return f.link.ask(ctx, what, question, answer, nil)
}

// authorized lets in whom the daemon does. It is not asked about what nobody has.
func (f *sshFront) authorized(user string, key ssh.PublicKey) (name string, err error) {
	blob := key.Marshal()
	if len(user) > maxSSHUser || len(blob) > maxSSHLoginKey {
		return "", fmt.Errorf("%w: nobody has such a long name, or such a large key", sshd.ErrRefused)
	}
	var answer sshAuthorized
	err = f.ask(askAuthorized, sshLogin{[]byte(user), blob}, &answer)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errLinkEnded):
		return "", fmt.Errorf("the daemon does not answer: %w", err)
	case err != nil:
		return "", fmt.Errorf("%w: %w", sshd.ErrRefused, err)
	case !answer.OK:
		return "", fmt.Errorf("%w: %s", sshd.ErrRefused, answer.Why)
	}
	return answer.Name, nil
}

func (f *sshFront) environ(base, finds []string) []string {
	var secrets SecretState
	if err := f.ask(askVariables, nil, &secrets); err != nil {
		f.log.Warn("a session has no secrets: the daemon does not give them", "err", err)
	}
	defer secrets.wipe()
	return sessionEnviron(base, finds, secrets.Variables)
}

// Attach offers an agent, as [sshd.Agents] has it.
func (f *sshFront) Attach(name string, id []byte, dial func(context.Context) (net.Conn, error)) (detach func()) {
	f.mu.Lock()
	f.last++
	a := sshAgent{f.last, name, id}
	f.agents[a.Number] = dial // first: it may be wanted before the daemon has answered
	f.mu.Unlock()
	if err := f.ask(askAttach, a, nil); err != nil {
		f.log.Warn("agent not attached", "agent", name, "err", err)
	}
	return func() {
		f.mu.Lock()
		delete(f.agents, a.Number)
		f.mu.Unlock()
		f.link.tell(askDetach, sshAgent{Number: a.Number})
	}
}

// dial joins a link of the daemon's with the agent that a client has brought along.
func (f *sshFront) dial(number uint64, file *os.File) error {
	f.mu.Lock()
	dial := f.agents[number]
	f.mu.Unlock()
	if dial == nil || file == nil {
		return errors.New("the client has gone")
	}
	link, err := net.FileConn(file)
	if err != nil {
		return err
	}
	agent, err := dial(context.Background()) // ends with the client
	if err != nil {
		link.Close()
		return err
	}
	var joined sync.WaitGroup
	for _, way := range [][2]net.Conn{{agent, link}, {link, agent}} {
		joined.Go(func() {
			io.Copy(way[0], way[1])
			agent.Close()
			link.Close()
		})
	}
	f.running.Go(joined.Wait)
	return nil
}
