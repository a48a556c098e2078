package workspace

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
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
