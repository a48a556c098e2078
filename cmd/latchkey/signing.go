package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/workspace"
)

func authorizedLine(k ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}

// blobOf is the key itself, in base64, of a line of authorized_keys.
func blobOf(line string) string {
	if words := strings.Fields(line); len(words) > 1 {
		return words[1]
	}
	return ""
}

// signingKey prints the key that the daemon signs with. It asks the daemon, and
// not the server as whoever is logged in: what it does not offer it cannot use.
func (p *program) signingKey(c *cli.Context) error {
	k, err := daemonKey(c.Context, c.Args().First())
	if err != nil {
		if workspace.NotRunning(err) {
			return withHint(errors.New("no workspace daemon runs here: it holds the key that signs"), "latchkey agent")
		}
		return explainWorkspace(err)
	}
	return p.print("key::%s\n", printable(k.PublicKey))
}

// noteSigner notes the daemon's key, if there is a daemon.
func (p *program) noteSigner(ctx context.Context, files signingFiles) error {
	k, err := daemonKey(ctx, "")
	if err != nil {
		if workspace.NotRunning(err) {
			p.note("no workspace daemon runs here: git can sign once one does")
			return nil
		}
		return explainWorkspace(err)
	}
	return files.note(ctx, k.PublicKey)
}

// note adds a public key to the list of those that have signed here, unless it
// is there. What was signed with an earlier key stays good: nothing is removed.
func (f signingFiles) note(ctx context.Context, public string) error {
	list, err := os.ReadFile(f.allowed)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("noting the key that signs: %w", err)
	}
	if strings.Contains(string(list), blobOf(public)) {
		return nil
	}
	line, err := allowedSigner(ctx, public)
	if err != nil {
		return err
	}
	if len(list) > 0 && list[len(list)-1] != '\n' {
		line = "\n" + line
	}
	// In one write, so that two at once do not mix: at worst a line is there twice.
	file, err := os.OpenFile(f.allowed, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("noting the key that signs: %w", err)
	}
	_, err = file.WriteString(line + "\n")
	return errors.Join(err, file.Close())
}

// plainAddress is an address that stands for itself in a list of allowed
// signers, where commas, quotes and patterns mean something.
var plainAddress = regexp.MustCompile(`^[^\s,"'*?!#\\[:cntrl:]]+$`)

// allowedSigner is a line for git's allowed signers: the address that git commits
// with, and the key, for git only.
func allowedSigner(ctx context.Context, public string) (string, error) {
	values, err := gitScope("").all(ctx, "user.email")
	if err != nil {
		return "", err
	}
	email := last(values)
	if !plainAddress.MatchString(email) {
		const hint = "git config --global user.email YOU@EXAMPLE.COM"
		if email == "" {
			return "", withHint(errors.New("git does not know your address, for which the key is to be allowed"), hint)
		}
		return "", withHint(fmt.Errorf("%q can't be an address in a list of allowed signers", email), hint)
	}
	words := strings.Fields(public)
	if len(words) < 2 {
		return "", fmt.Errorf("not a public key: %q", public)
	}
	return fmt.Sprintf(`%s namespaces="git" %s %s`, email, words[0], words[1]), nil
}

func (p *program) allowedSignersCommand() *cli.Command {
	return &cli.Command{
		Name:  "allowed-signers",
		Usage: "print your signing keys, for a list of allowed signers",
		Description: `Prints a line for the key of now, and for each that has signed here before, with the
address that git commits with: for a file that others name as gpg.ssh.allowedSignersFile.

  latchkey allowed-signers >> .allowed_signers`,
		Action: p.allowedSigners,
	}
}

func (p *program) allowedSigners(c *cli.Context) error {
	files, err := findSigningFiles()
	if err != nil {
		return err
	}
	list, err := os.ReadFile(files.allowed)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the keys that have signed here: %w", err)
	}
	k, err := p.findPublicKey(c.Context, "")
	if err != nil {
		return err
	}
	if !strings.Contains(string(list), blobOf(k.PublicKey)) {
		line, err := allowedSigner(c.Context, k.PublicKey)
		if err != nil {
			return err
		}
		list = append(list, line+"\n"...)
	}
	return p.print("%s", list)
}
