// Package forge is a small Git server over SSH, for where there is no sshd to
// play one, and for tests of what an sshd does not show: which keys were
// offered, and in which order.
package forge

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
)

// A Forge serves the repositories below Root. Its fields are set before Serve.
type Forge struct {
	Root           string                    // commands run in this directory
	AuthorizedKeys string                    // a file in the format of sshd's, read at each login
	HostKey        gossh.Signer              // how it proves itself
	Offered        func(key gossh.PublicKey) // if not nil, called for each key that a client offers

	server ssh.Server
}

// Serve answers until Close.
func (f *Forge) Serve(l net.Listener) error {
	f.server.PublicKeyHandler = f.authorized
	f.server.Handler = f.run
	f.server.AddHostKey(f.HostKey)
	if err := f.server.Serve(l); !errors.Is(err, ssh.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends the listener and all connections.
func (f *Forge) Close() error { return f.server.Close() }

func (f *Forge) authorized(_ ssh.Context, offered ssh.PublicKey) bool {
	if f.Offered != nil {
		f.Offered(offered)
	}
	rest, err := os.ReadFile(f.AuthorizedKeys)
	if err != nil {
		return false
	}
	for len(rest) > 0 {
		var key gossh.PublicKey
		if key, _, _, rest, err = gossh.ParseAuthorizedKey(rest); err != nil {
			return false
		}
		if ssh.KeysEqual(key, offered) {
			return true
		}
	}
	return false
}

// run hands the command to git's own restricted shell, which knows the commands
// of a Git server and no other.
func (f *Forge) run(s ssh.Session) {
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", "shell", "-c", s.RawCommand())
	cmd.Dir = f.Root
	cmd.Env = os.Environ()
	for _, v := range s.Environ() {
		if strings.HasPrefix(v, "GIT_PROTOCOL=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Stdout, cmd.Stderr = s, s.Stderr()
	// Not cmd.Stdin: Wait would wait for a client that says nothing more.
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		io.WriteString(s.Stderr(), "forge: "+err.Error()+"\n")
		s.Exit(127)
		return
	}
	go func() {
		io.Copy(stdin, s)
		stdin.Close()
	}()
	cmd.Wait()
	s.Exit(cmd.ProcessState.ExitCode())
}
