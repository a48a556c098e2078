package main

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/latchkey/latchkey/gitssh"
	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/keyserver/knownhost"
)

func (p *program) sshConfigCommand() *cli.Command {
	return &cli.Command{
		Name:      "ssh-config",
		Usage:     "print what ssh needs to know to log in to a workspace",
		ArgsUsage: "WORKSPACE",
		Description: `Prints a Host block for ~/.ssh/config, with the host key by which ssh knows the
workspace from the first time on. It writes no file. The workspace's daemon must serve SSH:
"latchkey agent --sshd ADDRESS".

  latchkey ssh-config box --address box.example:2222 >> ~/.ssh/config
  ssh box

An ssh before 8.5 takes the host key from a file, and so does a program that reads no
configuration of ssh; that finds it by the address only:

  latchkey ssh-config box --known-hosts --address box.example:2222 >> ~/.ssh/known_hosts`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "address", Usage: "where it is reached: `HOST:PORT`"},
			&cli.StringFlag{Name: "host", Usage: "call it `NAME`; else by the name of the workspace"},
			&cli.StringFlag{Name: "login", Usage: "log in as `USER`; else as the owner of the workspace"},
			&cli.BoolFlag{Name: "known-hosts", Usage: "print the lines for known_hosts instead: for the block, and for the address if one is given"},
			&cli.BoolFlag{Name: "json", Usage: "print the host key as JSON instead"},
			userFlag(),
		},
		Action: p.asUser(p.sshConfig),
	}
}

func (p *program) sshConfig(c *cli.Context, s *session) error {
	name, user := c.Args().First(), c.String("user")
	if !c.Bool("known-hosts") && !c.Bool("json") && c.String("address") == "" {
		return withHint(usagef("ssh-config: the flag --address is missing"), "where the daemon of the workspace is reached: --address HOST:PORT")
	}
	key, err := s.WorkspaceHostKey(c.Context, user, name)
	if err != nil {
		return s.noWorkspace(c.Context, err, user, name)
	}
	if c.Bool("json") {
		return p.json(key)
	}
	w, err := s.Workspace(c.Context, user, name)
	if err != nil {
		return err
	}
	line, err := hostKeyLine(hostAlias(w), key)
	if err != nil {
		return fmt.Errorf("%s has no host key that ssh takes: %w", printable(w.Name), err)
	}
	if c.Bool("known-hosts") && c.String("address") == "" {
		return p.print("%s\n", line)
	}
	host, port, err := hostPort(c.String("address"))
	if err != nil {
		return withHint(usagef("flag --address: %v", err), "such as box.example:2222 or [2001:db8::7]:2222")
	}
	if !oneWord(host) {
		return usagef("flag --address: %q would not be one word in a configuration of ssh", host)
	}
	if c.Bool("known-hosts") {
		at, err := hostKeyLine(knownName(host, port), key)
		if err != nil {
			return usagef("flag --address: %v", err)
		}
		return p.print("%s\n%s\n", line, at)
	}
	return p.hostBlock(c, s, w, line, host, port)
}

// hostBlock prints the block for a workspace that is reached at host and port, with
// its line of known_hosts.
func (p *program) hostBlock(c *cli.Context, s *session, w api.Workspace, line, host string, port uint16) error {
	user := c.String("user")
	login := cmp.Or(c.String("login"), user)
	if login == api.Me {
		u, err := s.User(c.Context, api.Me)
		if err != nil {
			return err
		}
		login = u.Name
	}
	called := cmp.Or(c.String("host"), w.Name)
	for what, word := range map[string]string{"--host": called, "--login": login} {
		if !oneWord(word) {
			return usagef("flag %s: %q would not be one word in a configuration of ssh", what, word)
		}
	}
	check, err := p.checksHostKey(w.Name, line)
	if err != nil {
		return err
	}
	return p.print(`Host %s
	HostName %s
	Port %d
	User %s
	HostKeyAlias %s
	StrictHostKeyChecking yes
%s`, called, host, port, login, hostAlias(w), check)
}

// hostKeyLine is the line of known_hosts by which a host of that name has the key:
// one line of three words, whatever a server says.
func hostKeyLine(name string, key api.HostKey) (string, error) {
	lines, err := knownhost.Parse([]byte(name + " " + key.PublicKey))
	if err != nil {
		return "", err
	}
	if len(lines) != 1 {
		return "", fmt.Errorf("%q is no host, or its key no key", name)
	}
	lines[0].Comment = ""
	return lines[0].String(), nil
}

// knownName is what known_hosts calls an address: the port is left out if it is
// ssh's.
func knownName(host string, port uint16) string {
	if port == sshPort {
		return host
	}
	return fmt.Sprintf("[%s]:%d", host, port)
}

// checksHostKey is what tells ssh the host key of a workspace: with no further
// step, if the ssh that is here can be told. In a file an older one would stop at
// the option, for every host.
func (p *program) checksHostKey(name, line string) (string, error) {
	self, err := ownPath()
	if err != nil {
		return "", fmt.Errorf("finding latchkey, which ssh is to run: %w", err)
	}
	toFile := fmt.Sprintf("latchkey ssh-config %s --known-hosts >> ~/.ssh/known_hosts", printable(quoted(name)))
	v := installedSSH()
	switch {
	case v != (gitssh.Version{}) && !v.TakesKnownHosts():
		p.message("warning", fmt.Sprintf("this is %s, which takes host keys from files only", v))
	case !gitssh.Safe(self):
		p.message("warning", fmt.Sprintf("ssh can't run latchkey as %s, so it takes host keys from files only", printable(self)))
	default:
		return fmt.Sprintf("\t# It needs OpenSSH 8.5. The last three words are a line of known_hosts.\n\tKnownHostsCommand %s %s %%I %%H %s\n",
			self, knownHostsArgument, line), nil
	}
	p.message("hint", toFile)
	return fmt.Sprintf("\t# Its host key must be in known_hosts: %s\n", toFile), nil
}

// ownPath is where this program is: as PATH has it, which may stay when another
// version is installed, if that is the same file.
func ownPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	inPath, err := exec.LookPath("latchkey")
	if err != nil || !filepath.IsAbs(inPath) {
		return self, nil
	}
	here, err := os.Stat(self)
	if err != nil {
		return "", err
	}
	if there, err := os.Stat(inPath); err == nil && os.SameFile(here, there) {
		return inPath, nil
	}
	return self, nil
}

// installedSSH is the version of the ssh in PATH; zero if there is none that says
// it, which may be as the block is for another machine.
func installedSSH() gitssh.Version {
	said, err := gitssh.VersionCommand("ssh").CombinedOutput()
	if err != nil {
		return gitssh.Version{}
	}
	return gitssh.ParseVersion(string(said))
}

// hostAlias is what known_hosts calls a workspace: the same wherever it is
// reached. It is no name, for ssh takes no capitals there.
func hostAlias(w api.Workspace) string { return "latchkey-" + w.ID }

const sshPort = 22 // an address without a port has it

// hostPort takes an address apart. Without a port it is ssh's.
func hostPort(address string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil && !strings.Contains(address, ":") {
		return address, sshPort, nil
	}
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || host == "" {
		return "", 0, fmt.Errorf("%q is no HOST:PORT", address)
	}
	return host, uint16(n), nil
}

// oneWord reports whether ssh_config takes a word as it is: what is a pattern, a
// token or a comment there is not.
func oneWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"'\#%*?!,=$`, r)
	})
}
