package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/pkg/sftp"
)

// sftpArgument makes this program an SFTP server on its standard input and
// output: what the process that serves SSH starts for a client that wants one. It is
// a process of its own, so that who speaks SFTP reads and writes files as any
// program of the user does, and nothing of the connections of others.
const sftpArgument = "sftp-server"

// sftpCommand is how the process that serves SSH starts it.
func sftpCommand() ([]string, error) {
	self, err := selfCommand()
	return []string{self, sftpArgument}, err
}

// sftpServer serves SFTP until its client is gone.
func (p *program) sftpServer(args []string) int {
	out, ok := p.stdout.(io.WriteCloser)
	if !ok || len(args) > 0 {
		return p.fail(usagef("%s is run by latchkey agent --sshd, and takes no arguments", sftpArgument))
	}
	server, err := sftp.NewServer(struct {
		io.Reader
		io.WriteCloser
	}{p.stdin, out})
	if err == nil {
		err = server.Serve()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return p.fail(fmt.Errorf("serving SFTP: %w", err))
	}
	return 0
}
