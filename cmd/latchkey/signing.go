package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
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

// keygen becomes ssh-keygen. To sign with a key that the daemon offers, it is
// given the daemon's agent, whatever agent the user's shell has; and the key is
// noted, so that git can check the signature.
func (p *program) keygen(args []string) int {
	keygen, err := findOther(keygenName, "", "install OpenSSH's client")
	if err != nil {
		p.fail(err)
		return exitNoSSH
	}
	env := withoutVariable(os.Environ(), "LATCHKEY_TOKEN")
	if file := signsWith(args); file != "" {
		socket, err := p.agentFor(file)
		if err != nil {
			p.warn(err) // ssh-keygen goes on: it may have the key from elsewhere
		}
		if socket != "" {
			env = append(withoutVariable(env, "SSH_AUTH_SOCK"), "SSH_AUTH_SOCK="+socket)
		}
	}
	err = syscall.Exec(keygen, append([]string{keygenName}, args...), env)
	p.fail(fmt.Errorf("running %s: %w", keygen, err))
	return exitNoSSH
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

// agentFor is the socket of the daemon's agent if the daemon offers the public
// key in a file; "" if it does not.
func (p *program) agentFor(file string) (socket string, err error) {
	public := readPublicKey(file)
	if public == nil {
		return "", nil
	}
	dir, err := workspace.RuntimeDir(os.Getenv)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), offerTimeout)
	defer cancel()
	offer, err := workspace.LastOffer(ctx, dir)
	if err != nil {
		return "", nil // without a daemon, a key of the user's own must do as ever
	}
	for _, line := range offer.Keys {
		if blobOf(line) != blobOf(authorizedLine(public)) {
			continue
		}
		files, err := findSigningFiles()
		if err == nil {
			err = files.note(ctx, authorizedLine(public))
		}
		return workspace.AgentSocket(dir), err
	}
	return "", nil
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
