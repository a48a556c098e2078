package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/sshagent"
)

// lookEvery is how often is looked whether a session is still there. Its keys go
// earlier than that: once its socket is gone, nothing dials it.
const lookEvery = time.Second

// Why an agent is taken back, for the log.
var (
	errTakenBack  = errors.New("it was asked for")
	errDaemonEnds = errors.New("the daemon ends")
)

var errOwnAgent = errors.New("it leads back to the workspace daemon")

// A goneError says that nobody serves a socket, or somebody who must not.
type goneError struct{ error }

func (g *goneError) Unwrap() error { return g.error }

func gone(err error) bool { return errors.As(err, new(*goneError)) }

// watch returns when the session ends that an agent belongs to, and why it thinks
// so, or when ctx ends, with its cause. sshd removes the socket at the end of a
// session, and a client that dials in vain has it looked at, too. No link is held to
// hear of it: to sshd that is a channel, for which ssh waits when its user logs out.
// As long as somebody listens there, the session lasts, whether or not the agent
// behind answers.
func (u *upstreams) watch(ctx context.Context, e *upstreamAgent, now fs.FileInfo) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		dialledInVain := false
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-look.C:
		case <-e.wake:
			dialledInVain = true
		}
		info, err := os.Stat(e.Socket)
		if err != nil {
			return fmt.Errorf("its session has ended: %w", bare(err))
		}
		if !dialledInVain && os.SameFile(info, now) {
			continue
		}
		// Another socket may be that of another user, or lead back here.
		if err := u.meet(ctx, e.Socket); gone(err) {
			return fmt.Errorf("its session has ended: %w", err)
		}
		now = info
	}
}

// meet dials an agent, and has it show that it is one, and another than ours. Only
// the answer may take its time: a socket is dialled at once, or not at all.
func (u *upstreams) meet(ctx context.Context, socket string) error {
	conn, err := dialAgent(ctx, socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, u.timeout, fmt.Errorf("no answer in %v", u.timeout))
	defer cancel()
	own, err := u.agent.LeadsBack(ctx, conn)
	switch {
	case err != nil:
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("what listens there does not answer as one: %w", err)
	case own:
		return &goneError{errOwnAgent}
	}
	return nil
}

// dialAgent dials the socket of an agent. It looks each time at who serves it: when
// a session has ended, its path in /tmp is free for others.
func dialAgent(ctx context.Context, socket string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		for _, passing := range []error{syscall.EAGAIN, syscall.EINTR, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
			if errors.Is(err, passing) {
				return nil, err
			}
		}
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, &goneError{bare(err)}
	}
	if err := checkServer(conn); err != nil {
		conn.Close()
		return nil, &goneError{err}
	}
	return conn, nil
}

// checkServer refuses an agent of another user.
func checkServer(conn net.Conn) error {
	if err := sshagent.CheckPeer(conn); err != nil {
		return fmt.Errorf("it is served by %w", err)
	}
	return nil
}

// servedByOther is why dialAgent will refuse a socket, if another user serves it: that
// does not pass, while an agent that is not there may come.
func servedByOther(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil
	}
	defer conn.Close()
	return checkServer(conn)
}

// bare is what the system says of a socket, without its path, which is said already.
func bare(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}

const socketHint = "give the path of an ssh-agent's socket, as SSH_AUTH_SOCK has it"

// cleanSocket cleans the path of a socket, which need not be there any more.
func cleanSocket(socket string) (string, error) {
	if !filepath.IsAbs(socket) {
		return "", &Problem{fmt.Errorf("%q is not an absolute path", socket), socketHint}
	}
	return filepath.Clean(socket), nil
}

// checkSocket checks the path of an agent's socket, and cleans it.
func checkSocket(socket string) (string, fs.FileInfo, error) {
	socket, err := cleanSocket(socket)
	if err != nil {
		return "", nil, err
	}
	info, err := os.Stat(socket)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil, &Problem{fmt.Errorf("there is no socket %s", socket), `is the session over that it belonged to? "ssh -A" makes a new one`}
	case err != nil:
		return "", nil, &Problem{fmt.Errorf("the socket %s: %w", socket, bare(err)), socketHint}
	case info.Mode().Type() != fs.ModeSocket:
		return "", nil, &Problem{fmt.Errorf("%s is not a socket", socket), socketHint}
	}
	return socket, info, nil
}
