package workspace

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// startOpenSSHAgent runs OpenSSH's ssh-agent until the test ends. how, which may be
// nil, says how to run it.
func startOpenSSHAgent(t *testing.T, socket string, how func(*exec.Cmd)) {
	t.Helper()
	kill, err := runOpenSSHAgent(needSSHAgent(t), socket, how)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kill)
}

func needSSHAgent(t *testing.T) (path string) {
	t.Helper()
	path, err := exec.LookPath("ssh-agent")
	if err != nil {
		const reason = "there is no ssh-agent here: on Debian, apt-get install openssh-client"
		if os.Getenv("CI") != "" {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	return path
}

// runOpenSSHAgent returns when the agent listens. kill may be called twice.
func runOpenSSHAgent(program, socket string, how func(*exec.Cmd)) (kill func(), err error) {
	cmd := exec.Command(program, "-D", "-a", socket)
	if how != nil {
		how(cmd)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	kill = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it says so when it listens
		kill()
		return nil, fmt.Errorf("ssh-agent did not start: %w", err)
	}
	return kill, nil
}

// dialOpenSSHAgent waits while as many clients wait for the agent as it has room for,
// which are 128: a socket that does not block, as those of package net, is refused.
func dialOpenSSHAgent(socket string) (net.Conn, error) {
	syscall.ForkLock.RLock() // lest a program be started that has it, too
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), socket)
	defer f.Close()
	err = unix.EINTR
	for err == unix.EINTR {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
	}
	if err != nil {
		return nil, err
	}
	return net.FileConn(f)
}
