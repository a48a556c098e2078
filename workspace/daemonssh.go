package workspace

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
)

// sessionEnviron is the environment of what runs in an SSH session: base with
// the user's secrets, and with what has programs find the daemon.
func sessionEnviron(base, finds []string, secrets []Variable) []string {
	for _, v := range finds {
		name, _, _ := strings.Cut(v, "=")
		base = append(withoutVariables(base, name), v)
	}
	return Environ(withoutVariables(base, "LATCHKEY_TOKEN_FILE"), secrets)
}

// startSSH listens for SSH clients and starts the process that serves them; it is
// nil if there is to be no SSH. It is called before the daemon is confined, which
// could do neither then.
func (d *Daemon) startSSH(ctx context.Context) (*sshProcess, error) {
	if d.ssh == nil {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", d.config.SSHD)
	if err != nil {
		return nil, &Problem{fmt.Errorf("serving SSH: %w", err), "give --sshd an address of this machine that is free, such as 127.0.0.1:2222"}
	}
	d.ssh.address = l.Addr().String()
	return startSSHProcess(d.config.SSHServer, l, d.config.Process.AsStarted, d.ssh)
}

// serveSSH has SSH served until ctx ends or stop is called. It may be called twice.
func (d *Daemon) serveSSH(ctx context.Context, p *sshProcess) (stop func()) {
	if p == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { d.ssh.run(ctx, p) })
	return sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
}

// sessionSecrets are the secrets of the moment for a program of a session, as JSON
// of a SecretState.
func (d *Daemon) sessionSecrets() ([]byte, error) {
	if d.secrets == nil {
		return encodeState(SecretState{Variables: []Variable{}})
	}
	state, _ := d.secrets.state()
	defer state.wipe()
	return encodeState(SecretState{Variables: state.Variables})
}
