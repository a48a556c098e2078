package main

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
)

func (p *program) keyImportCommand() *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "hand an existing private key to the server", ArgsUsage: "NAME FILE|-",
		Description: `Takes OpenSSH, PKCS #8, PKCS #1 and SEC 1 files; "-" is stdin. A passphrase is
asked for. Afterwards the file is no longer needed.

  latchkey key import default ~/.ssh/id_ed25519 --replace
  latchkey key import deploy - --passphrase-file pass < key.pem`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "replace", Usage: "replace the key of that name, if there is one"},
			keepOldFlag(),
			&cli.PathFlag{Name: "passphrase-file", Usage: "read the passphrase from `FILE` rather than ask for it"},
			yesFlag(), jsonFlag(),
		},
		Action: p.asUser(p.keyImport),
	}
}

// maxKeyFile is far above any key: an RSA key of 8192 bits has 6.4 KiB.
const maxKeyFile = 64 << 10

func (p *program) keyImport(c *cli.Context, s *session) error {
	name, file := c.Args().Get(0), c.Args().Get(1)
	if c.IsSet("keep-old") && !c.Bool("replace") {
		return withHint(usagef("key import: --keep-old is for a key that is replaced"), "add --replace, or leave it out")
	}
	if err := checkKeepOld(seconds(c, "keep-old")); err != nil {
		return err
	}
	pem, err := p.readSecretInput(file, "a private key", "latchkey key import NAME", maxKeyFile)
	if err != nil {
		return err
	}
	// What is not a private key stays on this machine.
	passphrase, err := p.checkKey(pem, file, c.Path("passphrase-file"))
	if err != nil {
		return fmt.Errorf("reading the key %s: %w", fileName(file), err)
	}
	k, err := p.sendKey(c, s, name, string(pem), passphrase)
	if err != nil {
		return err
	}
	if file != "-" && !c.Bool("json") {
		p.note("the server holds the key now; %s is no longer needed", file)
	}
	return p.newKey(c, k, "was imported")
}

func (p *program) sendKey(c *cli.Context, s *session, name, pem, passphrase string) (api.Key, error) {
	old, err := s.Key(c.Context, api.Me, name)
	exists := err == nil
	switch {
	case err != nil && !errors.Is(err, api.ErrNotFound):
		return api.Key{}, err
	case exists && !c.Bool("replace"):
		return api.Key{}, withHint(fmt.Errorf("there is a key %s already", name),
			"to replace it, add --replace; else choose another name")
	case !exists:
		return s.CreateKey(c.Context, api.Me, api.CreateKeyRequest{Name: name, PrivateKey: pem, Passphrase: passphrase})
	}
	r := api.RotateKeyRequest{Generation: old.Generation, KeepOldSeconds: seconds(c, "keep-old"), PrivateKey: pem, Passphrase: passphrase}
	if err := p.confirm(c.Bool("yes"), replacing(old, r.KeepOldSeconds, "the one in "+fileName(c.Args().Get(1)))); err != nil {
		return api.Key{}, err
	}
	return s.rotate(c.Context, old, r)
}

func fileName(file string) string {
	if file == "-" {
		return "on stdin"
	}
	return file
}

// checkKey checks that this is a private key, with the passphrase it needs.
func (p *program) checkKey(pem []byte, file, passphraseFile string) (passphrase string, err error) {
	_, err = ssh.ParseRawPrivateKey(pem)
	if !errors.As(err, new(*ssh.PassphraseMissingError)) {
		return "", explainKey(err, pem, file)
	}
	if passphraseFile != "" {
		b, err := readPrivate(passphraseFile, maxAnswer)
		if err != nil {
			return "", fmt.Errorf("the passphrase: %w", err)
		}
		passphrase := strings.TrimRight(string(b), "\r\n")
		return passphrase, checkPassphrase(pem, passphrase)
	}
	for range 3 {
		passphrase, err = p.askHidden("passphrase of the key " + fileName(file))
		switch {
		case errors.Is(err, errNoTerminal):
			return "", withHint(errors.New("it is protected by a passphrase"), "give it with --passphrase-file FILE")
		case err != nil:
			return "", err
		}
		if err = checkPassphrase(pem, passphrase); err == nil {
			return passphrase, nil
		}
		p.note("%v", err)
	}
	return "", err
}

func checkPassphrase(pem []byte, passphrase string) error {
	_, err := ssh.ParseRawPrivateKeyWithPassphrase(pem, []byte(passphrase))
	if errors.Is(err, x509.IncorrectPasswordError) {
		return withHint(errors.New("the passphrase is wrong"), "try it: ssh-keygen -y -f FILE")
	}
	return err
}

// explainKey says what to do with the files that are taken for private keys
// most often.
func explainKey(err error, pem []byte, file string) error {
	switch {
	case err == nil:
		return nil
	case bytes.HasPrefix(pem, []byte("PuTTY-User-Key-File")):
		return withHint(errors.New("it is in PuTTY's format"), "puttygen converts it: puttygen FILE -O private-openssh -o /dev/stdout | latchkey key import NAME -")
	case bytes.Contains(pem, []byte("BEGIN ENCRYPTED PRIVATE KEY")):
		return withHint(errors.New("it is PKCS #8 with a passphrase, which is not supported"), "openssl takes the passphrase off on the way: openssl pkey -in FILE | latchkey key import NAME -")
	case bytes.HasPrefix(pem, []byte("ssh-")), bytes.HasPrefix(pem, []byte("ecdsa-sha2-")), bytes.HasPrefix(pem, []byte("sk-")):
		hint := "the private key is in the file of the same name without .pub"
		if private, ok := strings.CutSuffix(file, ".pub"); ok {
			hint = "the private key is likely in " + private
		}
		return withHint(errors.New("it is a public key"), hint)
	}
	return withHint(errors.New("it is not a private key of a kind that is known, or it is damaged"), "ssh-keygen can tell: ssh-keygen -y -f FILE")
}
