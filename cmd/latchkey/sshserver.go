package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/workspace"
)

// sshServerArgument makes this program the SSH server of a workspace daemon, which
// starts it before it confines itself. It has no key of the user's, and no token.
const sshServerArgument = "ssh-server"

// sshServerCommand is how the daemon starts it.
func sshServerCommand(log logForm) ([]string, error) {
	self, err := selfCommand()
	return []string{self, sshServerArgument, string(log)}, err
}

// selfCommand is a path by which this program starts itself.
func selfCommand() (string, error) {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe", nil // also if the file was replaced meanwhile
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding the path of latchkey: %w", err)
	}
	return self, nil
}

// sshServer serves SSH until its daemon ends, or a signal ends it.
func (p *program) sshServer(args []string) int {
	// Programs of the user are started by it, so it is not confined.
	report := harden.HostProcess()
	misused := usagef("%s is run by latchkey agent --sshd, and by nobody else", sshServerArgument)
	if len(args) != 1 || !slices.Contains([]logForm{logText, logJSON}, logForm(args[0])) {
		return p.fail(misused)
	}
	debug.SetGCPercent(daemonGCPercent)
	log := p.logger(logForm(args[0]))
	if report.Dumpable {
		log.Warn("the process that serves SSH can be looked into by others of this user")
	}
	// Not ignored: its sessions would inherit that. A log that nobody reads any more,
	// as the daemon's when that was killed, must not keep it from ending its sessions.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	err := workspace.ServeSSH(ctx, report, log)
	switch {
	case errors.Is(err, workspace.ErrNotStarted):
		return p.fail(misused)
	case err != nil:
		log.Error("SSH is not served any more", "err", err)
		return exitError
	}
	return 0
}
