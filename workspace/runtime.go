package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/sshagent"
)

// RuntimeDir is the directory of the daemon's sockets: $LATCHKEY_RUNTIME_DIR,
// else $XDG_RUNTIME_DIR/latchkey, else /tmp/latchkey-UID. It says where, and
// makes nothing: see [MakeRuntimeDir].
func RuntimeDir(getenv func(string) string) (string, error) {
	if dir := getenv("LATCHKEY_RUNTIME_DIR"); dir != "" {
		if !filepath.IsAbs(dir) {
			return "", &Problem{fmt.Errorf("LATCHKEY_RUNTIME_DIR=%s: not an absolute path", dir), "programs in other directories must find it: give a path that begins with /"}
		}
		return filepath.Clean(dir), nil
	}
	// The XDG base directory specification wants relative paths ignored.
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "latchkey"), nil
	}
	return "/tmp/latchkey-" + strconv.Itoa(os.Getuid()), nil
}

// AgentSocket is the path of the ssh-agent's socket in a runtime directory.
func AgentSocket(dir string) string { return filepath.Join(dir, "agent.sock") }

// ControlSocket is the path of the daemon's control socket in a runtime directory.
func ControlSocket(dir string) string { return filepath.Join(dir, "control.sock") }

// namingDaemon adds to an error of listening in a runtime directory which process it is
// that has it, if that is a daemon and says so.
func namingDaemon(ctx context.Context, dir string, err error) error {
	if !errors.Is(err, sshagent.ErrInUse) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout+time.Second) // it asks its server meanwhile
	defer cancel()
	s, statusErr := Status(ctx, dir)
	if statusErr != nil || s.PID == 0 {
		return err
	}
	return &Problem{fmt.Errorf("%w: a workspace daemon, process %d", err, s.PID),
		fmt.Sprintf(`use that one, of which "latchkey status" says more; or end it first: kill %d; or choose another directory with LATCHKEY_RUNTIME_DIR`, s.PID)}
}

// MakeRuntimeDir makes a runtime directory (0700) if there is none, and checks
// it as [CheckRuntimeDir] does.
func MakeRuntimeDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("making the runtime directory %s: %w", dir, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making the runtime directory %s: %w", dir, err)
	}
	return CheckRuntimeDir(dir)
}

// CheckRuntimeDir checks that a runtime directory is a directory of this user
// that no other can enter: /tmp/latchkey-UID may be somebody's trap. The error
// is fs.ErrNotExist if there is none.
func CheckRuntimeDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("the runtime directory %s: %w", dir, errors.Unwrap(err))
	}
	const elsewhere = "choose another one with LATCHKEY_RUNTIME_DIR"
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case !info.IsDir():
		return &Problem{fmt.Errorf("the runtime directory %s: not a directory", dir), elsewhere}
	case int(owner) != os.Geteuid():
		return &Problem{fmt.Errorf("the runtime directory %s belongs to user %d, not to you", dir, owner), elsewhere}
	case info.Mode().Perm()&0o077 != 0:
		return &Problem{fmt.Errorf("the runtime directory %s has mode %04o: other users may enter it", dir, info.Mode().Perm()), "chmod 700 " + dir}
	}
	return nil
}
