package workspace

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/internal/harden"
	"github.com/latchkey/latchkey/sshagent"
)

// KeepAdded returns what keeps private keys that clients add as those of the server
// are kept: outside the Go heap, and expanded to sign. See [sshagent.Server.Keep].
func KeepAdded() func(ssh.PublicKey, []byte) (sshagent.Signer, error) {
	return newEraser(harden.Collect).keepAdded
}

func (e *eraser) keepAdded(public ssh.PublicKey, private []byte) (sshagent.Signer, error) {
	var kept *harden.Shielded
	var err error
	harden.Do(func() { kept, err = shieldAdded(public, private) })
	if err != nil {
		e.collect()
		return nil, err
	}
	return newSigner(public, kept, e, e.collect), nil
}

// shieldAdded must be called in harden.Do.
func shieldAdded(public ssh.PublicKey, private []byte) (*harden.Shielded, error) {
	key, err := sshagent.ParsePrivateKey(public, private)
	if err != nil {
		return nil, err
	}
	form, err := formOf(key)
	if err != nil {
		return nil, err
	}
	return harden.Shield(form)
}

// maxConfirmed bounds what is read of an askpass program's answer.
const maxConfirmed = 16

// Askpass asks whether a key may be used, by a program such as ssh-askpass: yes
// is that it ends well, having printed nothing or "yes" (ssh-add(1), -c;
// OpenSSH's readpass.c). It is nil if there is no program to ask with.
func Askpass(program string, log *slog.Logger) func(context.Context, sshagent.Key, string) bool {
	if program == "" {
		return nil
	}
	return func(ctx context.Context, key sshagent.Key, prompt string) bool {
		cmd := exec.CommandContext(ctx, program, prompt)
		cmd.Env = append(os.Environ(), "SSH_ASKPASS_PROMPT=confirm")
		var answer bytes.Buffer
		cmd.Stdout = &limitedBuffer{&answer}
		if err := cmd.Run(); err != nil {
			log.Info("the use of a key was not confirmed", "key", ssh.FingerprintSHA256(key.Public), "by", program, "err", err)
			return false
		}
		said := strings.TrimSpace(answer.String())
		return said == "" || strings.EqualFold(said, "yes")
	}
}

// A limitedBuffer keeps the first bytes, and takes all.
type limitedBuffer struct{ *bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, maxConfirmed-b.Len()))])
	return len(p), nil
}
