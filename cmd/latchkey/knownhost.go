package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

	"github.com/latchkey/latchkey/keyserver/api"
	"github.com/latchkey/latchkey/keyserver/knownhost"
)

func (p *program) knownHostCommand() *cli.Command {
	return &cli.Command{
		Name:  "known-host",
		Usage: "say which host keys ssh may trust in workspaces (changes are for admins)",
		Subcommands: []*cli.Command{
			{
				Name: "add", Usage: "make a host known in all workspaces", ArgsUsage: "HOST KEY|-",
				Description: `HOST is what known_hosts has for it: names, patterns, [name]:port, several with
commas. It may be name:port, too. KEY is the host's public key as one word, quoted; "-" is stdin.

  latchkey known-host add forge.example "ssh-ed25519 AAAA..."
  latchkey known-host add '*.forge.example' - --cert-authority --yes < ca.pub
  latchkey known-host add '*' - --revoked --yes < stolen.pub`,
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "cert-authority", Usage: "the key signs the certificates of these hosts"},
					&cli.BoolFlag{Name: "revoked", Usage: "the key must not be accepted from these hosts"},
					yesFlag(), jsonFlag(),
				},
				Action: p.asUser(p.knownHostAdd),
			},
			{
				Name: "import", Usage: "add the lines of a known_hosts file", ArgsUsage: "FILE|-",
				Description: `Shows the fingerprints before it asks whether to trust them: compare them with what
the hosts' owners publish. All lines are added, or none; those that are there
already are passed over.

  latchkey known-host import ~/.ssh/known_hosts
  ssh-keyscan forge.example > forge && latchkey known-host import forge`,
				Flags: []cli.Flag{yesFlag(), jsonFlag()}, Action: p.asUser(p.knownHostImport),
			},
			{
				Name: "list", Aliases: []string{"ls"}, Usage: "list the known hosts",
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "known-hosts", Usage: "print them as a known_hosts file"},
					jsonFlag(),
				},
				Action: p.asUser(p.knownHostList),
			},
			p.knownHostDeleteCommand(),
		},
	}
}

func (p *program) knownHostAdd(c *cli.Context, s *session) error {
	hosts, key := c.Args().Get(0), c.Args().Get(1)
	if c.Bool("cert-authority") && c.Bool("revoked") {
		return withHint(usagef("known-host add: a key is not both an authority and revoked"), "leave one of the flags out")
	}
	if key == "-" {
		content, err := readBounded(p.stdin, "stdin", knownhost.MaxContent)
		if err != nil {
			return err
		}
		key = string(bytes.TrimSpace(content))
	}
	// A newline or a blank would make another line of it than what is asked for.
	if strings.ContainsAny(key, "\r\n") || strings.ContainsAny(hosts, " \t\r\n") || strings.HasPrefix(hosts, "@") || strings.HasPrefix(hosts, "#") {
		return withHint(usagef("known-host add: want one HOST, and one KEY on one line"), "for several keys: latchkey known-host import FILE")
	}
	line := withPorts(hosts) + " " + key
	switch {
	case c.Bool("cert-authority"):
		line = knownhost.CertAuthority + " " + line
	case c.Bool("revoked"):
		line = knownhost.Revoked + " " + line
	}
	lines, err := knownhost.Parse([]byte(line))
	if err != nil {
		hint := `KEY is a public key: "ssh-ed25519 AAAA...", as in the file of one`
		if _, _, _, _, keyErr := ssh.ParseAuthorizedKey([]byte(key)); keyErr == nil {
			hint = "HOST is a name, a pattern, or either with its port as [HOST]:PORT; a name may have it as HOST:PORT; several have commas between them"
		}
		return withHint(fmt.Errorf("the known host can't be added: %s", strings.TrimPrefix(err.Error(), "line 1: ")), hint)
	}
	return p.trust(c, s, lines)
}

func (p *program) knownHostImport(c *cli.Context, s *session) error {
	file := c.Args().First()
	content, err := p.readInput(file, knownhost.MaxContent)
	if err != nil {
		return err
	}
	lines, err := knownhost.Parse(content)
	var bad *knownhost.Error
	if errors.As(err, &bad) {
		for _, problem := range bad.Problems {
			p.note("%s: %s", importName(file), problem)
		}
		return withHint(fmt.Errorf("nothing was added: %s in %s", plural(len(bad.Problems), "problem"), importName(file)), "change the file, or a copy of it")
	}
	if err != nil {
		return err
	}
	if len(lines) == 0 {
		return withHint(fmt.Errorf("%s holds no lines", importName(file)), "a line is: HOST KEY-TYPE KEY, as in ~/.ssh/known_hosts")
	}
	there, err := s.KnownHosts(c.Context)
	if err != nil {
		return err
	}
	var fresh []knownhost.Line
	for _, l := range lines {
		if !contains(there, l) {
			fresh = append(fresh, l)
		}
	}
	if n := len(lines) - len(fresh); n > 0 {
		p.note("%s there already", was(n, "line"))
	}
	if len(fresh) == 0 {
		return p.addedHosts(c, nil)
	}
	return p.trust(c, s, fresh)
}

func contains(list []api.KnownHost, l knownhost.Line) bool {
	for _, h := range list {
		if l.Same(knownhost.Line{Marker: h.Marker, Hosts: h.Hosts, Key: h.Key}) {
			return true
		}
	}
	return false
}

// trust adds lines when the user has seen whose keys they are.
func (p *program) trust(c *cli.Context, s *session, lines []knownhost.Line) error {
	var content strings.Builder
	for _, l := range lines {
		p.note("%s", lineWords(l))
		content.WriteString(l.String() + "\n")
	}
	what := fmt.Sprintf("ssh in everybody's workspaces will go by %s", thisOrThese(len(lines), "key"))
	if err := p.confirm(c.Bool("yes"), what); err != nil {
		return err
	}
	added, err := s.AddKnownHosts(c.Context, api.AddKnownHostsRequest{Content: content.String()})
	if errors.Is(err, api.ErrConflict) {
		return withHint(err, `"latchkey known-host list" shows what is there`)
	}
	if err != nil {
		return err
	}
	p.note("%s added", was(len(added), "known host"))
	return p.addedHosts(c, added)
}

// addedHosts prints what was added to whoever wants to go on with it.
func (p *program) addedHosts(c *cli.Context, added []api.KnownHost) error {
	if c.Bool("json") {
		return jsonList(p, added)
	}
	return nil
}

func thisOrThese(n int, what string) string {
	if n == 1 {
		return "this " + what
	}
	return fmt.Sprintf("these %d %ss", n, what)
}

func (p *program) knownHostList(c *cli.Context, s *session) error {
	list, err := s.KnownHosts(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("known-hosts") {
		if c.Bool("json") {
			return withHint(usagef("known-host list: --known-hosts and --json are two formats"), "leave one of them out")
		}
		for _, h := range list {
			if err := p.print("%s\n", printable(knownhost.Format(h.Marker, h.Hosts, h.KeyType, h.Key, h.Comment))); err != nil {
				return err
			}
		}
		return nil
	}
	if c.Bool("json") {
		return jsonList(p, list)
	}
	var rows [][]string
	for _, h := range list {
		rows = append(rows, []string{h.Hosts, h.KeyType, h.Fingerprint, orDash(h.Marker), h.ID})
	}
	return p.table("HOSTS\tTYPE\tFINGERPRINT\tMARKER\tID", rows)
}
