package workspace

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
)

// sessionEnviron is the environment of what runs in an SSH session: base with
// the user's secrets, and what has programs find the daemon.
func (d *Daemon) sessionEnviron(base []string) []string {
	for _, v := range d.config.SSHEnviron {
		name, _, _ := strings.Cut(v, "=")
		base = append(withoutVariables(base, name), v)
	}
	return d.Environ(withoutVariables(base, "LATCHKEY_TOKEN_FILE"))
}

// listenSSH listens for SSH clients, nil if there is to be no SSH.
func (d *Daemon) listenSSH(ctx context.Context) (net.Listener, error) {
	if d.config.SSHD == "" {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", d.config.SSHD)
	if err != nil {
		return nil, &Problem{fmt.Errorf("serving SSH: %w", err), "give --sshd an address of this machine that is free, such as 127.0.0.1:2222"}
	}
	return l, nil
}

// serveSSH serves SSH until ctx ends or stop is called. It may be called twice.
func (d *Daemon) serveSSH(ctx context.Context, l net.Listener) (stop func()) {
	if d.ssh == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { d.ssh.run(ctx, l) })
	return sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
}
