package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/workspace"
)

// offerTimeout is how long a signature waits for the daemon to say what it offers.
const offerTimeout = 5 * time.Second

// maxPublicKeyFile is more than a public key of any kind.
const maxPublicKeyFile = 64 << 10

// calledAsKeygen reports whether git runs this program for ssh-keygen, by the
// link that [program.gitConfig] makes.
func calledAsKeygen(name string) bool { return filepath.Base(name) == keygenName }

// keygen becomes ssh-keygen, or runs it to sign with a key that the daemon offers. Then
// it is given the daemon's agent, whatever agent the user's shell has; and the key is
// noted, so that git can check the signature.
func (p *program) keygen(args []string) int {
	keygen, err := findOther(keygenName, "", "install OpenSSH's client")
	if err != nil {
		p.fail(err)
		return exitNoSSH
	}
	env := withoutVariable(os.Environ(), "LATCHKEY_TOKEN")
	args = append([]string{keygenName}, args...)
	if file := signsWith(args); file != "" {
		s, err := daemonSigns(file)
		if err != nil {
			p.warn(err) // ssh-keygen goes on: it may have the key from elsewhere
		}
		if s != nil {
			env = append(withoutVariable(env, "SSH_AUTH_SOCK"), "SSH_AUTH_SOCK="+workspace.AgentSocket(s.dir))
			return p.keygenOfDaemon(s, &exec.Cmd{Path: keygen, Args: args, Env: env})
		}
	}
	err = syscall.Exec(keygen, args, env)
	p.fail(fmt.Errorf("running %s: %w", keygen, err))
	return exitNoSSH
}

// keygenOfDaemon runs ssh-keygen to sign with a key of the daemon, and says what it can't
// know: why its agent has refused.
func (p *program) keygenOfDaemon(s *daemonSigner, cmd *exec.Cmd) int {
	var keygen child
	began := time.Now()
	keygen.catchSignals()
	if err := keygen.start(cmd); err != nil {
		p.fail(err)
		return exitNoSSH
	}
	status, err := keygen.wait()
	if err != nil {
		p.fail(err)
		return exitNoSSH
	}
	if status.Exited() && status.ExitStatus() != 0 {
		if why := s.whyNot(began); why != nil {
			p.fail(why)
		}
	}
	return exitAs(status)
}

// withoutVariable leaves a variable out of an environment: of two of a name,
// programs take the first.
func withoutVariable(env []string, name string) []string {
	return slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
}

// signsWith is the file of the key with which ssh-keygen is to sign, as git
// calls it: -Y sign -n git -f FILE [-U] BUFFER.
func signsWith(args []string) (file string) {
	sign := false
	for i, arg := range args[:max(0, len(args)-1)] {
		switch arg {
		case "-Y":
			sign = args[i+1] == "sign"
		case "-f":
			file = args[i+1]
		}
	}
	if !sign {
		return ""
	}
	return file
}

// A daemonSigner is a daemon with a key that it offers.
type daemonSigner struct {
	dir    string // the runtime directory
	public ssh.PublicKey
}

// daemonSigns is the daemon if it offers the public key in a file; nil if it does not.
func daemonSigns(file string) (*daemonSigner, error) {
	public := readPublicKey(file)
	if public == nil {
		return nil, nil
	}
	dir, err := workspace.RuntimeDir(os.Getenv)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), offerTimeout)
	defer cancel()
	offer, err := workspace.LastOffer(ctx, dir)
	if err != nil {
		return nil, nil // without a daemon, a key of the user's own must do as ever
	}
	for _, line := range offer.Keys {
		if blobOf(line) != blobOf(authorizedLine(public)) {
			continue
		}
		files, err := findSigningFiles()
		if err == nil {
			err = files.note(ctx, authorizedLine(public))
		}
		return &daemonSigner{dir, public}, err
	}
	return nil, nil
}

// whyNot is why the daemon has made no signature since a time; nil if it does not say.
func (s *daemonSigner) whyNot(since time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), offerTimeout)
	defer cancel()
	last, err := workspace.LastOffer(ctx, s.dir)
	switch {
	case workspace.NotRunning(err):
		return withHint(errors.New("the workspace daemon has ended"), "latchkey agent")
	case err != nil: // it is busy, perhaps
		return withHint(err, "latchkey status")
	}
	const notSigned = "the workspace daemon has not signed: %s"
	fingerprint := ssh.FingerprintSHA256(s.public)
	switch refusal := lastRefusal(last, since, func(r workspace.StateRefusal) bool { return r.Key == fingerprint }); {
	case last.Locked:
		return errAgentLocked
	case refusal.Why != "" && last.Error != "": // of a server that is to sign, and does not answer
		return withHint(fmt.Errorf(notSigned, refusal.Why), "latchkey status")
	case refusal.Why != "": // which says what can be done, if that is known
		return fmt.Errorf(notSigned, refusal.Why)
	case last.Error != "":
		return withHint(fmt.Errorf(notSigned, last.Error), "latchkey status")
	}
	return nil
}

// readPublicKey reads the key that git has written to a file for ssh-keygen:
// nil if it is no public key.
func readPublicKey(file string) ssh.PublicKey {
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxPublicKeyFile {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return public
}
